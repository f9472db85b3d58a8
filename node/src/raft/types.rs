//! The types that Raft runs with.

use std::fmt;

use cairn_store::id::Incarnation;
use cairn_store::meta::{Entry, Reply};
use openraft_rt::deterministic_rng::DeterministicRng;
use openraft_rt_tokio::TokioRuntime;
use serde::{Deserialize, Serialize};

openraft::declare_raft_types!(
    /// Raft's parameters. The runtime draws its randomness from a seed that `env` gives to every task, so that the
    /// simulation runs the same Raft. In each term there is one leader at most: stamps of log time rest on that (R4).
    pub Types:
        D = AppEntry,
        R = AppReply,
        NodeId = u64,
        Node = Peer,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>,
        AsyncRuntime = Runtime,
);

/// Tokio, with randomness from a seed.
pub type Runtime = DeterministicRng<TokioRuntime>;

/// A log id.
pub type LogId = openraft::type_config::alias::LogIdOf<Types>;
/// A vote.
pub type Vote = openraft::type_config::alias::VoteOf<Types>;
/// A log entry: blank, membership, or an [`AppEntry`].
pub type LogEntry = openraft::type_config::alias::EntryOf<Types>;

/// An [`Entry`] of the state machine, as Raft carries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppEntry(pub Entry);

/// The state machine's answer, as Raft carries it; none for entries of Raft's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppReply(pub Option<Reply>);

impl fmt::Display for AppEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0.command)
    }
}

impl fmt::Display for AppReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// How a member is reached and recognised by Raft before any state is applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// `HOST:PORT` of its service.
    pub rpc: String,
    /// `HOST:PORT` of its data plane.
    pub data: String,
    /// The life of its folder; none only in a default value.
    pub incarnation: Option<Incarnation>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rpc)
    }
}
