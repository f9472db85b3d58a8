//! Backups, and clusters that begin with one.

use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;

use super::draft::logs;
use super::{fixture, ids, script};
use crate::archive::{Archive, Policy};
use crate::id::SegmentId;
use crate::meta::apply::Position;
use crate::meta::backup::{BACKUP_KIND, Backup, BackupError, READMIT_BYTES, RestoreStep};
use crate::meta::command::{Command, Entry, Rejection, Reply, Stamp};
use crate::meta::invariant::{broken, violations};
use crate::meta::state::{Phase, State};
use crate::node::Role;
use crate::record;
use crate::segment::{Epoch, Version, VersionRecord};
use crate::time::{LogTime, WallTime};

fn bytes(backup: &Backup) -> Vec<u8> {
    backup.records().flat_map(Result::unwrap).collect()
}

fn apply(state: &mut State, command: Command) -> Reply {
    let at = Position { term: 1, index: state.revision + 1 };
    let before = state.clone();
    let stamp = Stamp { clock: LogTime(1), term: 1 };
    let reply = state.apply(at, &Entry { stamp, at: WallTime(1), command });
    assert_eq!(violations(state), Vec::<String>::new());
    assert_eq!(broken(&before, state), Vec::<String>::new());
    reply
}

/// A cluster that has only just been founded.
fn new_cluster() -> State {
    let mut state = State::default();
    let (incarnation, profile) = (ids::incarnation(50), script::profile(50, Role::Executor));
    apply(&mut state, Command::Found { cluster: ids::cluster(50), incarnation, profile }).unwrap();
    state
}

/// With records of snapshots of version 4, which has no leases, and 5, which has nothing of the global tier.
#[test]
fn the_backup_of_version_1_with_older_records_is_read() {
    let older = [("backup-v1.bin", fixture::before_leases()), ("backup-v1-of-5.bin", fixture::before_tiers())];
    for (name, state) in older {
        let backup = Backup { taken: WallTime(1_700_000_000_000), state };
        let kept = std::fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)).unwrap();
        assert_eq!(Backup::read(&mut &kept[..]).unwrap(), backup);
    }
}

/// `UPDATE_FIXTURE=1` writes it again, as of snapshots.
#[test]
fn the_backup_of_version_1_is_written_and_read() {
    let backup = Backup { taken: WallTime(1_700_000_000_000), state: fixture::state() };
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/backup-v1-of-6.bin");
    if std::env::var_os("UPDATE_FIXTURE").is_some() {
        std::fs::write(&path, bytes(&backup)).unwrap();
    }
    let kept = std::fs::read(&path).unwrap();
    assert_eq!(Backup::read(&mut &kept[..]).unwrap(), backup);
    assert!(kept == bytes(&backup), "the same backup is written as other bytes");
}

#[test]
fn what_is_no_backup_is_told_from_what_is_damaged_or_newer() {
    let read = |bytes: &[u8]| Backup::read(&mut &bytes[..]).unwrap_err();
    let good = bytes(&Backup { taken: WallTime(1), state: fixture::state() });
    let snapshot: Vec<u8> = fixture::state().records().flat_map(Result::unwrap).collect();
    assert!(matches!(read(b""), BackupError::Stranger));
    assert!(matches!(read(b"#!/bin/sh\necho hello\n"), BackupError::Stranger));
    assert!(matches!(read(&snapshot), BackupError::Stranger));
    assert!(matches!(read(&good[..good.len() - 1]), BackupError::Damaged(_)));
    let empty = bytes(&Backup { taken: WallTime(1), state: State::default() });
    assert!(matches!(read(&empty), BackupError::NotFounded));
    let newer = record::encode(record::Kind { version: 2, ..BACKUP_KIND }, &1u64).unwrap();
    assert!(matches!(read(&newer), BackupError::Newer(2)));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_cluster_begins_with_all_that_was_known_and_with_no_node_of_the_old_one(log in logs(), twice: bool) {
        let mut old = State::default();
        log.0.iter().for_each(|(at, entry)| drop(old.apply(*at, entry)));
        let backup = Backup { taken: WallTime(1), state: old.clone() };
        let mut new = new_cluster();
        for step in backup.steps().unwrap() {
            prop_assert_eq!(apply(&mut new, step.clone().into()).map(drop), Ok(()));
            if twice {
                let before = new.clone();
                prop_assert_eq!(apply(&mut new, step.into()).map(drop), Ok(()));
                prop_assert_eq!(&new.segments, &before.segments);
            }
        }
        prop_assert_eq!(new.phase(), Some(Phase::Adopting));
        let with_versions = || old.segments.values().filter(|segment| !segment.versions.is_empty());
        prop_assert_eq!(new.segments.len(), with_versions().count());
        for was in with_versions() {
            let is = &new.segments[&was.id];
            prop_assert_eq!((is.owner, is.claimed), (None, None));
            prop_assert!(is.epoch > was.epoch && is.epoch.begins_generation());
            prop_assert_eq!((&is.name, is.head, is.keep, &is.labels), (&was.name, was.head, was.keep, &was.labels));
            prop_assert!(was.versions.keys().eq(is.versions.keys()));
            for (was, is) in was.versions.values().zip(is.versions.values()) {
                prop_assert!(is.copies.is_empty() && is.ended.is_empty());
                let bare = VersionRecord { copies: Vec::new(), ended: Vec::new(), ..VersionRecord::clone(was) };
                prop_assert_eq!(&**is, &bare);
            }
        }
        let was_archived = |(id, _): &(&SegmentId, _)| new.segments.contains_key(*id);
        prop_assert!(old.archives.iter().filter(was_archived).map(|(id, _)| id).eq(new.archives.keys()));
        for (id, archive) in &new.archives {
            prop_assert_eq!(&**archive, &old.archives[id].without_ended());
        }
        let given = old.segments.values().map(|segment| segment.epoch).chain(old.epochs.values().copied());
        let floor = new.origin.as_ref().unwrap().floor;
        prop_assert!(given.max().unwrap_or_default() < floor);
    }

    #[test]
    fn a_damaged_backup_is_an_error(log in logs(), place in any::<prop::sample::Index>(), bit in 0..8u8) {
        let mut old = State::default();
        log.0.iter().for_each(|(at, entry)| drop(old.apply(*at, entry)));
        let mut kept = bytes(&Backup { taken: WallTime(1), state: old });
        let at = place.index(kept.len());
        prop_assert!(Backup::read(&mut &kept[..at]).is_err(), "cut at {at}");
        kept[at] ^= 1 << bit;
        prop_assert!(Backup::read(&mut &kept[..]).is_err(), "bit {bit} of byte {at}");
    }
}

/// What no cluster could have written, though its checksum is right.
#[test]
fn segments_that_make_no_sense_are_refused() {
    let backup = Backup { taken: WallTime(1), state: fixture::state() };
    let mut steps: Vec<RestoreStep> = backup.steps().unwrap().collect();
    let Some(RestoreStep::Segments { source, segments }) = steps.drain(1..2).next() else { panic!("no segments") };
    let good = segments[0].clone();
    assert!(good.versions.len() > 1);
    let changes: [fn(&mut crate::segment::Segment); 8] = [
        |segment| segment.versions.clear(),
        |segment| segment.head = Version(77),
        |segment| segment.keep = 0,
        |segment| segment.epoch = Epoch(u64::MAX),
        |segment| drop(segment.labels.insert("k".into(), "v".repeat(300))),
        |segment| {
            let record = VersionRecord { size: u64::MAX, ..VersionRecord::clone(&segment.versions[&segment.head]) };
            segment.versions.insert(segment.head, Arc::new(record));
        },
        |segment| {
            let record = VersionRecord { wanted: 255, ..VersionRecord::clone(&segment.versions[&segment.head]) };
            segment.versions.insert(segment.head, Arc::new(record));
        },
        |segment| {
            let record = segment.versions[&segment.head].clone();
            segment.versions.insert(Version::NONE, record);
        },
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut state = new_cluster();
        apply(&mut state, steps[0].clone().into()).unwrap();
        let mut bad = good.clone();
        change(&mut bad);
        let reply = apply(&mut state, Command::Readmit { source, segments: vec![bad] });
        assert!(matches!(reply, Err(Rejection::OutOfBounds(_))), "change {number}: {reply:?}");
        assert!(state.segments.is_empty());
    }
    let mut state = new_cluster();
    apply(&mut state, steps[0].clone().into()).unwrap();
    let mut namesake = good.clone();
    namesake.id = ids::segment(900);
    let reply = apply(&mut state, Command::Readmit { source, segments: vec![good, namesake] });
    assert_eq!(reply, Err(Rejection::NameTaken { owner: None }));
}

#[test]
fn what_makes_no_sense_in_the_tier_is_refused() {
    let backup = Backup { taken: WallTime(1), state: fixture::state() };
    let mut state = new_cluster();
    let (mut refiled, mut objects) = (0, 0);
    for step in backup.steps().unwrap() {
        if let RestoreStep::Archives { source, archives } = &step {
            let changes: [fn(&mut Archive); 2] = [
                |archive| archive.policy = Some(Policy::Every(0)),
                |archive| drop(archive.ended.insert(Version(2), vec![ids::copy(20)])),
            ];
            for change in changes {
                let mut bad = archives.clone();
                bad.iter_mut().for_each(|(_, archive)| change(archive));
                let reply = apply(&mut state, Command::Refile { source: *source, archives: bad });
                assert!(matches!(reply, Err(Rejection::OutOfBounds(_))), "{reply:?}");
            }
            // A segment that did not come has nothing there either.
            let strange = vec![(ids::segment(900), Archive::default())];
            apply(&mut state, Command::Refile { source: *source, archives: strange }).unwrap();
            assert!(state.archives.is_empty());
            refiled += archives.len();
        }
        apply(&mut state, step.into()).unwrap();
    }
    state.archives.values().for_each(|archive| objects += archive.objects.len());
    assert_eq!((refiled, objects), (1, 2));
}

#[test]
fn a_cluster_does_not_begin_with_itself() {
    let state = fixture::state();
    let backup = Backup { taken: WallTime(1), state: state.clone() };
    let begin = backup.steps().unwrap().next().unwrap();
    let mut same =
        State { segments: Default::default(), names: Default::default(), archives: Default::default(), ..state };
    same.origin = None;
    same.usage = Default::default();
    same.open = Default::default();
    let at = Position { term: 1, index: same.revision + 1 };
    let reply = same.apply(at, &Entry { stamp: Stamp::default(), at: WallTime(1), command: begin.into() });
    assert!(matches!(reply, Err(Rejection::OutOfBounds(_))), "{reply:?}");
}

#[test]
fn many_segments_go_in_steps_of_bounded_size() {
    let mut state = fixture::state();
    let some = state.segments.values().find(|segment| segment.versions.len() > 1).unwrap().clone();
    for number in 0..2_000 {
        let mut another = crate::segment::Segment::clone(&some);
        another.id = ids::segment(1_000 + number);
        another.name = format!("many/{number}").parse().unwrap();
        state.segments.insert(another.id, Arc::new(another));
    }
    let steps: Vec<RestoreStep> = Backup { taken: WallTime(1), state }.steps().unwrap().collect();
    let sizes: Vec<usize> = steps[1..steps.len() - 2]
        .iter()
        .map(|step| match step {
            RestoreStep::Segments { segments, .. } => segments
                .iter()
                .map(|one| record::encode(BACKUP_KIND, one).unwrap().len() - record::HEADER_BYTES)
                .sum(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(sizes.len() > 5 && sizes.iter().all(|size| *size <= READMIT_BYTES), "{sizes:?}");
}
