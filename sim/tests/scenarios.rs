//! Every scenario, with a few seeds, each in a process of its own; and the same seed twice.

use std::process::{Command, Output};

/// Plays one scenario with one seed, as `cairn-sim replay` does.
fn replay(scenario: &str, seed: u64) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_cairn-sim"));
    program.args(["replay", &seed.to_string(), "--scenario", scenario]).output().unwrap()
}

#[track_caller]
fn plays(scenario: &str) {
    for seed in 1..=3 {
        let played = replay(scenario, seed);
        let said = String::from_utf8_lossy(&played.stdout);
        assert!(played.status.success(), "{said}{}", String::from_utf8_lossy(&played.stderr));
        assert!(said.starts_with(&format!("ok   {scenario} seed {seed}")), "{said}");
    }
}

#[test]
fn a_segment_that_was_saved_on_one_node_loads_on_another() {
    plays("save_load");
}

#[test]
fn an_owner_that_crashed_is_refused_after_a_takeover() {
    plays("claim");
}

#[test]
fn what_was_acknowledged_survives_the_crash_of_all_nodes_at_once() {
    plays("power");
}

#[test]
fn a_retry_across_a_crash_of_the_leader_makes_one_version() {
    plays("leader");
}

#[test]
fn a_corrupt_copy_is_found_and_another_source_used() {
    plays("corrupt");
}

#[test]
fn the_majority_goes_on_without_a_leader_that_is_cut_off() {
    plays("partition");
}

#[test]
fn storage_only_nodes_hold_copies_and_nothing_else() {
    plays("storage");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for (scenario, seed) in [("save_load", 11), ("power", 12), ("leader", 13), ("partition", 14)] {
        let (first, second) = (replay(scenario, seed), replay(scenario, seed));
        assert!(first.status.success(), "{first:?}");
        assert_eq!(first.stdout, second.stdout, "{scenario} seed {seed}");
        assert_ne!(first.stdout, replay(scenario, seed + 1).stdout, "the trace tells seeds apart");
    }
}
