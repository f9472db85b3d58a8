//! What can be asked of the state machine, and what it answers.
//!
//! Commands name a segment by id and a copy by id, never only by name or node (R2). The proposer plans; `apply`
//! only checks. Enums grow at the end only: they are written into the log.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::{ClusterId, CopyId, Incarnation, NodeId, RequestId, SegmentId};
use crate::name::Name;
use crate::node::Profile;
use crate::segment::{Ack, Epoch, Kind, Receipt, Segment, Version};
use crate::time::{LogTime, WallTime};

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The clock of the leader that appended it.
    pub stamp: Stamp,
    /// When it was proposed, for people.
    pub at: WallTime,
    /// What is asked.
    pub command: Command,
}

/// A leader's clock, and the term it led (R4). It counts only if the entry carries the same term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// The leader's clock.
    pub clock: LogTime,
    /// The term it led when it read the clock.
    pub term: u64,
}

/// A client's request (R6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The same at every retry.
    pub id: RequestId,
    /// The last log time at which it may be applied, and until which its answer is kept.
    pub until: LogTime,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Nothing but the stamp: keeps log time going.
    Tick,
    /// The first entry of a cluster.
    Found {
        /// The new cluster's id.
        cluster: ClusterId,
        /// The founder's life.
        incarnation: Incarnation,
        /// The founder, who becomes node 1.
        profile: Profile,
    },
    /// A new member. Keyed by the incarnation: the same one joins once.
    Join {
        /// The life of its folder.
        incarnation: Incarnation,
        /// What it says of itself.
        profile: Profile,
    },
    /// A member says something new of itself.
    Describe {
        /// Who.
        node: NodeId,
        /// Which life of it.
        incarnation: Incarnation,
        /// What it says now.
        profile: Profile,
    },
    /// The leader's word on whether it hears a node.
    Mark {
        /// Who.
        node: NodeId,
        /// Whether it is heard.
        up: bool,
    },
    /// Whether a node is being emptied.
    Drain {
        /// Who.
        node: NodeId,
        /// On or off.
        draining: bool,
    },
    /// Takes a name.
    Register {
        /// Whose request.
        request: Request,
        /// The name to take.
        name: Name,
        /// The new segment's id.
        segment: SegmentId,
        /// The first owner.
        owner: NodeId,
        /// What the bytes are.
        kind: Kind,
    },
    /// Makes a version out of durable copies.
    Commit {
        /// Whose request.
        request: Request,
        /// The new version.
        commit: Commit,
    },
    /// A copy that became durable after the commit, or by a load or a repair.
    Confirm {
        /// The segment.
        segment: SegmentId,
        /// The version.
        version: Version,
        /// What the copy's bytes are: a stray of another save that was to become the same version is not a copy.
        digest: Digest,
        /// The holder's word.
        receipt: Receipt,
    },
    /// A holder found its copy damaged or gone. Names a copy, never a node (R8).
    Lose {
        /// The segment.
        segment: SegmentId,
        /// The version.
        version: Version,
        /// The copy.
        copy: CopyId,
        /// What was found.
        finding: Finding,
    },
    /// Becomes the owner. Compares all three: segment, epoch, and the head that was loaded (R3).
    Claim {
        /// Whose request.
        request: Request,
        /// The segment.
        segment: SegmentId,
        /// The epoch that was seen.
        epoch: Epoch,
        /// The head that was loaded.
        head: Version,
        /// The new owner.
        node: NodeId,
    },
    /// Gives ownership up.
    Release {
        /// Whose request.
        request: Request,
        /// The segment.
        segment: SegmentId,
        /// The epoch that is given up.
        epoch: Epoch,
    },
    /// Takes a segment, or one version of it, out of the state.
    Unregister {
        /// Whose request.
        request: Request,
        /// The segment.
        segment: SegmentId,
        /// How much of it.
        scope: Scope,
    },
    /// Frees a name whose registration never got a version. Checked against log time.
    Expire {
        /// The segment.
        segment: SegmentId,
    },
    /// Keeps a version whatever comes after it (R7).
    Pin {
        /// Whose request.
        request: Request,
        /// The segment.
        segment: SegmentId,
        /// The version.
        version: Version,
    },
    /// Ends a pin, or all of a segment.
    Unpin {
        /// Whose request.
        request: Request,
        /// The segment.
        segment: SegmentId,
        /// Only this version.
        version: Option<Version>,
    },
    /// Ends the reference to a copy that is not needed: one too many, one on a node that is being emptied, or a lost one.
    Retire {
        /// The segment.
        segment: SegmentId,
        /// The version.
        version: Version,
        /// The copy that goes.
        copy: CopyId,
        /// The copies that stay, each verified by its holder a moment ago (R8).
        stay: Vec<CopyId>,
    },
    /// Ends the ownership of a node that is being emptied. The epoch stays: the next claim raises it.
    Disown {
        /// The segment.
        segment: SegmentId,
        /// Whose ownership.
        node: NodeId,
    },
    /// Gives up a copy on a node that is to be removed, though fewer than are wanted may be left.
    Abandon {
        /// The segment.
        segment: SegmentId,
        /// The version.
        version: Version,
        /// The copy that goes.
        copy: CopyId,
        /// Even the last good one, if its node is down: the operator was told what is lost.
        force: bool,
    },
    /// Ends a membership (R14). The node has been emptied, and this life of it never comes back.
    Remove {
        /// Who.
        node: NodeId,
        /// Which life of it.
        incarnation: Incarnation,
    },
    /// Begins to take over what another cluster knew (R12). Only while this one has no segment.
    Restore {
        /// What is taken over.
        source: Source,
        /// That cluster's own ancestors.
        ancestors: Vec<ClusterId>,
        /// Above every epoch that was given there.
        floor: Epoch,
    },
    /// Takes segments over, without owners and copies. Those that came before are left as they are.
    Readmit {
        /// What is taken over.
        source: Source,
        /// Some of its segments.
        segments: Vec<Segment>,
    },
    /// All segments are taken over. From now on nodes look for the copies that they brought along.
    Restored {
        /// What is taken over.
        source: Source,
    },
    /// Ends a recovery: what no segment refers to may be deleted again, and what lacks copies is repaired.
    Resume,
}

/// The state of a cluster at one moment, from which another one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The cluster.
    pub cluster: ClusterId,
    /// The revision of its state.
    pub revision: u64,
}

/// The new version that a [`Command::Commit`] asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The segment.
    pub segment: SegmentId,
    /// The node that saved.
    pub owner: NodeId,
    /// The ownership under which it saved.
    pub epoch: Epoch,
    /// The head that the new version follows.
    pub after: Version,
    /// In bytes.
    pub size: u64,
    /// BLAKE3 of the bytes.
    pub digest: Digest,
    /// The holders' words, the owner's own among them.
    pub receipts: Vec<Receipt>,
    /// How many durable copies on other nodes are wanted.
    pub wanted: u8,
    /// How many of them are needed now.
    pub ack: Ack,
    /// How many versions to keep from now on.
    pub keep: u32,
    /// Labels to set.
    pub labels: BTreeMap<String, String>,
}

/// What a holder found instead of its copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Finding {
    /// Bytes that do not match.
    Corrupt,
    /// No file.
    Missing,
}

/// How much [`Command::Unregister`] takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// The whole segment; the name is free again.
    Segment,
    /// The segment, but only if it has no version.
    IfEmpty,
    /// One version.
    Version(Version),
}

/// What `apply` answers.
pub type Reply = Result<Outcome, Rejection>;

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It holds now, by this command or an earlier one.
    Done,
    /// The node is a member.
    Joined {
        /// Under this id.
        node: NodeId,
        /// Of this cluster.
        cluster: ClusterId,
    },
    /// The name is taken by this request.
    Registered {
        /// The segment's id.
        segment: SegmentId,
        /// Its first epoch.
        epoch: Epoch,
    },
    /// The version exists.
    Committed {
        /// Of which segment.
        segment: SegmentId,
        /// Its number.
        version: Version,
        /// The epoch under which it was saved.
        epoch: Epoch,
        /// Its digest.
        digest: Digest,
        /// Its size, in bytes.
        size: u64,
    },
    /// The node is the owner.
    Claimed {
        /// The new epoch.
        epoch: Epoch,
        /// The head that it took over.
        head: Version,
    },
}

/// Why a command was refused: the same on every node, and part of the reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// The cluster was founded before.
    #[error("the cluster was founded before")]
    AlreadyFounded,
    /// There is no cluster yet.
    #[error("the cluster is not founded yet")]
    NotFounded,
    /// Not a member, or another life of it.
    #[error("node {0} is not a member of this cluster")]
    NoSuchNode(NodeId),
    /// Another member has the name.
    #[error("another node of this cluster has the name {0}")]
    NodeNameTaken(String),
    /// The cluster has as many members as it may.
    #[error("the cluster has as many nodes as it may: {0}")]
    TooManyNodes(u32),
    /// Another segment has the name.
    #[error("the name is taken")]
    NameTaken {
        /// Its owner.
        owner: Option<NodeId>,
    },
    /// No such registration, or no longer.
    #[error("the segment does not exist")]
    NoSuchSegment,
    /// No such version, or no longer.
    #[error("version {0} does not exist")]
    NoSuchVersion(Version),
    /// The node does not own the segment.
    #[error("the node is not the owner")]
    NotOwner {
        /// Who does.
        owner: Option<NodeId>,
    },
    /// The epoch has passed.
    #[error("the epoch is {current} by now")]
    StaleEpoch {
        /// The epoch now.
        current: Epoch,
    },
    /// Another version was committed in between.
    #[error("the head is version {head} by now")]
    HeadMoved {
        /// The head now.
        head: Version,
    },
    /// A storage-only node cannot own.
    #[error("a storage-only node cannot own a segment")]
    StorageOnly,
    /// Too few of the copies count: receipts ran out, or holders left.
    #[error("{have} durable copies on other nodes, {need} are needed")]
    TooFewCopies {
        /// How many count.
        have: u8,
        /// How many are needed.
        need: u8,
    },
    /// The owner's own copy is not among the receipts, or does not count.
    #[error("the owner's own copy is not durable")]
    NoOwnCopy,
    /// The receipt's time is over.
    #[error("the receipt has run out")]
    ReceiptExpired,
    /// The copy's reference ended; it is never referred to again (R1).
    #[error("the copy was given up before")]
    CopySpent,
    /// The copy's bytes are not the version's.
    #[error("the copy has other bytes than the version")]
    OtherBytes,
    /// The node holds a durable copy of this version already.
    #[error("the node holds a copy already")]
    Redundant,
    /// More than a version may list.
    #[error("the version lists as many copies as it may")]
    TooManyCopies,
    /// The segment has versions.
    #[error("the segment has versions")]
    NotEmpty,
    /// Retention holds the version (R7).
    #[error("version {0} is the newest one with all its copies, or the only one")]
    Retained(Version),
    /// The registration may still get its version.
    #[error("the registration has not expired")]
    NotExpired,
    /// The request came after its own time (R6). Whether an earlier try was applied is unknown.
    #[error("the request's time is over")]
    RequestExpired,
    /// The id was used for something else.
    #[error("the request id was used for another request")]
    RequestMismatch,
    /// The table of requests is full; nothing is evicted.
    #[error("too many requests are remembered; try again later")]
    RequestsFull,
    /// Out of bounds.
    #[error("{0} is out of bounds")]
    OutOfBounds(String),
    /// A pin holds the version (R7).
    #[error("version {0} is pinned")]
    Pinned(Version),
    /// The segment has as many pinned versions as it may.
    #[error("the segment has as many pinned versions as it may: {0}")]
    TooManyPins(u32),
    /// Of the copies that were to stay, too few are good ones on nodes that are up and stay (R8).
    #[error("{have} good copies would stay, {need} are needed")]
    TooFewStay {
        /// How many would.
        have: u8,
        /// How many are needed.
        need: u8,
    },
    /// A good copy of an owner that stays: its applications may use the file.
    #[error("the copy is the owner's own")]
    OwnersCopy,
    /// The node is being emptied: it takes over nothing.
    #[error("node {0} is being emptied")]
    Draining(NodeId),
    /// Only of a node that is being emptied.
    #[error("node {0} is not being emptied")]
    NotDraining(NodeId),
    /// Nothing would be left that takes copies.
    #[error("no other node stays")]
    LastNode,
    /// No other good copy lies on a node that is up and stays.
    #[error("the copy is the last good one of version {0}")]
    LastCopy(Version),
    /// The node holds copies, or owns segments.
    #[error("the node is not empty: it holds {copies} copies and owns {owned} segments")]
    NotEmptied {
        /// Copies of it that are referred to.
        copies: u64,
        /// Segments that it owns.
        owned: u64,
    },
    /// This life of the node was a member, and ended.
    #[error("this node was removed from the cluster, as node {0}")]
    NodeRemoved(NodeId),
    /// Only a cluster without segments begins from another one's state.
    #[error("the cluster has segments of its own")]
    HasSegments,
    /// Another state is being taken over, or was.
    #[error("the cluster began with another state: revision {} of cluster {}", .0.revision, .0.cluster)]
    OtherSource(Source),
    /// What was known elsewhere is still being taken over.
    #[error("the cluster is being restored")]
    Restoring,
    /// What nodes have brought along is still looked for: nobody is emptied meanwhile.
    #[error("the cluster recovers: copies may lie on nodes that it does not know of yet")]
    Recovering,
    /// There is nothing that could be ended or go on.
    #[error("the cluster is not recovering")]
    NotRecovering,
}
