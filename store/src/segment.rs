//! A segment: a name, its owner, and its versions.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::{CopyId, NodeId, RequestId, SegmentId};
use crate::name::Name;
use crate::time::{LogTime, WallTime};

/// The largest segment, in bytes.
pub const SIZE_MAX: u64 = 1 << 40;
/// The most other nodes that a save may ask for.
pub const REPLICAS_MAX: u8 = 16;
/// The most versions that a segment may keep.
pub const KEEP_MAX: u32 = 1024;
/// The most pinned versions of a segment.
pub const PINS_MAX: usize = 64;
/// The most labels of a segment.
pub const LABELS_MAX: usize = 32;
/// The longest label key or value, in bytes.
pub const LABEL_BYTES_MAX: usize = 255;

/// The number of a version: 1, 2, 3… in commit order, without gaps, never used twice. 0 stands for "none yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version(pub u64);

impl Version {
    /// The head of a segment that has no version yet.
    pub const NONE: Self = Self(0);

    /// The version after this one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The fencing token: raised at every change of owner, starting at 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch after this one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The first epoch of the next generation: above all that a cluster of this one's generation ever gives (R12). A
    /// generation has 2^32 epochs, so that 2^21 generations are exact in JSON's numbers.
    pub fn next_generation(self) -> Self {
        Self((self.0 >> GENERATION_BITS).saturating_add(1) << GENERATION_BITS)
    }

    /// Whether it is what [`Epoch::next_generation`] gives.
    pub fn begins_generation(self) -> bool {
        self.0 != 0 && self.0.trailing_zeros() >= GENERATION_BITS
    }
}

/// The bits of an epoch that count within a generation.
const GENERATION_BITS: u32 = 32;

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a segment's bytes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The bytes of one file.
    #[default]
    File,
    /// A tar stream of a folder.
    Tree,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::Tree => "tree",
        })
    }
}

/// When a save is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ack {
    /// Every other node that was asked for holds a durable copy.
    #[default]
    All,
    /// More than half of them do.
    Quorum,
    /// One of them does.
    One,
    /// The owner's own copy is durable.
    Local,
    /// So it is, and the global tier has confirmed one.
    Global,
}

impl Ack {
    /// How many distinct *other* nodes must hold a durable copy, of `wanted`.
    pub fn needed(self, wanted: u8) -> u8 {
        match self {
            Self::All => wanted,
            Self::Quorum if wanted == 0 => 0,
            Self::Quorum => wanted / 2 + 1,
            Self::One => wanted.min(1),
            Self::Local | Self::Global => 0,
        }
    }
}

impl fmt::Display for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::Quorum => "quorum",
            Self::One => "one",
            Self::Local => "local",
            Self::Global => "global",
        })
    }
}

/// What is known of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CopyState {
    /// Fsynced, by the holder's own receipt.
    Durable,
    /// The holder found bytes that do not match the digest.
    Corrupt,
    /// The holder found no file.
    Missing,
}

impl fmt::Display for CopyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Durable => "durable",
            Self::Corrupt => "corrupt",
            Self::Missing => "missing",
        })
    }
}

/// A copy that the cluster refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// The file's identity on its node.
    pub id: CopyId,
    /// The holder.
    pub node: NodeId,
    /// What is known of it.
    pub state: CopyState,
}

/// What the state says of a copy that lies on a disk. All of it comes from one applied prefix (R1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The cluster refers to it as a good copy.
    Referenced,
    /// The cluster refers to it, as one that was lost.
    Lost,
    /// It was or could have been referred to, and never will be again.
    Ended,
    /// It may still become referenced, until its time is over.
    Open,
}

/// A holder's word that a copy is durable. It may be turned into a reference until `until`, never later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The copy.
    pub copy: CopyId,
    /// Its holder.
    pub node: NodeId,
    /// Written into the holder's `.toc` before the receipt was sent.
    pub until: LogTime,
}

/// Immutable bytes, and where they lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRecord {
    /// In bytes.
    pub size: u64,
    /// BLAKE3 of the bytes.
    pub digest: Digest,
    /// When it was committed, for people.
    pub created: WallTime,
    /// Under which ownership.
    pub epoch: Epoch,
    /// Whose.
    pub owner: NodeId,
    /// The `Commit` that made it: late retries still get their answer.
    pub request: RequestId,
    /// How many durable copies on nodes other than the owner's were asked for.
    pub wanted: u8,
    /// The copies that are referred to; at most one a node.
    pub copies: Vec<Copy>,
    /// Copies whose reference ended. They are never referred to again.
    pub ended: Vec<CopyId>,
    /// Kept whatever comes after it (R7).
    pub pinned: bool,
}

impl VersionRecord {
    /// The durable copies.
    pub fn durable(&self) -> impl Iterator<Item = &Copy> {
        self.copies.iter().filter(|c| c.state == CopyState::Durable)
    }

    /// How many durable copies are wanted in all, the owner's own among them.
    pub fn copies_wanted(&self) -> usize {
        usize::from(self.wanted) + 1
    }

    /// Whether the copy is referred to.
    pub fn refers_to(&self, copy: CopyId) -> bool {
        self.copies.iter().any(|c| c.id == copy)
    }
}

/// One registration of a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// This registration.
    pub id: SegmentId,
    /// Unique among the registered.
    pub name: Name,
    /// What the bytes are.
    pub kind: Kind,
    /// Whose applications may commit; none after a release.
    pub owner: Option<NodeId>,
    /// Raised at every change of owner.
    pub epoch: Epoch,
    /// The newest committed version.
    pub head: Version,
    /// The versions that are kept.
    pub versions: BTreeMap<Version, Arc<VersionRecord>>,
    /// How many versions to keep.
    pub keep: u32,
    /// Free words of the user.
    pub labels: BTreeMap<String, String>,
    /// The `Register` that made it, when, and its first epoch: it expires if no version follows.
    pub registered: (RequestId, LogTime, Epoch),
    /// The `Claim` that set the owner, if one did, and the head that it took over: late retries still get their answer.
    pub claimed: Option<(RequestId, Version)>,
    /// The last commit or change of owner, for people.
    pub modified: WallTime,
    /// The log index of the last change.
    pub revision: u64,
}

impl Segment {
    /// What another cluster can know of it: neither the owner nor the holders, which are nodes of this one.
    pub fn without_holders(&self) -> Self {
        let bare = |record: &VersionRecord| VersionRecord { copies: Vec::new(), ended: Vec::new(), ..record.clone() };
        let versions = self.versions.iter().map(|(version, record)| (*version, Arc::new(bare(record)))).collect();
        Self { owner: None, claimed: None, versions, ..self.clone() }
    }
}
