//! The global tier.

use std::time::Duration;

use cairn_store::archive::Policy;
use cairn_store::id::TierId;
use cairn_store::node::NodeName;
use serde::{Deserialize, Serialize};

/// The global tier, as the cluster uses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GlobalStatus {
    /// Which it is; none while no node reaches one.
    pub tier: Option<TierId>,
    /// Which versions go there, of segments for which nobody said.
    pub archive: Policy,
    /// The nodes that have one, with what they say of it.
    pub nodes: Vec<TierNode>,
    /// Versions that lie there.
    pub archived: u64,
    /// Their bytes.
    pub archived_bytes: u64,
    /// Versions whose object there was found damaged or missing, and has no other yet.
    pub lost: u64,
    /// Versions that wait to be put there.
    pub waiting: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// How long the first of them has waited.
    pub oldest: Option<Duration>,
}

/// A node with a global tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierNode {
    /// The node.
    pub node: NodeName,
    /// The tier that it reaches; none if it reaches none now.
    pub tier: Option<TierId>,
    /// Where its store is; none if it did not say.
    pub address: Option<String>,
    /// Why something failed that it did there last; none if nothing has since, or it did not say.
    pub failure: Option<String>,
}
