//! Members, and how the cluster is.

use std::fmt;
use std::time::Duration;

use cairn_store::id::{ClusterId, Incarnation, NodeId};
use cairn_store::name::Name;
use cairn_store::node::{NodeName, Profile, Role};
use cairn_store::segment::Version;
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

/// What is being done, and is to be done, so that every version has its copies and nothing more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repairs {
    /// The most urgent first; [`super::REPAIRS_MAX`] of each state at most.
    pub repairs: Vec<Repair>,
    /// How many versions lack copies.
    pub lacking: u64,
    /// Bytes of all copies that are lacking.
    pub bytes: u64,
}

/// One version's repair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repair {
    /// The segment's name.
    pub name: Name,
    /// The version.
    pub version: Version,
    /// What is to be done.
    pub kind: RepairKind,
    /// How far it is.
    pub state: RepairState,
    /// Where a copy is made, or lies that is not needed; none if no node was found.
    pub node: Option<NodeName>,
    /// Bytes of one copy.
    pub size: u64,
    /// Good copies that are counted on.
    pub live: u32,
    /// How many are wanted.
    pub wanted: u32,
    /// Why nothing can be done; none if something can.
    pub why: Option<String>,
}

/// What a repair does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RepairKind {
    /// Makes a copy.
    Copy,
    /// Lets one go that is not needed.
    Retire,
}

/// How far a repair is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RepairState {
    /// A node is at it, or waits for its turn.
    Running,
    /// Its time comes.
    Planned,
    /// Nothing can be done now.
    Stuck,
}

impl fmt::Display for RepairKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Copy => "copy",
            Self::Retire => "retire",
        })
    }
}

impl fmt::Display for RepairState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Planned => "planned",
            Self::Stuck => "stuck",
        })
    }
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
