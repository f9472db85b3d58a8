//! What is played, one file each. Every one begins with a whole cluster and ends with [`Cluster::settle`]. `copies` and `tier` are
//! what several of them look at.

mod asleep;
mod behind;
mod claim;
mod copies;
mod corrupt;
mod full;
mod global;
mod lasting;
mod leader;
mod members;
mod parting;
mod partition;
mod power;
mod reborn;
mod recall;
mod recovery;
mod repair;
mod returned;
mod save_load;
mod scrub;
mod storage;
mod surplus;
mod thirty;
mod tier;
mod zone;

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::LocalBoxFuture;

use crate::cluster::Cluster;
use crate::world::{Scenario, Spec, Tiered};

/// A scenario by its name.
pub struct Play {
    /// For the command line.
    pub name: &'static str,
    /// The cluster that it needs.
    pub spec: fn() -> Spec,
    /// What it does.
    pub scenario: Scenario,
}

macro_rules! play {
    ($module:ident, $spec:expr) => {
        Play { name: stringify!($module), spec: || $spec, scenario: |cluster| whole(cluster, $module::play) }
    };
}

/// All of them.
pub const ALL: &[Play] = &[
    play!(save_load, Spec::default()),
    play!(claim, Spec::default()),
    play!(power, Spec::default()),
    play!(leader, Spec::default()),
    play!(corrupt, Spec::default()),
    play!(parting, Spec::default()),
    play!(partition, Spec { executors: 4, storage: 1, ..Spec::default() }),
    play!(behind, Spec::default()),
    play!(lasting, Spec { executors: 3, storage: 1, ..Spec::slow() }),
    play!(asleep, Spec { executors: 4, ..Spec::default() }),
    play!(members, Spec { executors: 4, storage: 1, ..Spec::repairing() }),
    play!(recovery, Spec { executors: 5, storage: 1, ..Spec::repairing() }),
    play!(repair, Spec { executors: 5, storage: 1, ..Spec::repairing() }),
    play!(full, Spec { executors: 5, ..Spec::repairing() }),
    play!(returned, Spec { executors: 4, storage: 1, ..Spec::repairing() }),
    play!(zone, Spec { executors: 6, zones: 3, ..Spec::repairing() }),
    play!(scrub, Spec::repairing()),
    play!(surplus, Spec { executors: 5, ..Spec::repairing().unscrubbed() }),
    play!(thirty, Spec { executors: 22, storage: 8, zones: 5, step: Duration::from_millis(5), ..Spec::repairing() }),
    play!(storage, Spec { executors: 2, storage: 2, ..Spec::default() }),
    // Of any three machines one has the tier at least, so whatever has two replicas can get there.
    play!(global, Spec { executors: 4, storage: 1, ..tiered(Tiered::AllBut(2)) }),
    play!(recall, Spec { executors: 4, storage: 1, ..tiered(Tiered::Only(&["n1", "n2", "s1"])) }),
    play!(reborn, Spec { executors: 4, storage: 1, ..tiered(Tiered::Everybody) }),
];

/// A cluster with a global tier, for a long story.
fn tiered(who: Tiered) -> Spec {
    Spec { step: Duration::from_millis(2), ..Spec::repairing().unscrubbed().with_tier(who) }
}

/// A whole cluster before and after.
fn whole<F>(cluster: Cluster, play: fn(Cluster) -> F) -> LocalBoxFuture<'static, anyhow::Result<()>>
where
    F: Future<Output = anyhow::Result<()>> + 'static,
{
    async move {
        cluster.ready().await?;
        play(cluster.clone()).await?;
        cluster.settle().await
    }
    .boxed_local()
}
