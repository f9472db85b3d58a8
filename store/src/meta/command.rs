//! What can be asked of the state machine.
//!
//! Commands name a segment by id and a copy by id, never only by name or node (R2). The proposer plans; `apply`
//! only checks. Enums grow at the end only: they are written into the log.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::archive::{Archive, ObjectReceipt, Policy, Reach};
use crate::digest::Digest;
use crate::id::{ClusterId, CopyId, Incarnation, NodeId, RequestId, SegmentId};
pub use crate::meta::reply::{Outcome, Rejection, Reply};
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
    /// Becomes the owner, as by [`Command::Claim`], with a lease.
    Lease {
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
        /// How long others stay off.
        span: Duration,
    },
    /// The owner's lease begins anew. What is over cannot be renewed (R5).
    Renew {
        /// Whose request: another one each time.
        request: Request,
        /// The segment.
        segment: SegmentId,
        /// The ownership.
        epoch: Epoch,
    },
    /// A lease is over: watchers are told. Checked against log time.
    Lapse {
        /// The segment.
        segment: SegmentId,
    },
    /// Makes a version, as by [`Command::Commit`], and says what the global tier has and gets of the segment.
    Save {
        /// Whose request.
        request: Request,
        /// The new version.
        commit: Commit,
        /// Which versions go there from now on; none: as before.
        policy: Option<Policy>,
        /// Where its bytes lie already. [`Ack::Global`] needs it.
        object: Option<ObjectReceipt>,
    },
    /// A member's word on the global tier: none if it has none.
    Reach {
        /// Who.
        node: NodeId,
        /// Which life of it.
        incarnation: Incarnation,
        /// What it says.
        reach: Option<Reach>,
    },
    /// A version lies in the global tier, with its manifest.
    Deposited {
        /// The segment.
        segment: SegmentId,
        /// The version.
        version: Version,
        /// What the object's bytes are.
        digest: Digest,
        /// The word for it.
        receipt: ObjectReceipt,
    },
    /// An object was found damaged, or not at all. Names an object, never a version alone (R8).
    LoseObject {
        /// The segment.
        segment: SegmentId,
        /// The version.
        version: Version,
        /// The object.
        object: CopyId,
        /// What was found.
        finding: Finding,
    },
    /// Takes over what segments have in the global tier that came by [`Command::Readmit`].
    Refile {
        /// What is taken over.
        source: Source,
        /// By segment; nothing of it has ended.
        archives: Vec<(SegmentId, Archive)>,
    },
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
