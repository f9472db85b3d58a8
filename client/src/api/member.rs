//! Members that are emptied, removed, or stopped for a while.

use std::time::Duration;

use cairn_store::id::NodeId;
use cairn_store::name::Name;
use cairn_store::node::NodeName;
use cairn_store::segment::Version;
use serde::{Deserialize, Serialize};

/// How far a node is emptied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// The node.
    pub node: NodeName,
    /// Whether it is being emptied.
    pub draining: bool,
    /// Copies on it that the cluster refers to.
    pub copies: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Segments that it owns.
    pub owned: u64,
    /// What is still to be done, and what cannot be; [`super::BLOCKS_MAX`] at most, what is stuck first.
    pub blocks: Vec<Block>,
}

impl Drain {
    /// Whether nothing is left on it.
    pub fn is_done(&self) -> bool {
        self.draining && self.copies == 0 && self.owned == 0
    }
}

/// Why a node is not empty yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// The segment.
    pub name: Name,
    /// The version of which it has a copy; none if it is the ownership that is left.
    pub version: Option<Version>,
    /// Bytes of the copy.
    pub size: u64,
    /// Whether nothing can be done about it now.
    pub stuck: bool,
    /// What is waited for, in words.
    pub reason: String,
}

/// That a node's membership ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveNodeRequest {
    /// Which node: by the id that [`Removal`] tells, for a name may be another node's by the time that it is asked again.
    pub node: NodeId,
    /// Also if it is down and versions are lost with it.
    pub force: bool,
    /// Whether it is asked again: who ended the emptying meanwhile ended the removal.
    pub begun: bool,
    /// How long to wait for a quorum.
    pub wait: Duration,
}

/// What the removal of a node would come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// The node.
    pub node: NodeName,
    /// Its id.
    pub id: NodeId,
    /// Copies on it.
    pub copies: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Segments that it owns, and that nobody would own.
    pub owned: u64,
    /// Versions that would have fewer copies than they want, until they are repaired.
    pub thin: u64,
    /// Versions of which no good copy would be left on a node that is up.
    pub lost: u64,
    /// The first of them; [`super::BLOCKS_MAX`] at most.
    pub losses: Vec<Loss>,
    /// How many members would vote afterwards, if those that are up now stay so.
    pub voters: u64,
    /// Why it would be refused; none if it would be done.
    pub refusal: Option<super::Error>,
}

/// A version that would be lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// The segment.
    pub name: Name,
    /// The version.
    pub version: Version,
    /// In bytes.
    pub size: u64,
}
