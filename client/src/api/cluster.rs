//! Members, and how the cluster is.

use std::fmt;
use std::time::Duration;

use cairn_store::id::{ClusterId, Incarnation, NodeId};
use cairn_store::node::{NodeName, Profile, Role};
use serde::{Deserialize, Serialize};

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

/// A member, as seen from the node that was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerInfo {
    /// Its name.
    pub node: NodeName,
    /// `HOST:PORT` of its service.
    pub endpoint: String,
    /// How long it took to answer, on a connection that was open; none if it could not be reached in time.
    pub round_trip: Option<Duration>,
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
