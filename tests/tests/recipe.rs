//! The commands of `docs/failover.md`, as they stand there.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use cairn_tests::{bins, walk};

#[test]
fn a_controller_needs_the_command_line_only() {
    let recipe = walk::blocks(include_str!("../../docs/failover.md"), 4);
    let programs = bins::cairn().parent().unwrap().to_owned();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let tidy = "trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT";
    let told = walk::run(&format!("{tidy}\n{recipe}"), &[("PATH", path)]).expect(0).text();
    for expected in ["\"owner\":\"n1\"", "owner     n2", "version   2", "\"type\":\"owner\""] {
        assert!(told.contains(expected), "{expected:?} is missing: {told}");
    }
}
