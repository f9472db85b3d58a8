//! The two programs and the examples, built once for all tests of this process.

use std::path::PathBuf;
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

/// `cargo test --workspace` has built all of them before; a test that runs alone builds them here.
fn folder() -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            let test = std::env::current_exe().expect("a test knows its own path");
            let folder =
                test.parent().and_then(|deps| deps.parent()).expect("tests lie in <profile>/deps").to_owned();
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let mut build = Command::new(cargo);
            build.args(["build", "--workspace", "--bins", "--examples", "--quiet"]);
            if folder.file_name().is_some_and(|profile| profile == "release") {
                build.arg("--release");
            }
            let status = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs");
            assert!(status.success(), "the programs could not be built");
            folder
        })
        .clone()
}
