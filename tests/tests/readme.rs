//! The README's walk, as it stands there.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::path::Path;
use std::process::Command;

use cairn_tests::bins::CRASH_POINTS;
use cairn_tests::run::Run;

/// The section's shell blocks, in order.
fn walk(readme: &str) -> String {
    let section = readme.split("\n## ").find(|section| section.starts_with("Five minutes")).expect("the section");
    let blocks: Vec<&str> =
        section.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 4, "the walk has its blocks");
    blocks.join("\n")
}

/// A network of its own, if this user may have one: the walk uses the default ports.
fn isolated() -> Vec<&'static str> {
    let alone = ["unshare", "--net", "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""];
    let works = Command::new(alone[0]).args(&alone[1..]).arg("true").output().is_ok_and(|o| o.status.success());
    if works { alone.to_vec() } else { Vec::new() }
}

#[test]
fn the_walk_runs_as_it_stands_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("walk.sh");
    // The same programs as those of all tests: else they would be built a second time.
    let cargo = format!("cargo() {{ command cargo \"$@\" --features {CRASH_POINTS}; }}");
    let walk = walk(&readme);
    std::fs::write(&script, format!("set -eu\n{cargo}\ntrap 'kill %1 2>/dev/null; wait' EXIT\n{walk}")).unwrap();

    let mut words = isolated();
    words.push("bash");
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(&script).current_dir(root).env("TMPDIR", folder.path());
    command.env_remove("CAIRN_ENDPOINTS").env_remove("CAIRN_EPOCH");
    let told = Run::of(&mut command).expect(0).text();
    for expected in ["n1 (durable)", "identical", "owner     n2", "VERSION"] {
        assert!(told.contains(expected), "{expected:?} is missing: {told}");
    }
}
