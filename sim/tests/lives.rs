//! A few random lives, each twice: a seed tells everything. Many more are played by `.ci/run`.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::process::Command;

/// Plays one; the line that it ends with, which has a hash of every event.
fn replay(seed: u64) -> String {
    let mut run = Command::new(env!("CARGO_BIN_EXE_cairn-sim"));
    let run = run.args(["replay", &seed.to_string()]).env("RUST_BACKTRACE", "0").output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{out}{err}");
    out.trim().to_owned()
}

#[test]
fn the_same_seed_gives_the_same_life() {
    let lives: Vec<_> = (9_001..9_009).map(replay).collect();
    // All at once: what hangs on real time is another on a busy machine.
    let again: Vec<_> = (9_001..9_009).map(|seed| std::thread::spawn(move || replay(seed))).collect();
    let again: Vec<_> = again.into_iter().map(|life| life.join().unwrap()).collect();
    assert_eq!(again, lives);
    let trace = |life: &str| life.split_once("trace ").unwrap().1.to_owned();
    let mut traces: Vec<_> = lives.iter().map(|life| trace(life)).collect();
    traces.sort();
    traces.dedup();
    assert_eq!(traces.len(), lives.len(), "two seeds give one life");
}
