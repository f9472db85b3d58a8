//! A random life of a cluster: clients work, faults strike, everything heals, and the evidence is judged.
//!
//! ```text
//! seed ─► plan (what will be done: data, nothing else)
//!           ├─ clients ─► work ──► history (what they were told)
//!           └─ strikes ─► strike   (what happens to machines, disks, clocks and the network)
//!         calm (everything heals) ─► read (what is left, and must be) ─► judge (the invariants)
//! ```
//!
//! A plan is made in advance, so that parts of it can be left out and the rest stays the same: that is how a failure
//! is made small. What a step or a strike does in detail hangs on its own number and on how the cluster is by then.

mod calm;
mod desk;
mod judge;
mod plan;
mod probe;
mod read;
mod rejections;
mod removal;
mod strike;
mod tally;
mod work;

use std::rc::Rc;

use anyhow::ensure;
use futures::future::join_all;

pub use plan::{Fault, Plan};
pub use rejections::{REJECTIONS, UNMET};
pub use tally::{Counts, LOSSES, Tally};

use crate::cluster::Cluster;
use desk::Desk;

/// The fewest calls, and faults that struck, of a whole life.
const CALLS_MIN: u64 = 500;
const FAULTS_MIN: u64 = 20;

/// Carries out a plan.
///
/// # Errors
/// Whatever is wrong with what the cluster did.
pub async fn play(cluster: Cluster, plan: Rc<Plan>, tally: Tally) -> anyhow::Result<()> {
    cluster.ready().await?;
    let desk = Desk::new(&cluster, &tally);
    let clients = plan.clients.iter().map(|steps| work::client(&desk, steps));
    let strikes = plan.strikes.iter().map(|strike| strike::carry_out(&desk, strike));
    let storm = async {
        let struck = join_all(strikes).await;
        // Without a quorum clients would only wait.
        calm::start_all(&cluster).await;
        struck
    };
    let (worked, struck) = futures::join!(join_all(clients), storm);
    worked.into_iter().chain(struck).collect::<anyhow::Result<()>>()?;
    let (calls, faults) = tally.so_far();
    ensure!(!plan.is_whole() || calls >= CALLS_MIN, "a life of {calls} calls is too quiet");
    ensure!(!plan.is_whole() || faults >= FAULTS_MIN, "a life with {faults} faults is too quiet");
    for loss in cluster.machines().iter().map(|machine| machine.losses()) {
        tally.losses(loss.lost.into(), loss.torn.into());
    }
    let kept = calm::heal_and_read(&desk).await?;
    judge::judge(&desk, &kept)
}
