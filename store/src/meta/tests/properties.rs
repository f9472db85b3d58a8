//! What must hold of every log.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::draft::logs;
use crate::id::{CopyId, RequestId, SegmentId};
use crate::meta::apply::Position;
use crate::meta::command::{Command, Entry, Outcome, Rejection, Reply};
use crate::meta::invariant::{broken, violations};
use crate::meta::snapshot::Loader;
use crate::meta::state::State;
use crate::name::Name;
use crate::segment::{CopyState, Epoch, Segment, Standing, Version};
use crate::time::LogTime;

/// Failures are not written to files: a defect that was found gets a golden script of its own.
fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

fn applied(log: &[(Position, Entry)]) -> (State, Vec<Reply>) {
    let mut state = State::default();
    let replies = log.iter().map(|(at, entry)| state.apply(*at, entry)).collect();
    (state, replies)
}

fn bytes(state: &State) -> Vec<u8> {
    state.records().flat_map(Result::unwrap).collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn invariants_hold_after_every_entry(log in logs()) {
        let mut state = State::default();
        for (at, entry) in log.0 {
            let before = state.clone();
            let reply = state.apply(at, &entry);
            prop_assert_eq!(violations(&state), Vec::<String>::new(), "after {:?}: {:?}", entry, reply);
            prop_assert_eq!(broken(&before, &state), Vec::<String>::new(), "by {:?}: {:?}", entry, reply);
            prop_assert_eq!(state.revision, at.index);
        }
    }

    #[test]
    fn the_same_log_makes_the_same_state_and_replies(log in logs()) {
        prop_assert_eq!(applied(&log.0), applied(&log.0));
    }

    #[test]
    fn a_snapshot_at_any_place_goes_on_as_the_state_does(log in logs(), cut in any::<prop::sample::Index>()) {
        let (first, second) = log.0.split_at(cut.index(log.0.len()));
        let (mut state, _) = applied(first);
        let snapshot = bytes(&state);
        let mut restored = State::read(&mut &snapshot[..]).unwrap();
        prop_assert_eq!(&restored, &state);
        prop_assert_eq!(bytes(&restored), snapshot, "equal states have equal bytes");
        for (at, entry) in second {
            prop_assert_eq!(restored.apply(*at, entry), state.apply(*at, entry));
        }
        prop_assert_eq!(restored, state);
    }

    #[test]
    fn a_snapshot_arrives_in_pieces_of_any_length(log in logs(), each in 1..400usize) {
        let (state, _) = applied(&log.0);
        let mut loader = Loader::default();
        for piece in bytes(&state).chunks(each) {
            loader.add(piece).unwrap();
        }
        prop_assert_eq!(loader.finish().unwrap(), state);
    }

    #[test]
    fn a_damaged_snapshot_is_an_error(log in logs(), place in any::<prop::sample::Index>(), bit in 0..8u8) {
        let mut snapshot = bytes(&applied(&log.0).0);
        let at = place.index(snapshot.len());
        prop_assert!(State::read(&mut &snapshot[..at]).is_err(), "cut at {at}");
        snapshot[at] ^= 1 << bit;
        prop_assert!(State::read(&mut &snapshot[..]).is_err(), "bit {bit} of byte {at}");
        snapshot[at] ^= 1 << bit;
        snapshot.push(bit);
        prop_assert!(State::read(&mut &snapshot[..]).is_err(), "something follows it");
    }

    #[test]
    fn a_snapshot_that_misses_a_record_is_an_error(log in logs(), place in any::<prop::sample::Index>()) {
        let mut records: Vec<_> = applied(&log.0).0.records().map(Result::unwrap).collect();
        records.remove(place.index(records.len()));
        prop_assert!(State::read(&mut &records.concat()[..]).is_err());
    }

    #[test]
    fn garbage_is_no_snapshot(garbage: Vec<u8>) {
        prop_assert!(State::read(&mut &garbage[..]).is_err());
    }

    #[test]
    fn an_entry_that_comes_twice_changes_nothing(log in logs()) {
        let mut state = State::default();
        for (at, entry) in log.0 {
            let reply = state.apply(at, &entry);
            let mut twice = state.clone();
            let second = twice.apply(at, &entry);
            prop_assert_eq!(&twice, &state, "{:?}", entry);
            // What expired is not there any more; nor is a version that retention let go of at its own confirmation.
            let over = match entry.command {
                Command::Expire { .. } => second == Err(Rejection::NoSuchSegment),
                Command::Confirm { version, .. } => second == Err(Rejection::NoSuchVersion(version)),
                _ => false,
            };
            prop_assert!(second == reply || over, "{:?}", entry);
        }
    }

    #[test]
    fn a_removal_is_refused_as_it_was_foretold(log in logs()) {
        let mut state = State::default();
        for (at, entry) in log.0 {
            let foretold = match &entry.command {
                Command::Unregister { request, segment, scope } if state.answer(request.id).is_none() => {
                    // At the entry's own time: a lease may be over by then.
                    let time = if entry.stamp.term == at.term { entry.stamp.clock } else { state.time };
                    let then = State { time: state.time.max(time), ..state.clone() };
                    Some(then.can_unregister(*segment, *scope))
                }
                _ => None,
            };
            let reply = state.apply(at, &entry);
            // What is wrong with the request itself is another matter.
            let other = [Rejection::NotFounded, Rejection::RequestExpired, Rejection::OutOfBounds("the request's time".into())];
            if let Some(foretold) = foretold && !reply.as_ref().is_err_and(|why| other.contains(why)) {
                prop_assert_eq!(reply.map(drop), foretold, "{:?}", entry);
            }
        }
    }

    #[test]
    fn a_request_has_one_answer_while_its_time_lasts(log in logs()) {
        let mut state = State::default();
        let mut answers: BTreeMap<RequestId, (LogTime, Reply)> = BTreeMap::new();
        for (at, entry) in log.0 {
            let reply = state.apply(at, &entry);
            answers.retain(|_, (until, _)| *until >= state.time);
            let Some((id, until)) = request(&entry.command) else { continue };
            match answers.get(&id) {
                Some((_, first)) => {
                    prop_assert!(reply == *first || reply == Err(Rejection::RequestMismatch), "{:?}: {:?}", entry, reply);
                }
                None if until < state.time => prop_assert_eq!(reply, Err(Rejection::RequestExpired)),
                None if until > LogTime(state.time.0 + 3_600_000) => {
                    prop_assert_eq!(reply, Err(Rejection::OutOfBounds("the request's time".into())));
                }
                None => {
                    prop_assert_eq!(state.answer(id), Some(&reply));
                    answers.insert(id, (until, reply));
                }
            }
            prop_assert!(state.answers.keys().eq(answers.keys()), "kept until their time, not longer");
        }
    }

    #[test]
    fn a_late_retry_gets_its_own_success_or_none(log in logs()) {
        let mut state = State::default();
        let mut registered: BTreeMap<(RequestId, SegmentId), Reply> = BTreeMap::new();
        let mut committed: BTreeMap<(RequestId, SegmentId, Version), Reply> = BTreeMap::new();
        for (at, entry) in log.0 {
            let reply = state.apply(at, &entry);
            let first = match (&entry.command, &reply) {
                (Command::Register { request, .. }, Ok(Outcome::Registered { segment, .. })) => {
                    registered.entry((request.id, *segment)).or_insert(reply.clone())
                }
                (Command::Commit { request, commit } | Command::Save { request, commit, .. }, Ok(_)) => {
                    committed.entry((request.id, commit.segment, commit.after)).or_insert(reply.clone())
                }
                _ => continue,
            };
            prop_assert_eq!(&reply, &*first, "{:?}", entry);
        }
    }

    #[test]
    fn versions_count_and_are_never_reused(log in logs()) {
        let mut state = State::default();
        let mut seen: BTreeMap<(SegmentId, Version), Made> = BTreeMap::new();
        let mut heads: BTreeMap<SegmentId, Version> = BTreeMap::new();
        for (at, entry) in log.0 {
            state.apply(at, &entry).ok();
            for segment in state.segments.values() {
                let before = heads.insert(segment.id, segment.head).unwrap_or_default();
                prop_assert!(segment.head == before || segment.head == before.next(), "{:?}", entry);
                for (version, record) in &segment.versions {
                    let made = (record.request, record.epoch, record.digest, record.size);
                    let first = *seen.entry((segment.id, *version)).or_insert(made);
                    prop_assert_eq!(first, made, "a version's bytes never change");
                }
            }
        }
    }

    #[test]
    fn the_epoch_of_a_name_never_falls(log in logs()) {
        let mut state = State::default();
        let mut epochs: BTreeMap<Name, Epoch> = BTreeMap::new();
        let mut owners = BTreeMap::new();
        for (at, entry) in log.0 {
            state.apply(at, &entry).ok();
            let present: BTreeMap<Name, Epoch> = (state.segments.values().map(|s| (s.name.clone(), s.epoch)))
                .chain(state.epochs.iter().map(|(name, epoch)| (name.clone(), *epoch)))
                .collect();
            for (name, before) in &epochs {
                prop_assert!(present.get(name) >= Some(before), "{}: {:?}", name, entry);
            }
            epochs = present;
            for segment in state.segments.values() {
                let Some(owner) = segment.owner else { continue };
                let first = *owners.entry((segment.name.clone(), segment.epoch)).or_insert((segment.id, owner));
                prop_assert_eq!(first, (segment.id, owner), "two owners in one epoch of {}", segment.name);
            }
        }
    }

    #[test]
    fn what_may_be_unlinked_is_never_referred_to_again(log in logs()) {
        let mut state = State::default();
        let mut named: BTreeSet<(SegmentId, Version, CopyId)> = BTreeSet::new();
        let mut ended = BTreeSet::new();
        for (at, entry) in log.0 {
            state.apply(at, &entry).ok();
            named.extend(copies_of(&entry.command));
            for key @ (segment, version, copy) in &named {
                match state.standing(*segment, *version, *copy) {
                    Standing::Ended => drop(ended.insert(*key)),
                    Standing::Open => {}
                    standing => prop_assert!(!ended.contains(key), "{:?} is {:?} after {:?}", key, standing, entry),
                }
            }
        }
    }

    #[test]
    fn retention_keeps_what_it_promised(log in logs()) {
        let mut state = State::default();
        for (at, entry) in log.0 {
            let before = state.clone();
            state.apply(at, &entry).ok();
            for old in before.segments.values() {
                let Some(new) = state.segments.get(&old.id) else { continue };
                prop_assert!(new.versions.contains_key(&new.head) || new.head == Version::NONE);
                let lost = matches!(entry.command, Command::Lose { .. } | Command::Abandon { .. });
                prop_assert!(lost || newest_whole(new) >= newest_whole(old), "{:?}", entry);
                let dropped = old.versions.keys().filter(|version| !new.versions.contains_key(version));
                for version in dropped {
                    let newer = new.versions.keys().filter(|other| *other > version).count();
                    let removed = matches!(entry.command, Command::Unregister { .. });
                    prop_assert!(removed || newer >= new.keep as usize, "v{} after {:?}", version, entry);
                    prop_assert!(!lost, "a loss drops v{}", version);
                    let unpinned = matches!(entry.command, Command::Unpin { .. });
                    prop_assert!(!old.versions[version].pinned || unpinned, "a pin was not kept: {:?}", entry);
                }
            }
        }
    }

    #[test]
    fn a_committed_version_has_the_copies_that_were_acknowledged(log in logs()) {
        let mut state = State::default();
        for (at, entry) in log.0 {
            let known = state.clone();
            let reply = state.apply(at, &entry);
            let (
                Command::Commit { request, commit } | Command::Save { request, commit, .. },
                Ok(Outcome::Committed { version, .. }),
            ) = (&entry.command, &reply)
            else {
                continue;
            };
            let Some(old) = known.segments.get(&commit.segment) else { continue };
            if old.head >= *version {
                continue; // A retry.
            }
            prop_assert_eq!(state.committer(request.id), Some(commit.owner));
            prop_assert_eq!((old.owner, old.epoch, old.head), (Some(commit.owner), commit.epoch, commit.after));
            let record = &state.segments[&commit.segment].versions[version];
            let ids: BTreeSet<_> = record.copies.iter().map(|copy| copy.id).collect();
            prop_assert_eq!(ids.len(), record.copies.len(), "a copy counts once");
            let others = record.durable().filter(|copy| copy.node != commit.owner).count();
            prop_assert!(others >= usize::from(commit.ack.needed(commit.wanted)));
            prop_assert_eq!(others + 1, record.copies.len(), "the owner's own is there");
            for copy in &record.copies {
                let open = |r: &&crate::segment::Receipt| r.copy == copy.id && r.node == copy.node && r.until >= state.time;
                prop_assert!(commit.receipts.iter().any(|r| open(&r)) && state.members.contains_key(&copy.node));
            }
        }
    }

    #[test]
    fn lost_copies_stay_lost(log in logs()) {
        let mut state = State::default();
        let mut lost = BTreeSet::new();
        for (at, entry) in log.0 {
            state.apply(at, &entry).ok();
            for segment in state.segments.values() {
                for (version, record) in &segment.versions {
                    for copy in &record.copies {
                        let key = (segment.id, *version, copy.id, copy.node);
                        if copy.state != CopyState::Durable {
                            lost.insert(key);
                        } else {
                            prop_assert!(!lost.contains(&key), "{:?} after {:?}", copy, entry);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn pages_of_a_listing_are_the_listing(log in logs(), prefix in prop::sample::select(vec!["", "a", "b", "b/", "c"]), limit in 1..3usize) {
        let (state, _) = applied(&log.0);
        let names = |segments: Vec<&Segment>| segments.iter().map(|s| s.name.clone()).collect::<Vec<_>>();
        let all: Vec<Name> = state.names.keys().filter(|name| name.as_str().starts_with(prefix)).cloned().collect();
        prop_assert_eq!(names(state.with_prefix(prefix, None).collect()), &all[..]);
        let mut paged: Vec<Name> = Vec::new();
        loop {
            let page = names(state.with_prefix(prefix, paged.last()).take(limit).collect());
            if page.is_empty() {
                break;
            }
            paged.extend(page);
        }
        prop_assert_eq!(paged, all);
    }
}

/// What a version is made of, and never loses.
type Made = (RequestId, Epoch, crate::digest::Digest, u64);

fn request(command: &Command) -> Option<(RequestId, LogTime)> {
    match command {
        Command::Register { request, .. }
        | Command::Commit { request, .. }
        | Command::Save { request, .. }
        | Command::Claim { request, .. }
        | Command::Lease { request, .. }
        | Command::Renew { request, .. }
        | Command::Release { request, .. }
        | Command::Unregister { request, .. }
        | Command::Pin { request, .. }
        | Command::Unpin { request, .. } => Some((request.id, request.until)),
        _ => None,
    }
}

/// The copies that a command could make the state refer to.
fn copies_of(command: &Command) -> Vec<(SegmentId, Version, CopyId)> {
    match command {
        Command::Commit { commit, .. } | Command::Save { commit, .. } => {
            commit.receipts.iter().map(|r| (commit.segment, commit.after.next(), r.copy)).collect()
        }
        Command::Confirm { segment, version, receipt, .. } => vec![(*segment, *version, receipt.copy)],
        _ => Vec::new(),
    }
}

fn newest_whole(segment: &Segment) -> Option<Version> {
    let mut versions = segment.versions.iter().rev();
    versions.find(|(_, record)| record.durable().count() > usize::from(record.wanted)).map(|(version, _)| *version)
}

/// The random logs are worth something only if most kinds of replies come up in them.
#[test]
fn random_logs_reach_every_corner() {
    let mut runner = TestRunner::deterministic();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..600 {
        let log = logs().new_tree(&mut runner).unwrap().current();
        for ((_, entry), reply) in log.0.iter().zip(applied(&log.0).1) {
            let word = |text: String| text.split([' ', '(', '{']).next().unwrap_or_default().to_owned();
            let reply = reply.map_or_else(|refusal| format!("{refusal:?}"), |_| "ok".into());
            *seen.entry(format!("{} {}", word(format!("{:?}", entry.command)), word(reply))).or_default() += 1;
        }
    }
    let corners = [
        "Join ok",
        "Join NodeNameTaken",
        "Describe ok",
        "Mark ok",
        "Mark NoSuchNode",
        "Drain ok",
        "Register ok",
        "Register NameTaken",
        "Register StorageOnly",
        "Register NoSuchNode",
        "Register RequestExpired",
        "Register RequestMismatch",
        "Register OutOfBounds",
        "Commit ok",
        "Commit NotOwner",
        "Commit StaleEpoch",
        "Commit HeadMoved",
        "Commit NoOwnCopy",
        "Commit TooFewCopies",
        "Commit NoSuchSegment",
        "Save ok",
        "Save NoObject",
        "Save OutOfBounds",
        "Reach ok",
        "Reach NoSuchNode",
        "Deposited ok",
        "Deposited Archived",
        "Deposited CopySpent",
        "Deposited OtherBytes",
        "Deposited ReceiptExpired",
        "Deposited NoSuchVersion",
        "LoseObject ok",
        "LoseObject NoSuchVersion",
        "Confirm ok",
        "Confirm CopySpent",
        "Confirm ReceiptExpired",
        "Confirm Redundant",
        "Confirm NoSuchVersion",
        "Lose ok",
        "Claim ok",
        "Claim StaleEpoch",
        "Claim HeadMoved",
        "Claim StorageOnly",
        "Claim Leased",
        "Lease ok",
        "Lease Leased",
        "Lease OutOfBounds",
        "Renew ok",
        "Renew NoLease",
        "Lapse ok",
        "Lapse NotLapsed",
        "Release ok",
        "Release NotOwner",
        "Release StaleEpoch",
        "Unregister ok",
        "Unregister NotEmpty",
        "Unregister Retained",
        "Unregister NoSuchVersion",
        "Unregister Pinned",
        "Expire ok",
        "Expire NotExpired",
        "Expire NotEmpty",
        "Pin ok",
        "Pin NoSuchVersion",
        "Unpin ok",
        "Unpin NoSuchVersion",
    ];
    let missed: Vec<_> = corners.iter().filter(|corner| !seen.contains_key(**corner)).collect();
    assert!(missed.is_empty(), "never reached: {missed:?}\nreached: {seen:#?}");
}
