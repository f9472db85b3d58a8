//! A snapshot as each version of the format writes it. Later releases must read them, for ever.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{ids, script};
use crate::archive::{Archive, Object, Policy, Reach};
use crate::digest::Digest;
use crate::lease::Lease;
use crate::meta::apply::Position;
use crate::meta::command::{Command, Commit, Entry, Finding, Request, Scope, Source, Stamp};
use crate::meta::invariant::violations;
use crate::meta::snapshot::SnapshotError;
use crate::meta::state::{Origin, Phase, State};
use crate::node::Role;
use crate::segment::{Ack, CopyState, Epoch, Kind, Receipt, Version};
use crate::time::{LogTime, WallTime};

/// `UPDATE_FIXTURE=1` writes it again. After a release that needs a new version of the format, and a migration.
#[test]
fn the_snapshot_of_version_6_is_written_and_read() {
    let state = state();
    let written: Vec<u8> = state.records().flat_map(Result::unwrap).collect();
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/snapshot-v6.bin");
    if std::env::var_os("UPDATE_FIXTURE").is_some() {
        std::fs::write(&path, &written).unwrap();
    }
    let kept = std::fs::read(&path).unwrap();
    assert_eq!(State::read(&mut &kept[..]).unwrap(), state);
    assert!(kept == written, "the same state is written as other bytes");
}

/// It has nothing of the global tier.
#[test]
fn the_snapshot_of_version_5_is_read() {
    let kept = std::fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/snapshot-v5.bin")).unwrap();
    assert_eq!(State::read(&mut &kept[..]).unwrap(), before_tiers());
}

/// Nor leases.
#[test]
fn the_snapshot_of_version_4_is_read() {
    let kept = std::fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/snapshot-v4.bin")).unwrap();
    assert_eq!(State::read(&mut &kept[..]).unwrap(), before_leases());
}

/// Nor does it say where the cluster comes from.
#[test]
fn the_snapshot_of_version_3_is_read() {
    let kept = std::fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/snapshot-v3.bin")).unwrap();
    assert_eq!(State::read(&mut &kept[..]).unwrap(), before_origins());
}

/// Nor who was removed.
#[test]
fn the_snapshot_of_version_2_is_read() {
    let kept = std::fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/snapshot-v2.bin")).unwrap();
    assert_eq!(State::read(&mut &kept[..]).unwrap(), before_removals());
}

/// Nor does it say since when members are down.
#[test]
fn the_snapshot_of_version_1_is_read() {
    let kept = std::fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/snapshot-v1.bin")).unwrap();
    let mut expected = before_removals();
    assert!(!expected.down.is_empty() && expected.down.values().all(|since| *since < expected.time));
    expected.down = expected.down.keys().map(|node| (*node, expected.time)).collect();
    assert_eq!(State::read(&mut &kept[..]).unwrap(), expected);
}

#[test]
fn a_snapshot_that_says_something_twice_is_refused() {
    let records: Vec<_> = state().records().map(Result::unwrap).collect();
    let (end, items) = records.split_last().unwrap();
    assert!(State::read(&mut &records.concat()[..]).is_ok());
    for again in &items[1..] {
        let twice = [&items.concat(), again, end].map(|bytes| bytes.as_slice()).concat();
        assert!(matches!(State::read(&mut &twice[..]), Err(SnapshotError::Twice)));
    }
}

/// Every kind of record, and most of what can be in one.
pub(super) fn state() -> State {
    let mut state = before_tiers();
    state.tiers = [
        (ids::node(1), Reach::Up(ids::tier(1))),
        (ids::node(2), Reach::Down(None)),
        (ids::node(3), Reach::Down(Some(ids::tier(2)))),
    ]
    .into_iter()
    .collect();
    let archived = state.segments.values().find(|segment| segment.versions.len() > 1).unwrap().id;
    let object = |number, published, state| Object {
        id: ids::copy(number),
        tier: ids::tier(number),
        cluster: ids::cluster(number),
        published,
        state,
    };
    let objects =
        [(Version(1), object(1, true, CopyState::Durable)), (Version(2), object(7, false, CopyState::Missing))];
    let ended = [(Version(2), vec![ids::copy(20), ids::copy(21)])].into();
    let archive = Archive { policy: Some(Policy::Every(300)), objects: objects.into(), ended };
    state.archives.insert(archived, Arc::new(archive));
    state
}

pub(super) fn before_tiers() -> State {
    let mut state = before_leases();
    let owned = state.segments.values().find(|segment| segment.owner.is_some()).unwrap().id;
    state.leases.insert(owned, Lease::given(LogTime(7), Duration::from_millis(2500)));
    state
}

pub(super) fn before_leases() -> State {
    let mut state = before_origins();
    let source = Source { cluster: ids::cluster(7), revision: 70_000 };
    let (ancestors, floor) = ([source.cluster, ids::cluster(6)].into(), Epoch(1 << 32));
    // No log can lead there: the other records are of a cluster that began with nothing.
    let origin = Origin { source, ancestors, floor, since: LogTime(5), phase: Phase::Over };
    state.origin = Some(Arc::new(origin));
    state
}

fn before_origins() -> State {
    let mut log = log();
    let (incarnation, profile) = (ids::incarnation(4), script::profile(4, Role::Storage));
    log.extend([
        Command::Join { incarnation, profile },
        Command::Drain { node: ids::node(4), draining: true },
        Command::Remove { node: ids::node(4), incarnation },
    ]);
    let state = applied(log);
    assert_eq!(state.removed.len(), 1);
    state
}

/// The same, but for what the versions before the present one could not write.
fn before_removals() -> State {
    applied(log())
}

fn applied(log: Vec<Command>) -> State {
    let mut state = State::default();
    for (clock, command) in (0..).zip(log) {
        let at = Position { term: 1, index: clock + 1 };
        let stamp = Stamp { clock: LogTime(clock), term: 1 };
        let _ = state.apply(at, &Entry { stamp, at: WallTime(1_700_000_000_000 + clock), command });
    }
    assert_eq!(violations(&state), Vec::<String>::new());
    assert!(state.cluster.is_some() && state.members.len() == 3 && state.segments.len() == 3);
    assert!(state.epochs.len() == 1 && state.gone.len() == 2);
    let (good, bad): (Vec<_>, Vec<_>) = state.answers.values().partition(|answer| answer.reply.is_ok());
    assert!(good.len() == 12 && bad.len() == 1, "{} and {}", good.len(), bad.len());
    state
}

fn log() -> Vec<Command> {
    let profile = |number, role| (ids::incarnation(number), script::profile(number, role));
    let (first, second, third) = (profile(1, Role::Executor), profile(2, Role::Executor), profile(3, Role::Storage));
    let request = |number: u64| Request { id: ids::request(number), until: LogTime(60_000 + number) };
    let register = |number: u64, name: &str, segment: u64, kind| Command::Register {
        request: request(number),
        name: name.parse().unwrap(),
        segment: ids::segment(segment),
        owner: ids::node(1),
        kind,
    };
    let receipt = |copy, node| Receipt { copy: ids::copy(copy), node: ids::node(node), until: LogTime(3_600_000) };
    let commit = |number, segment, after, receipts| Command::Commit {
        request: request(number),
        commit: Commit {
            segment: ids::segment(segment),
            owner: ids::node(1),
            epoch: Epoch(1),
            after: Version(after),
            size: 1_000_000 * (after + 1),
            digest: Digest::of(&[u8::try_from(after).unwrap()]),
            receipts,
            wanted: 2,
            ack: Ack::One,
            keep: 300,
            labels: [("app".to_owned(), "postgres".to_owned())].into(),
        },
    };
    let segment = ids::segment;
    let lose =
        |copy, finding| Command::Lose { segment: segment(1), version: Version(1), copy: ids::copy(copy), finding };
    vec![
        Command::Found { cluster: ids::cluster(1), incarnation: first.0, profile: first.1 },
        Command::Join { incarnation: second.0, profile: second.1 },
        Command::Join { incarnation: third.0, profile: third.1 },
        Command::Mark { node: ids::node(2), up: true },
        Command::Drain { node: ids::node(3), draining: true },
        register(1, "db/main", 1, Kind::File),
        commit(2, 1, 0, vec![receipt(1, 1), receipt(2, 2), receipt(3, 3)]),
        commit(3, 1, 1, vec![receipt(4, 1), receipt(5, 3)]),
        lose(2, Finding::Corrupt),
        lose(3, Finding::Missing),
        Command::Confirm {
            segment: segment(1),
            version: Version(1),
            digest: Digest::of(&[0]),
            receipt: receipt(6, 2),
        },
        commit(4, 1, 0, vec![receipt(7, 1), receipt(8, 2)]),
        Command::Claim {
            request: request(5),
            segment: segment(1),
            epoch: Epoch(1),
            head: Version(2),
            node: ids::node(2),
        },
        Command::Release { request: request(6), segment: segment(1), epoch: Epoch(2) },
        register(7, "web", 2, Kind::Tree),
        register(8, "gone", 3, Kind::File),
        Command::Unregister { request: request(9), segment: segment(3), scope: Scope::Segment },
        register(10, "gone/too", 4, Kind::File),
        Command::Unregister { request: request(11), segment: segment(4), scope: Scope::IfEmpty },
        register(12, "gone/too", 5, Kind::File),
        Command::Pin { request: request(13), segment: segment(1), version: Version(1) },
    ]
}
