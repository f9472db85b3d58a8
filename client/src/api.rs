//! The public contract: what can be asked of a node, and what it answers.
//!
//! Control only, over tarpc; bytes go through the spool or the data plane. Every node answers every request: it
//! forwards what the leader must decide. Nodes are named in replies, never numbered.
//!
//! [`Cairn::save`] and [`Cairn::load`] take long, so they are asked again and again with the same request id: each
//! call begins the work or joins the one that goes on, and answers within [`POLL`] with either the state of the work
//! or its result. A lost connection loses nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use cairn_store::digest::Digest;
use cairn_store::id::{ClusterId, CopyId, Incarnation, NodeId, RequestId, SegmentId};
use cairn_store::name::Name;
use cairn_store::node::{NodeName, Profile, Role};
use cairn_store::segment::{Ack, CopyState, Epoch, Kind, Version};
use cairn_store::time::WallTime;
use serde::{Deserialize, Serialize};

/// The longest that a save or load call waits before it answers [`Progress::Running`].
pub const POLL: Duration = Duration::from_millis(500);

/// The largest message, in bytes.
pub const FRAME_BYTES_MAX: usize = 8 << 20;

/// The most segments in one page of [`Cairn::list`].
pub const PAGE_MAX: u32 = 1000;

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
    /// Starts or stops emptying a node: no new copies go there.
    async fn drain(node: NodeName, draining: bool, wait: Duration) -> Result<(), Error>;
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
    /// Whether applications run there.
    pub role: Role,
    /// Where applications of its machine write.
    pub spool: PathBuf,
    /// `HOST:PORT` of its data plane.
    pub data: String,
    /// The version of the program.
    pub version: String,
}

/// A save.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaveRequest {
    /// The same at every retry.
    pub request: RequestId,
    /// How long the client will go on asking; bounds for how long the answer is remembered.
    pub wait: Duration,
    /// The name to save under; registered if it is new.
    pub name: Name,
    /// A plain file name in the node's spool.
    pub file: String,
    /// What the bytes are.
    pub kind: Kind,
    /// Durable copies on how many other nodes.
    pub replicas: u8,
    /// When it is done.
    pub ack: Ack,
    /// How many versions to keep.
    pub keep: u32,
    /// The head that must stand now: `Version::NONE` for "must be new".
    pub if_version: Option<Version>,
    /// The epoch that must stand now.
    pub epoch: Option<Epoch>,
    /// Labels to set.
    pub labels: BTreeMap<String, String>,
}

/// A finished save.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// The name.
    pub name: Name,
    /// The segment.
    pub segment: SegmentId,
    /// What the bytes are.
    pub kind: Kind,
    /// The new version.
    pub version: Version,
    /// Under which ownership.
    pub epoch: Epoch,
    /// In bytes.
    pub size: u64,
    /// BLAKE3 of the bytes.
    pub digest: Digest,
    /// The owner.
    pub owner: NodeName,
    /// The copies on other nodes.
    pub replicas: Vec<Replica>,
    /// What was waited for.
    pub ack: Ack,
    /// Bytes that were sent to other nodes.
    pub bytes_sent: u64,
}

/// A copy on another node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// The node.
    pub node: NodeName,
    /// What is known of its copy.
    pub state: CopyState,
}

/// A load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadRequest {
    /// The same at every retry.
    pub request: RequestId,
    /// How long the client will go on asking.
    pub wait: Duration,
    /// What to load.
    pub name: Name,
    /// Which version; none: the newest.
    pub version: Option<Version>,
    /// Where to load it; none: on the node asked.
    pub on: Option<NodeName>,
    /// Become the owner too.
    pub claim: bool,
    /// Without a quorum, by what the node knows: it may be old, and gives no ownership.
    pub stale: bool,
}

/// A finished load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    /// The name.
    pub name: Name,
    /// What the bytes are.
    pub kind: Kind,
    /// The version.
    pub version: Version,
    /// The epoch now; after the claim, if there was one.
    pub epoch: Epoch,
    /// In bytes.
    pub size: u64,
    /// BLAKE3 of the bytes, verified.
    pub digest: Digest,
    /// The owner now.
    pub owner: Option<NodeName>,
    /// Whether this load made the node the owner.
    pub claimed: bool,
    /// Whether it may be old.
    pub stale: bool,
    /// Which nodes the bytes came from.
    pub sources: Vec<Source>,
    /// The node that has it now.
    pub node: NodeName,
    /// Its incarnation, to recognise its local storage.
    pub incarnation: Incarnation,
    /// Its data plane.
    pub data: String,
    /// The copy in its local storage.
    pub copy: CopyId,
    /// The file in its local storage, read-only: the plain bytes. Kept while the cluster refers to it, else for an
    /// hour at least; of a stale load it lies in the spool and is the caller's to remove.
    pub path: PathBuf,
}

/// A node that bytes came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The node.
    pub node: NodeName,
    /// How many of the bytes.
    pub bytes: u64,
}

/// A page of the segments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListRequest {
    /// Names that start with this.
    pub prefix: String,
    /// Only what this node owns.
    pub owner: Option<NodeName>,
    /// Names after this one.
    pub after: Option<Name>,
    /// At most so many, and at most [`PAGE_MAX`].
    pub limit: u32,
    /// How long to wait for a quorum.
    pub wait: Duration,
}

/// A segment in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentSummary {
    /// The name.
    pub name: Name,
    /// What the bytes are.
    pub kind: Kind,
    /// The owner.
    pub owner: Option<NodeName>,
    /// The epoch.
    pub epoch: Epoch,
    /// The newest version; none before the first.
    pub head: Option<Version>,
    /// Of the newest version, in bytes.
    pub size: Option<u64>,
    /// Of the newest version.
    pub digest: Option<Digest>,
    /// The last commit or change of owner.
    pub modified: WallTime,
    /// Whether the newest version has fewer durable copies than wanted on nodes that are up and stay.
    pub under_replicated: bool,
}

/// Everything about a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentDetail {
    /// As in a list.
    pub summary: SegmentSummary,
    /// The registration.
    pub segment: SegmentId,
    /// The versions that are kept, oldest first.
    pub versions: Vec<VersionDetail>,
    /// How many durable copies on other nodes the newest version wants; none before the first version.
    pub replicas_wanted: Option<u8>,
    /// Why it is under-replicated, in words.
    pub waiting_for: Option<String>,
    /// Free words of the user.
    pub labels: BTreeMap<String, String>,
    /// The log index of the last change.
    pub revision: u64,
}

/// A version of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionDetail {
    /// Its number.
    pub version: Version,
    /// In bytes.
    pub size: u64,
    /// BLAKE3 of the bytes.
    pub digest: Digest,
    /// When it was committed.
    pub created: WallTime,
    /// Kept whatever comes after it.
    pub pinned: bool,
    /// Who holds it.
    pub holders: Vec<Replica>,
}

/// Takes something away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveRequest {
    /// The same at every retry.
    pub request: RequestId,
    /// How long the client will go on asking.
    pub wait: Duration,
    /// The segment.
    pub name: Name,
    /// Only this version.
    pub version: Option<Version>,
}

/// A claim without bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimRequest {
    /// The same at every retry.
    pub request: RequestId,
    /// How long the client will go on asking.
    pub wait: Duration,
    /// The segment.
    pub name: Name,
}

/// A finished claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimed {
    /// The segment.
    pub name: Name,
    /// The new owner.
    pub owner: NodeName,
    /// The new epoch.
    pub epoch: Epoch,
    /// The head that it owns.
    pub head: Option<Version>,
}

/// Gives ownership up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseRequest {
    /// The same at every retry.
    pub request: RequestId,
    /// How long the client will go on asking.
    pub wait: Duration,
    /// The segment.
    pub name: Name,
    /// The epoch that is given up.
    pub epoch: Epoch,
}

/// A member, as `node ls` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Whether applications run there.
    pub role: Role,
    /// Nodes of one zone are lost together.
    pub zone: String,
    /// Up, down or draining.
    pub state: NodeState,
    /// Whether it votes.
    pub voter: bool,
    /// Whether it leads.
    pub leader: bool,
    /// `HOST:PORT` of its service.
    pub endpoint: String,
    /// `HOST:PORT` of its data plane.
    pub data_endpoint: String,
    /// Copies that the cluster refers to.
    pub copies: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many bytes it takes.
    pub capacity: u64,
    /// How long ago the leader heard it; none if it does not know.
    pub last_seen_ms: Option<u64>,
}

/// Whether a node can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// Heard by the leader.
    Up,
    /// Not heard.
    Down,
    /// Being emptied.
    Draining,
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Draining => "draining",
        })
    }
}

/// The cluster in a few numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// The cluster.
    pub cluster: ClusterId,
    /// The leader.
    pub leader: Option<NodeName>,
    /// Raft's term.
    pub term: u64,
    /// Members.
    pub nodes: u64,
    /// Members that vote.
    pub voters: u64,
    /// Registered segments.
    pub segments: u64,
    /// Bytes of all copies.
    pub bytes: u64,
    /// Segments that are under-replicated.
    pub under_replicated: u64,
    /// How many more voters may be lost; negative without a quorum.
    pub quorum_margin: i64,
}

/// Why the cluster is not healthy; healthy if nothing is listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// In words, one thing each.
    pub reasons: Vec<String>,
}

/// A node that wants to be a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The life of its folder.
    pub incarnation: Incarnation,
    /// What it says of itself.
    pub profile: Profile,
    /// How long to wait for a quorum.
    pub wait: Duration,
}

/// A node that is a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// Its id.
    pub id: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
}

/// What went wrong: the kind decides the exit code of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// Anything else.
    Internal,
    /// The request makes no sense.
    Invalid,
    /// No such name, version or node.
    NotFound,
    /// Name taken, not the owner, stale epoch, another version, a storage-only node asked to own or load.
    Conflict,
    /// No leader, no quorum, timed out, too busy.
    Unavailable,
    /// No copy verifies.
    Corrupt,
    /// Too few durable copies; nothing was committed.
    Durability,
    /// Not allowed.
    Denied,
}

impl Code {
    /// The exit code of the command line (CLI.md's table).
    pub fn exit(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::Invalid => 2,
            Self::NotFound => 3,
            Self::Conflict => 4,
            Self::Unavailable => 5,
            Self::Corrupt => 6,
            Self::Durability => 7,
            Self::Denied => 8,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Internal => "internal",
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Unavailable => "unavailable",
            Self::Corrupt => "corrupt",
            Self::Durability => "durability",
            Self::Denied => "denied",
        })
    }
}

/// Whether it may have happened all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Nothing happened.
    #[default]
    None,
    /// It may have happened.
    Unknown,
}

/// Why a request failed, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// The kind.
    pub code: Code,
    /// What failed, and why.
    pub message: String,
    /// What to try next.
    pub hint: Option<String>,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// Whether it may have happened.
    pub outcome: Outcome,
}

impl Error {
    /// A final error, after which nothing happened.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, retryable: false, outcome: Outcome::None }
    }

    /// A passing trouble: the same request may succeed later.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { retryable: true, ..Self::new(Code::Unavailable, message) }
    }

    /// With what to try next.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// It may have happened.
    #[must_use]
    pub fn unknown(self) -> Self {
        Self { outcome: Outcome::Unknown, ..self }
    }
}
