//! Saves and loads.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use cairn_store::archive::Policy;
use cairn_store::digest::Digest;
use cairn_store::id::{CopyId, Incarnation, RequestId, SegmentId};
use cairn_store::name::Name;
use cairn_store::node::NodeName;
use cairn_store::segment::{Ack, CopyState, Epoch, Kind, Version};
use serde::{Deserialize, Serialize};

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
    /// Which versions go into the global tier from now on; none: as before.
    pub archive: Option<Policy>,
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
    /// The owner; none if it was removed from the cluster since, and this is the answer to a retry.
    pub owner: Option<NodeName>,
    /// The copies on other nodes.
    pub replicas: Vec<Replica>,
    /// What was waited for.
    pub ack: Ack,
    /// Bytes that were sent to other nodes.
    pub bytes_sent: u64,
    /// Whether the version lies in the global tier.
    pub archived: bool,
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
    /// With a claim: for how long nobody else takes it over, if it is not renewed.
    pub lease: Option<Duration>,
    /// Without a quorum, by what the node knows: it may be old, and gives no ownership.
    pub stale: bool,
    /// Only from the global tier.
    pub from_tier: bool,
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
    /// Where the bytes came from.
    pub sources: Vec<Source>,
    /// The node that has it now.
    pub node: NodeName,
    /// Its incarnation, to recognise its local storage.
    pub incarnation: Incarnation,
    /// Its data plane.
    pub data: String,
    /// The copy in its local storage.
    pub copy: CopyId,
    /// The file in its local storage: the plain bytes, not to be written to. It stays while the cluster counts it among
    /// the version's copies, and else for an hour: open, link or copy it before. Of a stale load it lies in the spool
    /// and is the caller's to remove.
    pub path: PathBuf,
}

/// Where bytes came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The node; none: the global tier.
    pub node: Option<NodeName>,
    /// How many of the bytes.
    pub bytes: u64,
}
