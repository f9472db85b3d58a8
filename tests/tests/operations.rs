//! The runbooks of `docs/operations.md`, as they stand there.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use cairn_tests::{bins, walk};

#[test]
fn the_runbooks_run_as_they_stand_there() {
    let runbooks = walk::blocks(include_str!("../../docs/operations.md"), 13);
    let programs = bins::cairn().parent().unwrap().to_owned();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    // Nodes that were started by hand are ended by hand.
    let tidy = "trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT";
    let told = walk::run(&format!("{tidy}\n{runbooks}"), &[("PATH", path)]).expect(0).text();
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
        "a copy of 1 of them lies here",
        "it is the first node of the new cluster",
        "begins with 1 segment",
        "its copies stay",
        "of every version a good copy was found",
        "the recovery is over",
        "revision",
        "would begin with 1 segment",
        "begins with 1 segment",
        "the recovery is over",
    ];
    let mut rest = told.as_str();
    for expected in expected {
        let at = rest.find(expected).unwrap_or_else(|| panic!("{expected:?} is missing, or too early: {told}"));
        rest = &rest[at + expected.len()..];
    }
}
