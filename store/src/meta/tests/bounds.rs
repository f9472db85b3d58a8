//! The tables that may fill up.

use std::collections::BTreeMap;

use super::{ids, script};
use crate::digest::Digest;
use crate::meta::apply::Position;
use crate::meta::command::{Command, Commit, Entry, Finding, Outcome, Rejection, Reply, Request, Stamp};
use crate::meta::invariant::violations;
use crate::meta::state::{Answer, COPIES_MAX, ENDED_MAX, NODES_MAX, REQUESTS_MAX, State};
use crate::node::Role;
use crate::segment::{Ack, Epoch, Kind, LABEL_BYTES_MAX, LABELS_MAX, PINS_MAX, REPLICAS_MAX, Receipt, Version};
use crate::time::{LogTime, WallTime};

const UNTIL: LogTime = LogTime(1000);

fn apply(state: &mut State, clock: u64, command: Command) -> Reply {
    let at = Position { term: 1, index: state.revision + 1 };
    state.apply(at, &Entry { stamp: Stamp { clock: LogTime(clock), term: 1 }, at: WallTime(0), command })
}

fn request(number: u64) -> Request {
    Request { id: ids::request(number), until: UNTIL }
}

fn join(number: u64) -> Command {
    let (incarnation, profile) = (ids::incarnation(number), script::profile(number, Role::Executor));
    Command::Join { incarnation, profile }
}

fn receipt(number: u64) -> Receipt {
    Receipt { copy: ids::copy(number), node: ids::node(number), until: UNTIL }
}

fn register(number: u64) -> Command {
    let name = format!("name-{number}").parse().unwrap();
    let (segment, owner) = (ids::segment(number), ids::node(1));
    Command::Register { request: request(number), name, segment, owner, kind: Kind::File }
}

fn commit(number: u64, after: u64, receipts: Vec<Receipt>, labels: BTreeMap<String, String>) -> Command {
    let commit = Commit {
        segment: ids::segment(1),
        owner: ids::node(1),
        epoch: Epoch(1),
        after: Version(after),
        size: 1,
        digest: Digest::of(b"x"),
        receipts,
        wanted: 0,
        ack: Ack::All,
        keep: 2,
        labels,
    };
    Command::Commit { request: request(number), commit }
}

/// A cluster with as many nodes, and a segment that node 1 owns.
fn cluster(nodes: u64) -> State {
    let mut state = State::default();
    let (incarnation, profile) = (ids::incarnation(1), script::profile(1, Role::Executor));
    apply(&mut state, 0, Command::Found { cluster: ids::cluster(1), incarnation, profile }).unwrap();
    for number in 2..=nodes {
        apply(&mut state, 0, join(number)).unwrap();
    }
    apply(&mut state, 0, register(1)).unwrap();
    state
}

#[test]
fn a_full_table_of_requests_refuses_and_evicts_nothing() {
    let mut state = cluster(1);
    for number in 2..=REQUESTS_MAX as u64 {
        let answer = Answer { until: UNTIL, fingerprint: 0, reply: Ok(Outcome::Done) };
        state.remember_answer(ids::request(number), answer);
    }
    let next = REQUESTS_MAX as u64 + 1;
    assert_eq!(apply(&mut state, 0, register(next)), Err(Rejection::RequestsFull));
    assert_eq!(state.answers.len(), REQUESTS_MAX, "the refusal is not kept");
    assert!(apply(&mut state, 0, register(1)).is_ok(), "what is remembered is still answered");
    assert!(apply(&mut state, 0, join(2)).is_ok(), "workers go on");
    assert_eq!(apply(&mut state, UNTIL.0, register(next)), Err(Rejection::RequestsFull));

    // All run out at once.
    let late = Request { id: ids::request(next), until: LogTime(2000) };
    let Command::Register { name, segment, owner, kind, .. } = register(next) else { unreachable!() };
    let command = Command::Register { request: late, name, segment, owner, kind };
    assert!(apply(&mut state, UNTIL.0 + 1, command).is_ok());
    assert_eq!(state.answers.len(), 1);
    assert_eq!(violations(&state), Vec::<String>::new());
}

#[test]
fn a_full_cluster_refuses_others_and_knows_its_own() {
    let mut state = cluster(NODES_MAX.into());
    let refused = Err(Rejection::TooManyNodes(NODES_MAX));
    assert_eq!(apply(&mut state, 0, join(u64::from(NODES_MAX) + 1)), refused);
    let known = Outcome::Joined { node: ids::node(7), cluster: ids::cluster(1) };
    assert_eq!(apply(&mut state, 0, join(7)), Ok(known));
}

#[test]
fn labels_are_bounded_together_with_those_before() {
    let mut state = cluster(1);
    let label = |key: usize, value: usize| (format!("{key:0>3}"), "v".repeat(value));
    let refused = Err(Rejection::OutOfBounds("the labels".into()));

    let long_value = BTreeMap::from([label(1, LABEL_BYTES_MAX + 1)]);
    assert_eq!(apply(&mut state, 0, commit(2, 0, vec![receipt(1)], long_value)), refused);
    let long_key = BTreeMap::from([("k".repeat(LABEL_BYTES_MAX + 1), String::new())]);
    assert_eq!(apply(&mut state, 0, commit(3, 0, vec![receipt(1)], long_key)), refused);
    let many = (0..=LABELS_MAX).map(|key| label(key, 1)).collect();
    assert_eq!(apply(&mut state, 0, commit(4, 0, vec![receipt(1)], many)), refused);

    let most = (0..LABELS_MAX).map(|key| label(key, LABEL_BYTES_MAX)).collect();
    assert!(apply(&mut state, 0, commit(5, 0, vec![receipt(1)], most)).is_ok());
    let one_more = BTreeMap::from([label(LABELS_MAX, 1)]);
    assert_eq!(apply(&mut state, 0, commit(6, 1, vec![receipt(1)], one_more)), refused);
    let another_value = BTreeMap::from([label(0, 1)]);
    assert!(apply(&mut state, 0, commit(7, 1, vec![receipt(1)], another_value)).is_ok());
}

#[test]
fn receipts_of_a_commit_are_bounded() {
    let mut state = cluster(20);
    let receipts = |count: u64| (1..=count).map(receipt).collect::<Vec<_>>();
    let most = u64::from(REPLICAS_MAX) + 1;
    let refused = Err(Rejection::OutOfBounds("the number of replicas".into()));
    assert_eq!(apply(&mut state, 0, commit(2, 0, receipts(most + 1), BTreeMap::new())), refused);
    assert!(apply(&mut state, 0, commit(3, 0, receipts(most), BTreeMap::new())).is_ok());
}

#[test]
fn copies_of_a_version_are_bounded() {
    let most = COPIES_MAX as u64;
    let mut state = cluster(most + 1);
    apply(&mut state, 0, commit(2, 0, vec![receipt(1)], BTreeMap::new())).unwrap();
    let confirm = |receipt| Command::Confirm {
        segment: ids::segment(1),
        version: Version(1),
        digest: Digest::of(b"x"),
        receipt,
    };
    for number in 2..=most {
        assert_eq!(apply(&mut state, 0, confirm(receipt(number))), Ok(Outcome::Done));
    }
    assert_eq!(apply(&mut state, 0, confirm(receipt(most + 1))), Err(Rejection::TooManyCopies));
    assert_eq!(apply(&mut state, 0, confirm(receipt(most))), Ok(Outcome::Done), "what is listed is confirmed again");
}

#[test]
fn a_full_list_of_copies_can_still_be_repaired() {
    let most = COPIES_MAX as u64;
    let mut state = cluster(most);
    apply(&mut state, 0, commit(2, 0, vec![receipt(1)], BTreeMap::new())).unwrap();
    let (segment, version) = (ids::segment(1), Version(1));
    for number in 2..=most {
        apply(
            &mut state,
            0,
            Command::Confirm { segment, version, digest: Digest::of(b"x"), receipt: receipt(number) },
        )
        .unwrap();
    }
    let lose = Command::Lose { segment, version, copy: ids::copy(2), finding: Finding::Corrupt };
    apply(&mut state, 0, lose).unwrap();
    // The new copy takes the lost one's place on node 2: the list does not grow.
    let receipt = Receipt { copy: ids::copy(most + 1), ..receipt(2) };
    assert_eq!(
        apply(&mut state, 0, Command::Confirm { segment, version, digest: Digest::of(b"x"), receipt }),
        Ok(Outcome::Done)
    );
}

#[test]
fn ended_copies_of_a_version_are_bounded_and_all_remembered() {
    let mut state = cluster(2);
    let copy = |number| Receipt { copy: ids::copy(number), ..receipt(2) };
    apply(&mut state, 0, commit(2, 0, vec![receipt(1), copy(100)], BTreeMap::new())).unwrap();
    let (segment, version) = (ids::segment(1), Version(1));
    let ended = ENDED_MAX as u64;
    for number in 100..100 + ended {
        let lose = Command::Lose { segment, version, copy: ids::copy(number), finding: Finding::Missing };
        apply(&mut state, 0, lose).unwrap();
        apply(
            &mut state,
            0,
            Command::Confirm { segment, version, digest: Digest::of(b"x"), receipt: copy(number + 1) },
        )
        .unwrap();
    }
    let last = 100 + ended;
    apply(&mut state, 0, Command::Lose { segment, version, copy: ids::copy(last), finding: Finding::Missing })
        .unwrap();
    let mut confirm = |number| {
        apply(&mut state, 0, Command::Confirm { segment, version, digest: Digest::of(b"x"), receipt: copy(number) })
    };
    assert_eq!(confirm(last + 1), Err(Rejection::TooManyCopies));
    for number in 100..=last {
        assert_eq!(confirm(number), Err(Rejection::CopySpent));
    }
    assert_eq!(violations(&state), Vec::<String>::new());
}

#[test]
fn pins_of_a_segment_are_bounded_and_one_that_ends_makes_room() {
    let mut state = cluster(1);
    let most = PINS_MAX as u64;
    let segment = ids::segment(1);
    for number in 1..=most + 1 {
        apply(&mut state, 0, commit(number + 1, number - 1, vec![receipt(1)], BTreeMap::new())).unwrap();
        let pin = Command::Pin { request: request(1000 + number), segment, version: Version(number) };
        let expected = if number > most { Err(Rejection::TooManyPins(64)) } else { Ok(Outcome::Done) };
        assert_eq!(apply(&mut state, 0, pin), expected);
    }
    let pin = |by, number| Command::Pin { request: request(by), segment, version: Version(number) };
    assert_eq!(apply(&mut state, 0, pin(2000, 1)), Ok(Outcome::Done), "what is pinned is pinned again");
    let unpin = Command::Unpin { request: request(2001), segment, version: Some(Version(1)) };
    apply(&mut state, 0, unpin).unwrap();
    assert_eq!(apply(&mut state, 0, pin(2002, most + 1)), Ok(Outcome::Done));
    assert_eq!(violations(&state), Vec::<String>::new());
}
