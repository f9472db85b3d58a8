//! Every scenario with a few fixed seeds, and the promise that a seed tells everything. A process for each run.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::process::Command;

/// Runs one; the line that it ends with.
fn replay(scenario: &str, seed: u64) -> String {
    let run = Command::new(env!("CARGO_BIN_EXE_cairn-sim"))
        .args(["replay", &seed.to_string(), "--scenario", scenario])
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{out}{err}");
    out.trim().to_owned()
}

fn play(scenario: &str) {
    for seed in 1..=4 {
        replay(scenario, seed);
    }
}

#[test]
fn what_a_load_tells_of_stays_though_everybody_slept_meanwhile() {
    play("asleep");
}

#[test]
fn lost_copies_are_made_again_and_those_too_many_go() {
    play("repair");
}

#[test]
fn a_copy_that_rots_is_found_though_nobody_asks_for_it() {
    play("scrub");
}

#[test]
fn what_is_saved_on_one_node_loads_on_another() {
    play("save_load");
}

#[test]
fn a_dead_owners_segment_is_taken_over_and_the_old_owner_refused() {
    play("claim");
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_of_all_nodes() {
    play("power");
}

#[test]
fn a_request_that_is_asked_again_after_a_leaders_death_makes_one_version() {
    play("leader");
}

#[test]
fn a_corrupt_copy_is_never_served() {
    play("corrupt");
}

#[test]
fn the_majority_goes_on_without_its_leader() {
    play("partition");
}

#[test]
fn a_node_that_is_far_behind_gets_a_snapshot() {
    play("behind");
}

#[test]
fn a_save_that_lasts_for_hours_is_committed() {
    play("lasting");
}

#[test]
fn storage_only_nodes_hold_and_do_nothing_else() {
    play("storage");
}

#[test]
fn saves_go_on_while_the_global_tier_fails_and_all_gets_there_in_the_end() {
    play("global");
}

#[test]
fn what_no_node_has_any_more_comes_from_the_global_tier_or_not_at_all() {
    play("recall");
}

#[test]
fn what_was_archived_survives_the_loss_of_all_nodes() {
    play("reborn");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for scenario in ["save_load", "power", "leader", "partition", "reborn"] {
        let (first, second, other) = (replay(scenario, 7), replay(scenario, 7), replay(scenario, 8));
        assert_eq!(first, second);
        assert_ne!(first, other);
    }
}
