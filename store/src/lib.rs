//! What is kept, and the rules of keeping. No network, no async, no clock.
//!
//! - the vocabulary, one type a file: [`name`], [`id`], [`time`], [`digest`], [`segment`], [`lease`], [`archive`] (the global tier),
//!   [`node`];
//! - [`meta`]: the replicated state machine. Commands go in, replies come out; the state changes nowhere else;
//! - [`plan`]: every decision (where copies go, whether enough are durable, whom to ask first) as a pure function:
//!   a view goes in, a plan comes out;
//! - [`crash`]: where a test lets the process end, in builds that have such places;
//! - [`disk`]: one node's segment files: the `Disk` trait with its real version, over a file system that can be replaced.
//!
//! `meta` and `plan` import nothing but the vocabulary, iterate only ordered maps, and take time, liveness and
//! randomness as arguments: every node that applies the same log reaches the same state, and any decision can be
//! tested without IO.

pub mod archive;
pub mod crash;
pub mod digest;
pub mod disk;
pub mod id;
pub mod lease;
pub mod meta;
pub mod name;
pub mod node;
pub mod plan;
pub mod record;
pub mod segment;
pub mod time;
