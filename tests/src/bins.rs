//! The programs and the examples, built once for all tests of this process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The feature by which a debug build has its crash points.
pub const CRASH_POINTS: &str = "cairn-sim/crash-points";

/// The daemon.
pub fn cairnd() -> PathBuf {
    folder().join("cairnd")
}

/// The command.
pub fn cairn() -> PathBuf {
    folder().join("cairn")
}

/// The S3 server for tests.
pub fn s3d() -> PathBuf {
    folder().join("s3d")
}

/// An example of the client's crate.
pub fn example(name: &str) -> PathBuf {
    folder().join("examples").join(name)
}

/// Sees to it that the daemon has its crash points: a release build has none, so that a debug build takes its place.
pub fn with_crash_points() {
    let own = own_folder();
    if is_release(&own) {
        let debug = own.parent().unwrap_or(&own).join("debug");
        compile(false);
        take_from(&debug);
    }
}

/// From now on the programs in `folder` are used as they are, unless others are in use already.
pub fn take_from(folder: &Path) {
    let _ = FOLDER.set(folder.to_owned());
}

/// Where the programs are.
pub fn folder() -> PathBuf {
    FOLDER.get_or_init(build).clone()
}

static FOLDER: OnceLock<PathBuf> = OnceLock::new();

/// `cargo test --workspace` has built all of them before; a test that runs alone, and `soak`, build them here.
fn build() -> PathBuf {
    let folder = own_folder();
    compile(is_release(&folder));
    folder
}

/// The profile's folder.
fn own_folder() -> PathBuf {
    let own = std::env::current_exe().expect("a program knows its own path");
    let folder = own.parent().expect("a program lies in a folder");
    // Programs lie in the profile's folder, tests below it.
    if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder }.to_owned()
}

fn compile(release: bool) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--workspace", "--bins", "--examples", "--quiet", "--locked"]);
    // With the features that `cargo test --workspace` builds them with, so that nothing is built twice.
    build.args(["--features", CRASH_POINTS]);
    if release {
        build.arg("--release");
    }
    let status = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs");
    assert!(status.success(), "the programs could not be built");
}

fn is_release(folder: &Path) -> bool {
    folder.file_name().is_some_and(|profile| profile == "release")
}
