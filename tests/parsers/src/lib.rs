//! Every parser of outside bytes, as a function of bytes.
//!
//! `tests/fuzz` runs each with bytes that libFuzzer makes up; the test of this crate runs each over `tests/corpus`, what
//! was found that way. A function panics if the parser does, or if what it took has not the properties that it promises:
//! then a case was found.
//!
//! - [`frames`]: the data plane, and the first words on every connection;
//! - [`calls`]: tarpc's messages through the codec: a client's, and a member's;
//! - [`toc`]: the `.toc` of a copy; [`snapshot`], [`backup`]: the replicated state; [`log`]: Raft's log on disk;
//! - [`names`]: names and ids; [`config`]: a node's configuration; [`identity`]: its `node.toml`;
//! - [`tier`]: keys and manifests of the global tier;
//! - [`tree`]: a folder out of a tar stream;
//! - `crc`: checksums mended, so that what lies behind them is reached too.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed expectation is a case that was found"
)]

pub mod backup;
pub mod calls;
pub mod config;
mod crc;
pub mod frames;
pub mod identity;
pub mod log;
pub mod names;
pub mod snapshot;
pub mod tier;
pub mod toc;
pub mod tree;

use std::path::PathBuf;

use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

/// One parser.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its folder in `tests/corpus`.
    pub name: &'static str,
    /// What is run with the bytes.
    pub run: fn(&[u8]),
    /// Valid bytes to begin with, each with a name.
    pub seeds: fn() -> Vec<(String, Vec<u8>)>,
}

/// All of them.
pub const TARGETS: [Target; 13] = [
    Target { name: "frames", run: frames::run, seeds: frames::seeds },
    Target { name: "client_calls", run: calls::client, seeds: calls::client_seeds },
    Target { name: "member_calls", run: calls::member, seeds: calls::member_seeds },
    Target { name: "toc", run: toc::run, seeds: toc::seeds },
    Target { name: "snapshot", run: snapshot::run, seeds: snapshot::seeds },
    Target { name: "backup", run: backup::run, seeds: backup::seeds },
    Target { name: "log_file", run: log::file, seeds: log::file_seeds },
    Target { name: "log_entry", run: log::entry, seeds: log::entry_seeds },
    Target { name: "names", run: names::run, seeds: names::seeds },
    Target { name: "tree", run: tree::run, seeds: tree::seeds },
    Target { name: "config", run: config::run, seeds: config::seeds },
    Target { name: "identity", run: identity::run, seeds: identity::seeds },
    Target { name: "tier", run: tier::run, seeds: tier::seeds },
];

/// Runs one of them.
pub fn run(target: &str, bytes: &[u8]) {
    let found = TARGETS.iter().find(|known| known.name == target).expect("a target of that name");
    (found.run)(bytes);
}

/// What decodes must mean the same when it is encoded again. Not the same bytes: an integer has several encodings.
fn same_again<T: Serialize + DeserializeOwned, O: Options>(options: impl Fn() -> O, value: &T) {
    let bytes = options().serialize(value).expect("what was decoded can be encoded");
    let again: T = options().deserialize(&bytes).expect("what was encoded decodes");
    assert!(options().serialize(&again).ok() == Some(bytes), "it means something else");
}

/// Whether a case is one of so many that are looked at longer: else the fuzzer would be too slow.
fn one_of(count: u32, bytes: &[u8]) -> bool {
    crc32c::crc32c(bytes).is_multiple_of(count)
}

/// A folder in memory, if this machine has one: millions of files are made in it.
fn scratch() -> TempDir {
    let shared = PathBuf::from("/dev/shm");
    let place = if shared.is_dir() { shared } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("cairn-parsers-").tempdir_in(place).expect("a temporary folder")
}

fn named(seeds: impl IntoIterator<Item = (&'static str, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    seeds.into_iter().map(|(name, bytes)| (name.into(), bytes)).collect()
}
