//! A short pass of each soak that needs no special disk: the long ones are run on demand (see docs/testing.md).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::process::Command;
use std::sync::{Mutex, PoisonError};

use cairn_tests::{Run, bins};
use serde_json::Value;

/// Each keeps two cores busy.
static TURN: Mutex<()> = Mutex::new(());

/// What `soak` says if it could not be tried here.
const SKIPPED: i32 = 77;

/// Runs it to its end; none if it could not be tried here.
#[track_caller]
fn soak(words: &[&str]) -> Option<Value> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = Command::new(env!("CARGO_BIN_EXE_soak"));
    command.args(["-o", "json", "--programs"]).arg(bins::folder()).args(words);
    let run = Run::of(&mut command);
    if run.code == SKIPPED {
        skipped(&format!("{words:?} was SKIPPED: {}", run.json()["skipped"]));
        return None;
    }
    assert_eq!(run.code, 0, "{}\n{}", run.stderr, run.text());
    Some(run.json())
}

#[allow(clippy::print_stderr, reason = "a test that was skipped must say so")]
fn skipped(text: &str) {
    eprintln!("{text}");
}

fn count(report: &Value, what: &str) -> u64 {
    let counts = report["counts"].as_array().unwrap();
    let found = counts.iter().find(|count| count["what"] == what);
    found.map_or(0, |count| count["count"].as_u64().unwrap())
}

/// What no simulation runs has run.
#[track_caller]
fn assert_real_paths(report: &Value) {
    for what in ["MiB by sendfile", "MiB by O_DIRECT", "  saves acknowledged", "loads of acknowledged versions"] {
        assert!(count(report, what) > 0, "no {what}: {report}");
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_nodes_are_killed() {
    let report = soak(&["kill", "--kills", "10", "--seconds", "40"]).unwrap();
    assert!(count(&report, "kills") > 0, "{report}");
    assert_real_paths(&report);
}

#[test]
fn nothing_acknowledged_is_lost_when_nodes_end_at_any_step_of_their_work() {
    // Others at every run.
    let Some(report) = soak(&["crash", "--hits", "1", "--sample", "12", "--seconds", "40"]) else { return };
    let hits = report["counts"].as_array().unwrap().iter();
    let hit = hits.filter(|count| count["what"].as_str().unwrap().starts_with("hits of ") && count["count"] != 0);
    assert!(hit.count() > 0, "{report}");
}

#[test]
fn nothing_acknowledged_is_lost_when_the_power_is_cut() {
    let Some(report) = soak(&["power", "--rounds", "3", "--fs", "ext4", "--seconds", "60"]) else { return };
    assert!(count(&report, "cuts on ext4") > 0, "{report}");
    assert_real_paths(&report);
}

#[test]
fn nothing_acknowledged_is_lost_when_nodes_stand_still() {
    let report = soak(&["stall", "--rounds", "2", "--seconds", "40"]).unwrap();
    assert!(count(&report, "rounds") > 0, "{report}");
}

#[test]
fn nothing_acknowledged_is_lost_when_nodes_do_not_hear_each_other() {
    let Some(report) = soak(&["partition", "--rounds", "2", "--seconds", "40"]) else { return };
    assert!(count(&report, "rounds") > 0, "{report}");
}

#[test]
fn an_application_goes_on_when_its_node_is_lost_again_and_again() {
    let report = soak(&["failover", "--rounds", "2"]).unwrap();
    let rounds =
        count(&report, "rounds in which a follower was lost") + count(&report, "rounds in which the leader was lost");
    assert!(rounds == 2 && count(&report, "answers to the client") > 0, "{report}");
}
