//! What the state machine answers: what was done, or why it was refused. Enums grow at the end only: answers are kept in snapshots.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::{ClusterId, NodeId, SegmentId};
use crate::meta::command::Source;
use crate::segment::{Epoch, Version};
use crate::time::LogTime;

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
    /// The lease begins anew.
    Renewed {
        /// How long it lasts.
        span: Duration,
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
    /// The owner has a lease that is not over.
    #[error("the owner has a lease until {until}")]
    Leased {
        /// The owner.
        owner: NodeId,
        /// From this log time on others may take over.
        until: LogTime,
    },
    /// There is no lease, or it is over: the name has to be claimed again.
    #[error("there is no lease that could be renewed")]
    NoLease,
    /// The lease may still be renewed.
    #[error("the lease is not over")]
    NotLapsed,
    /// The acknowledgement waits for the global tier, and no word for an object there counts.
    #[error("the global tier has confirmed no copy")]
    NoObject,
    /// A good object of the version lies in the tier already.
    #[error("the version lies in the global tier already")]
    Archived,
}
