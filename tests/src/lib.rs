//! Real processes, real files, real faults: what the tests under `tests/` have in common.
//!
//! - [`bins`]: the two programs, built once;
//! - [`cluster`]: a cluster of `cairnd` processes on free loopback ports, under a folder that goes with it;
//! - [`prepared`]: clusters whose nodes have settings of their own;
//! - [`mounts`]: small and read-only file systems, files with a bad sector;
//! - [`run`]: one call of a program, and what it said;
//! - [`files`]: real input: an SQLite database, executables, sizes around the block size;
//! - [`shared`]: one cluster for several test functions;
//! - [`terminal`]: a command on a terminal;
//! - [`wait`]: for an event, never for a time.
//!
//! A failed expectation panics: this crate is only ever used by tests.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed expectation is a failed test"
)]

pub mod bins;
pub mod cluster;
pub mod files;
pub mod mounts;
pub mod prepared;
pub mod run;
pub mod shared;
pub mod terminal;
pub mod wait;

pub use cluster::{Cluster, NodeProcess};
pub use run::Run;
pub use shared::Shared;
