//! Raft: how nodes agree. openraft decides; this module stores, carries and applies for it.
//!
//! - [`types`]: the types that Raft runs with;
//! - [`log`]: the log and the vote on disk (the simulation has its own);
//! - [`machine`]: entries applied to [`cairn_store::meta::State`], snapshots, and the [`machine::View`] that
//!   everybody else reads;
//! - [`network`]: Raft's messages to other members; a snapshot goes over the data plane;
//! - [`rpc`]: the tarpc service between members;
//! - [`propose`]: commands on their way to the leader, and linearizable reads.

pub mod log;
pub mod machine;
pub mod network;
pub mod propose;
pub mod rpc;
pub mod types;

pub use machine::{Machine, View};
pub use types::Types;

/// Raft, as this node runs it.
pub type Raft = openraft::Raft<Types, Machine>;
