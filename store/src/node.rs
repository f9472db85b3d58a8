//! A node, as the cluster knows it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::{Incarnation, NodeId};

/// What a node may be asked to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Runs applications: may own segments, load them, and hold copies.
    #[default]
    Executor,
    /// Only holds and serves copies.
    Storage,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Executor => "executor",
            Self::Storage => "storage",
        })
    }
}

/// The longest zone, and the longest address, in bytes.
pub const PROFILE_TEXT_BYTES_MAX: usize = 255;

/// What a node says of itself when it joins, and again when it starts with other settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Unique in the cluster, for people and for JSON.
    pub name: NodeName,
    /// Whether applications run there.
    pub role: Role,
    /// Nodes of one zone are lost together.
    pub zone: String,
    /// Where its service listens, `HOST:PORT`.
    pub rpc: String,
    /// Where its data plane listens, `HOST:PORT`.
    pub data: String,
    /// Where its HTTP listens, `HOST:PORT`.
    pub http: String,
    /// How many bytes of copies it takes.
    pub capacity: u64,
}

/// A node's name: 1–63 of `[A-Za-z0-9._-]`, starting with a letter or a digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(Arc<str>);

/// A text that is not a node's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a node name: 1 to 63 letters, digits, '.', '_' or '-', the first a letter or a digit")]
pub struct InvalidNodeName(String);

impl NodeName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = InvalidNodeName;

    fn from_str(text: &str) -> Result<Self, InvalidNodeName> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let good = (1..=63).contains(&text.len())
            && text.chars().all(allowed)
            && text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if good { Ok(Self(text.into())) } else { Err(InvalidNodeName(text.into())) }
    }
}

impl TryFrom<String> for NodeName {
    type Error = InvalidNodeName;

    fn try_from(text: String) -> Result<Self, InvalidNodeName> {
        text.parse()
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.0.as_ref().into()
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Given at join.
    pub id: NodeId,
    /// The life of its folder that joined.
    pub incarnation: Incarnation,
    /// What it says of itself.
    pub profile: Profile,
    /// Whether the leader hears it.
    pub up: bool,
    /// Whether it is being emptied: no new copies go there.
    pub draining: bool,
}
