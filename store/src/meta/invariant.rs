//! What must hold of every state, whatever was applied. Tests and the simulation call it after each step.

use std::collections::BTreeSet;

use crate::meta::state::State;
use crate::node::Role;
use crate::segment::{PINS_MAX, Segment, Version};

/// Everything that is wrong with a state, in words; empty if nothing is.
pub fn violations(state: &State) -> Vec<String> {
    let mut wrong = Vec::new();
    if state.names.len() != state.segments.len() {
        wrong.push(format!("{} names for {} segments", state.names.len(), state.segments.len()));
    }
    for segment in state.segments.values() {
        check_segment(state, segment, &mut wrong);
    }
    check_derived(state, &mut wrong);
    wrong
}

fn check_segment(state: &State, segment: &Segment, wrong: &mut Vec<String>) {
    let mut must = |holds: bool, what: &str| {
        if !holds {
            wrong.push(format!("{}: {what}", segment.name));
        }
    };
    must(state.names.get(&segment.name) == Some(&segment.id), "its name leads to another segment");
    must(!state.gone.contains_key(&segment.id), "it is registered and gone at once");
    must(segment.epoch.0 >= 1, "its epoch is below 1");
    must(
        segment.versions.keys().next_back().copied().unwrap_or(Version::NONE) == segment.head,
        "the head is not kept",
    );
    must(!segment.versions.contains_key(&Version::NONE), "it has a version 0");
    let executor = |owner| state.members.get(&owner).is_some_and(|m| m.profile.role == Role::Executor);
    must(segment.owner.is_none_or(executor), "its owner is not an executor of the cluster");
    let pins = segment.versions.values().filter(|record| record.pinned).count();
    must(pins <= PINS_MAX, "it has more pins than it may");
    for record in segment.versions.values() {
        let nodes: BTreeSet<_> = record.copies.iter().map(|c| c.node).collect();
        must(nodes.len() == record.copies.len(), "a version has two copies on one node");
        must(record.copies.iter().all(|c| !record.ended.contains(&c.id)), "an ended copy is referred to");
        must(record.epoch <= segment.epoch, "a version is newer than the ownership");
    }
}

fn check_derived(state: &State, wrong: &mut Vec<String>) {
    let mut again = State::default();
    for segment in state.segments.values() {
        again.put(Segment::clone(segment));
    }
    if again.usage != state.usage {
        wrong.push("the usage of nodes is not the sum of their copies".into());
    }
    if again.open != state.open {
        wrong.push("the open registrations are not those without a version".into());
    }
    if state.forgettable.len() != state.answers.len() + state.gone.len() {
        wrong.push("something is kept that will never be forgotten".into());
    }
}
