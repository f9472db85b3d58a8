//! The two programs and the examples, built once for all tests of this process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The daemon.
pub fn cairnd() -> PathBuf {
    folder().join("cairnd")
}

/// The command.
pub fn cairn() -> PathBuf {
    folder().join("cairn")
}

/// An example of the client's crate.
pub fn example(name: &str) -> PathBuf {
    folder().join("examples").join(name)
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
    let own = std::env::current_exe().expect("a program knows its own path");
    let folder = own.parent().expect("a program lies in a folder");
    // Programs lie in the profile's folder, tests below it.
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder }.to_owned();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--workspace", "--bins", "--examples", "--quiet", "--locked"]);
    if is_release(&folder) {
        build.arg("--release");
    }
    let status = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs");
    assert!(status.success(), "the programs could not be built");
    folder
}

fn is_release(folder: &Path) -> bool {
    folder.file_name().is_some_and(|profile| profile == "release")
}
