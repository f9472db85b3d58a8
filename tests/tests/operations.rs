//! The runbooks of `docs/operations.md`, as they stand there.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::path::Path;
use std::process::Command;

use cairn_tests::bins;
use cairn_tests::run::Run;

/// The shell blocks, in order.
fn runbooks(text: &str) -> String {
    let blocks: Vec<&str> = text.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 7, "the runbooks have their blocks");
    blocks.join("\n")
}

/// A network of its own, if this user may have one: the runbooks use the default ports.
fn isolated() -> Vec<&'static str> {
    let alone = ["unshare", "--net", "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""];
    let works = Command::new(alone[0]).args(&alone[1..]).arg("true").output().is_ok_and(|o| o.status.success());
    if works { alone.to_vec() } else { Vec::new() }
}

#[test]
fn the_runbooks_run_as_they_stand_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = std::fs::read_to_string(root.join("docs/operations.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("operations.sh");
    let programs = bins::cairn().parent().unwrap().to_owned();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    // Nodes that were started by hand are ended by hand.
    let tidy = "trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT";
    std::fs::write(&script, format!("set -eu\n{tidy}\n{}", runbooks(&text))).unwrap();

    let mut words = isolated();
    words.push("bash");
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(&script).current_dir(root).env("TMPDIR", folder.path()).env("PATH", path);
    command.env_remove("CAIRN_ENDPOINTS").env_remove("CAIRN_EPOCH");
    let told = Run::of(&mut command).expect(0).text();
    let expected = [
        "node s3 has joined cluster",
        "n2 may be stopped now",
        "healthy",
        "s3 would be emptied",
        "nothing is left on s3",
        "s3 was removed",
        "node s3 has joined cluster",
        "n2 would be removed",
        "n2 was removed",
    ];
    let mut rest = told.as_str();
    for expected in expected {
        let at = rest.find(expected).unwrap_or_else(|| panic!("{expected:?} is missing, or too early: {told}"));
        rest = &rest[at..];
    }
}
