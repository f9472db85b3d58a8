//! Real processes, real files, real faults: what the tests under `tests/` have in common.
//!
//! - [`bins`]: the programs, built once;
//! - [`cluster`]: a cluster of `cairnd` processes on free loopback ports, under a folder that goes with it;
//! - [`prepared`]: clusters whose nodes have settings of their own;
//! - [`store`]: object stores for the global tier, a folder or an S3 server that fails as it is told;
//! - [`mounts`]: small and read-only file systems, files with a bad sector;
//! - [`run`]: one call of a program, and what it said;
//! - [`agent`]: the failover agent, and what it tells;
//! - [`files`]: real input: an SQLite database, executables, sizes around the block size;
//! - [`site`]: a cluster whose nodes are handled one by one, for soaks; [`load`], [`book`]: clients at work, and what they
//!   were told; [`judge`]: whether promises were kept; [`chance`]: drawn numbers;
//! - [`shared`]: one cluster for several test functions;
//! - [`terminal`]: a command on a terminal;
//! - [`walk`]: commands that stand in a document;
//! - [`wait`]: for an event, never for a time.
//!
//! A failed expectation panics: this crate is only ever used by tests, and by the program `soak`.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed expectation is a failed test"
)]

pub mod agent;
pub mod bins;
pub mod book;
pub mod chance;
pub mod cluster;
pub mod files;
pub mod judge;
pub mod load;
pub mod mounts;
pub mod prepared;
pub mod run;
pub mod shared;
pub mod site;
pub mod store;
pub mod terminal;
pub mod wait;
pub mod walk;

pub use cluster::{Cluster, NodeProcess};
pub use run::Run;
pub use shared::Shared;
