//! Changes of segments, as they are committed.

use std::time::Duration;

use cairn_store::id::ClusterId;
use cairn_store::meta::Change;
use cairn_store::name::Name;
use cairn_store::node::NodeName;
use cairn_store::segment::{Epoch, Version};
use cairn_store::time::WallTime;
use serde::{Deserialize, Serialize};

/// The next changes, please.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchRequest {
    /// Of segments whose names start with this.
    pub prefix: String,
    /// From this revision on; none asks where "from now on" begins.
    pub from: Option<u64>,
    /// The cluster that the revision is of, once that is known: another one has another history.
    pub cluster: Option<ClusterId>,
    /// How long to wait for an answer in all. The node waits for changes no longer than half of it.
    pub wait: Duration,
}

/// Changes, and where to go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// Whose history it is.
    pub cluster: ClusterId,
    /// In the order in which they were committed; empty if a quorum says that there are none yet.
    pub events: Vec<Event>,
    /// What to ask from next. No change before it is missing in `events`, unless `relist` says so.
    pub next: u64,
    /// The changes from the revision asked for are not all known any more. Whoever keeps a copy lists the segments
    /// anew, then goes on from `next`.
    pub relist: bool,
}

/// A committed change of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its place in the cluster's history. Several changes may share one.
    pub revision: u64,
    /// When it was proposed, for people.
    pub at: WallTime,
    /// What changed.
    pub change: Change,
    /// The segment's name.
    pub name: Name,
    /// The version that is meant; of an owner, the head. None before the first, and of a whole segment.
    pub version: Option<Version>,
    /// The epoch after the change.
    pub epoch: Epoch,
    /// The owner after the change; none after a release.
    pub owner: Option<NodeName>,
}
