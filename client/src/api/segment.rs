//! Names: listed, shown, removed, pinned, claimed, released.

use std::collections::BTreeMap;
use std::time::Duration;

use cairn_store::archive::Policy;
use cairn_store::digest::Digest;
use cairn_store::id::{RequestId, SegmentId};
use cairn_store::name::Name;
use cairn_store::node::NodeName;
use cairn_store::segment::{CopyState, Epoch, Kind, Version};
use cairn_store::time::WallTime;
use serde::{Deserialize, Serialize};

use super::Replica;

/// A page of the segments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListRequest {
    /// Names that start with this.
    pub prefix: String,
    /// Only what this node owns.
    pub owner: Option<NodeName>,
    /// Names after this one.
    pub after: Option<Name>,
    /// At most so many, and at most [`super::PAGE_MAX`].
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
    /// How long the owner's lease lasts from now on; none if it has none.
    pub lease: Option<Duration>,
    /// Which versions go into the global tier; none if no node has one.
    pub archive: Option<Policy>,
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
    /// What the global tier has of it.
    pub object: Option<ObjectDetail>,
}

/// A version's bytes in the global tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectDetail {
    /// Its key there.
    pub key: String,
    /// What is known of it.
    pub state: CopyState,
    /// Whether the tier says, too, that it is a version.
    pub published: bool,
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
    /// Only say whether it would be refused now.
    pub dry_run: bool,
}

/// Keeps a version whatever comes after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinRequest {
    /// The same at every retry.
    pub request: RequestId,
    /// How long the client will go on asking.
    pub wait: Duration,
    /// The segment.
    pub name: Name,
    /// The version.
    pub version: Version,
}

/// Ends pins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnpinRequest {
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
    /// For how long nobody else takes it over, if it is not renewed; none: not at all.
    pub lease: Option<Duration>,
    /// The epoch that must stand now.
    pub if_epoch: Option<Epoch>,
    /// Registers a name that is new, for such bytes.
    pub create: Option<Kind>,
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

/// The lease begins anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewRequest {
    /// Another one for each renewal; the same at every retry.
    pub request: RequestId,
    /// How long the client will go on asking.
    pub wait: Duration,
    /// The segment.
    pub name: Name,
    /// The ownership.
    pub epoch: Epoch,
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
