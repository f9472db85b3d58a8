//! The public contract: what can be asked of a node, and what it answers.
//!
//! Control only, over tarpc; bytes go through the spool or the data plane. Every node answers every request: it
//! forwards what the leader must decide. Nodes are named in replies, never numbered.
//!
//! [`Cairn::save`] and [`Cairn::load`] take long, so they are asked again and again with the same request id: each
//! call begins the work or joins the one that goes on, and answers within [`POLL`] with either the state of the work
//! or its result. A lost connection loses nothing.

mod cluster;
mod error;
mod global;
mod member;
mod recovery;
mod segment;
mod transfer;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use cairn_store::id::{ClusterId, Incarnation, NodeId};
use cairn_store::name::Name;
use cairn_store::node::{NodeName, Role};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use cluster::{
    ClusterStatus, Health, JoinRequest, Joined, NodeInfo, NodeState, PeerInfo, Repair, RepairKind, RepairState,
    Repairs,
};
pub use error::{Code, Error, Outcome};
pub use global::{GlobalStatus, TierNode};
pub use member::{Block, Drain, Loss, Removal, RemoveNodeRequest};
pub use recovery::{Adopted, Adoption, Leftover, Recovery, RestoreRequest};
pub use segment::{
    ClaimRequest, Claimed, ListRequest, ObjectDetail, PinRequest, ReleaseRequest, RemoveRequest, RenewRequest,
    SegmentDetail, SegmentSummary, UnpinRequest, VersionDetail,
};
pub use transfer::{LoadRequest, Loaded, Replica, SaveRequest, Saved, Source};
pub use watch::{Event, WatchRequest, Watched};

/// The longest that a save or load call waits before it answers [`Progress::Running`].
pub const POLL: Duration = Duration::from_millis(500);

/// The largest message, in bytes.
pub const FRAME_BYTES_MAX: usize = 8 << 20;

/// The most segments in one page of [`Cairn::list`].
pub const PAGE_MAX: u32 = 1000;

/// The most events in one answer of [`Cairn::watch`], beyond those of its last entry.
pub const EVENTS_MAX: usize = 1000;

/// The most repairs that [`Cairn::repairs`] names.
pub const REPAIRS_MAX: usize = 1000;

/// The most segments that [`Cairn::drained`] and [`Cairn::removal`] name.
pub const BLOCKS_MAX: usize = 1000;

/// The most versions, and the most copies of all members together, that [`Cairn::recovery`] names.
pub const LEFTOVERS_MAX: usize = 1000;

/// The service of a node.
#[tarpc::service]
pub trait Cairn {
    /// Who the node is.
    async fn hello() -> Hello;
    /// Stores a file of the spool under a name, on other nodes too.
    async fn save(request: SaveRequest) -> Result<Progress<Saved>, Error>;
    /// Brings a version into local storage.
    async fn load(request: LoadRequest) -> Result<Progress<Loaded>, Error>;
    /// One page of the segments, in the order of their names.
    async fn list(request: ListRequest) -> Result<Vec<SegmentSummary>, Error>;
    /// Everything about one segment.
    async fn show(name: Name, wait: Duration) -> Result<SegmentDetail, Error>;
    /// The next changes of segments, or none within a while.
    async fn watch(request: WatchRequest) -> Result<Watched, Error>;
    /// Takes a segment, or one version, away.
    async fn remove(request: RemoveRequest) -> Result<(), Error>;
    /// Makes the node asked the owner.
    async fn claim(request: ClaimRequest) -> Result<Claimed, Error>;
    /// Gives ownership up.
    async fn release(request: ReleaseRequest) -> Result<(), Error>;
    /// The members.
    async fn nodes(wait: Duration) -> Result<Vec<NodeInfo>, Error>;
    /// The cluster in a few numbers.
    async fn status(wait: Duration) -> Result<ClusterStatus, Error>;
    /// Why the cluster is not healthy. Needs no quorum: it answers with what this node knows.
    async fn health() -> Health;
    /// Makes a node a member. Idempotent by its incarnation.
    async fn join(request: JoinRequest) -> Result<Joined, Error>;
    /// Starts or stops emptying a node: no new copies go there, those that lie there are made again elsewhere, and what it
    /// owns has no owner any more. [`Cairn::drained`] says how far that is.
    async fn drain(node: NodeName, draining: bool, wait: Duration) -> Result<(), Error>;
    /// Keeps a version whatever comes after it.
    async fn pin(request: PinRequest) -> Result<(), Error>;
    /// Ends a pin, or all of a segment. What only a pin held goes at once.
    async fn unpin(request: UnpinRequest) -> Result<(), Error>;
    /// Which members the node reaches itself. Needs no quorum: they are those that this node knows.
    async fn peers(wait: Duration) -> Vec<PeerInfo>;
    /// What is being done, and is to be done, so that every version has its copies.
    async fn repairs(wait: Duration) -> Result<Repairs, Error>;
    /// How far a node is emptied; if `foretell`, what would be to do if that began now.
    async fn drained(node: NodeName, foretell: bool, wait: Duration) -> Result<Drain, Error>;
    /// What the removal of a node would come to. Changes nothing.
    async fn removal(node: NodeName, force: bool, wait: Duration) -> Result<Removal, Error>;
    /// Ends a node's membership: gives up what is left on it, and takes its vote away. Asked again until it is done; `total`
    /// is how many steps are left.
    async fn remove_node(request: RemoveNodeRequest) -> Result<Progress<()>, Error>;
    /// Why a node should not be stopped now; it may be if nothing is listed.
    async fn check_stop(node: NodeName, wait: Duration) -> Result<Health, Error>;
    /// One step of taking over what another cluster knew. Each may be taken again.
    async fn restore(request: RestoreRequest) -> Result<(), Error>;
    /// Where the cluster comes from, and what it still misses; none if it began with nothing.
    async fn recovery(wait: Duration) -> Result<Option<Recovery>, Error>;
    /// Ends the recovery: nodes delete and repair again.
    async fn resume(wait: Duration) -> Result<(), Error>;
    /// The owner's lease begins anew; tells how long it lasts from when it was asked.
    async fn renew(request: RenewRequest) -> Result<Duration, Error>;
    /// The global tier: who reaches it, what lies there, what waits.
    async fn global(wait: Duration) -> Result<GlobalStatus, Error>;
}

/// Work that goes on, or its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Progress<T> {
    /// Ask again with the same request.
    Running {
        /// Bytes that went through so far, to all targets together.
        done: u64,
        /// Bytes in all; 0 while unknown.
        total: u64,
        /// Grows while anything moves: bytes, or other work such as an fsync or a verification.
        steps: u64,
    },
    /// The result.
    Done(T),
}

/// Who a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Its name.
    pub node: NodeName,
    /// Its id in the cluster.
    pub id: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// The life of its folder; the spool's `.node` file holds the same.
    pub incarnation: Incarnation,
    /// The life of its process: another one after every start.
    pub process: Uuid,
    /// Whether applications run there.
    pub role: Role,
    /// Where applications of its machine write.
    pub spool: PathBuf,
    /// `HOST:PORT` of its data plane.
    pub data: String,
    /// The version of the program.
    pub version: String,
}
