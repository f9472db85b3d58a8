//! The README's walk, as it stands there.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use cairn_tests::bins::CRASH_POINTS;
use cairn_tests::walk;

#[test]
fn the_walk_runs_as_it_stands_there() {
    let readme = include_str!("../../README.md");
    let section = readme.split("\n## ").find(|section| section.starts_with("Five minutes")).expect("the section");
    // The same programs as those of all tests: else they would be built a second time.
    let cargo = format!("cargo() {{ command cargo \"$@\" --features {CRASH_POINTS}; }}");
    let script = format!("{cargo}\ntrap 'kill %1 2>/dev/null; wait' EXIT\n{}", walk::blocks(section, 4));
    let told = walk::run(&script, &[]).expect(0).text();
    for expected in ["n1 (durable)", "identical", "owner     n2", "VERSION"] {
        assert!(told.contains(expected), "{expected:?} is missing: {told}");
    }
}
