//! What every part of a running node shares.

use std::sync::Arc;
use std::time::Duration;

use cairn_client::api::{Loaded, Saved};
use cairn_store::archive::Policy;
use cairn_store::id::NodeId;
use cairn_store::node::Profile;
use openraft::type_config::alias::WatchReceiverOf;
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

use crate::env::{Env, PayloadLimits};
use crate::errand::Report;
use crate::identity::Identity;
use crate::jobs::Jobs;
use crate::links::Links;
use crate::metrics::Metrics;
use crate::raft::{Raft, Types, View};
use crate::storage::Storage;
use crate::tier::Tier;
use crate::turns::Turns;
use crate::versions::Versions;
use crate::work::adopt::Heritage;
use crate::work::repair::Crew;
use crate::work::space::Space;
use crate::work::verify::Looks;

/// The longest that a client may ask a node to wait.
pub const WAIT_MAX: Duration = Duration::from_secs(600);

/// Bounds and times of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Payloads at once that others ask for, as many that this node pushes, and as many saves and loads.
    pub transfers: usize,
    /// Connections at once, on each port.
    pub connections: usize,
    /// Requests at once on one connection.
    pub requests: usize,
    /// How long a greeting may take.
    pub handshake: Duration,
    /// A transfer that moves nothing for so long is given up.
    pub idle: Duration,
    /// So does one that moves fewer bytes a second, all in all.
    pub rate_min: u64,
    /// Bytes of disk that saves leave free (R17).
    pub reserve: u64,
    /// A node that the leader did not hear for so long is marked down.
    pub down_after: Duration,
    /// Copies on a node that is down for so long, in log time, are made again elsewhere.
    pub repair_after: Duration,
    /// Bytes a second that a node takes for repairs.
    pub repair_rate: u64,
    /// Copies at once that a node takes for repairs.
    pub repair_transfers: usize,
    /// Every copy of this node is read through once in so long.
    pub scrub_period: Duration,
    /// Bytes a second that are read for it at most.
    pub scrub_rate: u64,
    /// Which versions go into the global tier, of segments for which nobody said.
    pub archive: Policy,
    /// Versions at once that this node puts there in the background.
    pub archive_transfers: usize,
    /// Bytes a second that it sends there for that.
    pub archive_rate: u64,
    /// What nothing refers to is looked for there so often.
    pub sweep_every: Duration,
    /// The metadata are put there so often.
    pub backup_every: Duration,
    /// So many of these are kept.
    pub backups: usize,
    /// An idle leader stamps an empty entry so often (R4).
    pub tick: Duration,
    /// How often the workers look.
    pub work: Duration,
}

impl Limits {
    /// Of one payload.
    pub fn payload(&self) -> PayloadLimits {
        PayloadLimits { idle: self.idle, rate_min: self.rate_min, rate_max: 0 }
    }

    /// Of one payload of a repair: its share of what a node takes.
    pub fn repair_payload(&self) -> PayloadLimits {
        let transfers = u64::try_from(self.repair_transfers).unwrap_or(u64::MAX).max(1);
        PayloadLimits { rate_max: (self.repair_rate / transfers).max(1), ..self.payload() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            transfers: 64,
            connections: 4096,
            requests: 1024,
            handshake: Duration::from_secs(5),
            idle: Duration::from_secs(15),
            rate_min: 64 << 10,
            reserve: 64 << 20,
            down_after: Duration::from_secs(3),
            repair_after: Duration::from_secs(600),
            repair_rate: 32 << 20,
            repair_transfers: 2,
            scrub_period: Duration::from_secs(7 * 24 * 3600),
            scrub_rate: 32 << 20,
            archive: Policy::Background,
            archive_transfers: 2,
            archive_rate: 64 << 20,
            sweep_every: Duration::from_secs(3600),
            backup_every: Duration::from_secs(3600),
            backups: 24,
            tick: Duration::from_secs(10),
            work: Duration::from_millis(500),
        }
    }
}

/// What every part of a running node shares.
pub struct Core {
    /// The seams.
    pub env: Env,
    /// Who this node is.
    pub identity: Identity,
    /// The life of its process.
    pub process: Uuid,
    /// What it says of itself.
    pub profile: Profile,
    /// Bounds and times.
    pub limits: Limits,
    /// Raft.
    pub raft: Raft,
    /// Raft's own view of itself.
    pub metrics: WatchReceiverOf<Types, openraft::RaftMetrics<Types>>,
    /// The newest applied state.
    pub view: watch::Receiver<View>,
    /// Connections to other members.
    pub links: Arc<Links>,
    /// Ends the node.
    pub stop: Stop,
    /// Payloads that may still be taken in, or given to loaders.
    pub serving: Arc<Semaphore>,
    /// Payloads that may still be pushed. Apart from `serving`: two nodes that push to each other must not wait for
    /// each other's places while they hold their own.
    pub pushing: Arc<Semaphore>,
    /// Saves at once, until all their copies are made: each takes threads of the pool for blocking work.
    pub saving: Arc<Semaphore>,
    /// Loads at once, for the same reason.
    pub loading: Semaphore,
    /// Turns for whoever looks through all segments.
    pub scanning: Arc<Semaphore>,
    /// What this node's storage is busy with.
    pub storage: Storage,
    /// The copies of former clusters that lie here.
    pub heritage: Heritage,
    /// Copies that are being looked at.
    pub looks: Looks,
    /// What the disk said last of its free space.
    pub space: Space,
    /// The global tier.
    pub tier: Arc<Tier>,
    /// What this node counts while it works.
    pub counts: Metrics,
    /// Saves that go on or ended lately.
    pub saves: Arc<Jobs<Saved>>,
    /// Loads that go on or ended lately.
    pub loads: Arc<Jobs<Loaded>>,
    /// What leaders asked of this node for repairs, that goes on or ended lately.
    pub errands: Arc<Jobs<Report>>,
    /// What this node has others do, while it leads.
    pub crew: Crew,
    /// Errands at once: whoever leads, and however often that changes.
    pub repairing: Semaphore,
    /// Versions of which a copy is being made here for a repair.
    pub fetched: Versions,
    /// Versions whose last copies are still being pushed, though they were acknowledged.
    pub pushed: Versions,
    /// One save of a name at a time.
    pub names: Turns,
}

impl Core {
    /// The newest applied state. It may be old.
    pub fn now(&self) -> View {
        self.view.borrow().clone()
    }

    /// Waits until the leader no longer hears a node, or it is no member.
    pub async fn until_down(&self, node: NodeId) {
        let down = |view: &View| view.state.members.get(&node).is_none_or(|member| !member.up);
        let mut view = self.view.clone();
        if view.wait_for(down).await.is_err() {
            // This node is stopping: nothing more will be known.
            std::future::pending().await
        }
    }

    /// This node's id.
    pub fn me(&self) -> NodeId {
        self.identity.node
    }

    /// A node's name, for people.
    pub fn name_of(&self, node: NodeId) -> String {
        let view = self.view.borrow();
        view.state.members.get(&node).map_or_else(|| node.to_string(), |m| m.profile.name.to_string())
    }
}

/// Ends the node: by request, or because it must not go on.
#[derive(Clone, Debug)]
pub struct Stop(Arc<watch::Sender<Option<Result<(), String>>>>);

impl Default for Stop {
    fn default() -> Self {
        Self(Arc::new(watch::channel(None).0))
    }
}

impl Stop {
    /// A clean end.
    pub fn end(&self) {
        self.set(Ok(()));
    }

    /// A local fault (a failed durable write, a damaged record): the node must not go on, and is never helped along
    /// by trying again.
    pub fn fault(&self, what: impl Into<String>) {
        let what = what.into();
        tracing::error!(fault = %what, "local fault: the node stops");
        self.set(Err(what));
    }

    /// Whether the node is to end.
    pub fn is_set(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Why the node must not go on; none while it may, or if it was only asked to end.
    pub fn why(&self) -> Option<String> {
        self.0.borrow().clone()?.err()
    }

    /// Waits until the node is to end.
    pub async fn wait(&self) -> Result<(), String> {
        let mut stopped = self.0.subscribe();
        match stopped.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or(Ok(())),
            Err(_) => Ok(()),
        }
    }

    fn set(&self, reason: Result<(), String>) {
        // The first reason is the one to tell.
        self.0.send_if_modified(|known| {
            let first = known.is_none();
            if first {
                *known = Some(reason);
            }
            first
        });
    }
}
