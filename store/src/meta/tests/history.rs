//! What watchers are told, and for how long.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::draft::logs;
use super::ids;
use super::script::profile;
use crate::meta::apply::Position;
use crate::meta::command::{Command, Entry, Request, Stamp};
use crate::meta::event::{self, Change, Watched};
use crate::meta::history::History;
use crate::meta::state::State;
use crate::node::Role;
use crate::segment::{Kind, Version};
use crate::time::{LogTime, WallTime};

fn told(history: &History, from: u64) -> Option<Vec<u64>> {
    let entries = history.since(from)?;
    Some(entries.flat_map(|events| events.iter().map(|event| event.revision)).collect())
}

/// What is remembered of `names` registrations; the first has revision 3.
fn registered(names: u64, bound: usize) -> History {
    let (mut state, mut history) = (State::default(), History::bounded(0, bound));
    let mut apply = |command| {
        let before = Watched::of(&state);
        let entry = Entry { stamp: Stamp::default(), at: WallTime(5), command };
        state.apply(Position { term: 1, index: state.revision + 1 }, &entry).unwrap();
        history.record(&before, &state, entry.at);
    };
    let profile = profile(1, Role::Executor);
    apply(Command::Found { cluster: ids::cluster(1), incarnation: ids::incarnation(1), profile });
    apply(Command::Mark { node: ids::node(1), up: true });
    for number in 1..=names {
        apply(Command::Register {
            request: Request { id: ids::request(number), until: LogTime(60_000) },
            name: format!("name-{number}").parse().unwrap(),
            segment: ids::segment(number),
            owner: ids::node(1),
            kind: Kind::File,
        });
    }
    history
}

#[test]
fn the_oldest_is_forgotten_and_that_is_told() {
    let history = registered(5, 3);
    assert_eq!(told(&history, 5), Some(vec![5, 6, 7]));
    assert_eq!(told(&history, 7), Some(vec![7]));
    assert_eq!(told(&history, 8), Some(vec![]));
    assert_eq!(told(&history, 4), None);
}

#[test]
fn what_changes_no_segment_is_known_and_no_news() {
    assert_eq!(told(&registered(1, 3), 1), Some(vec![3]));
    assert_eq!(told(&History::after(9), 10), Some(vec![]));
    assert_eq!(told(&History::after(9), 9), None);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn who_follows_the_changes_knows_names_owners_and_versions(log in logs()) {
        let (mut state, mut followed) = (State::default(), BTreeMap::new());
        for (at, entry) in log.0 {
            let before = Watched::of(&state);
            let _ = state.apply(at, &entry);
            for event in event::between(&before, &state, entry.at) {
                prop_assert_eq!(event.revision, at.index);
                let ownership = (event.epoch, event.owner);
                match (event.change, event.version) {
                    (Change::Created, None) => {
                        let new = followed.insert(event.name, (ownership, BTreeSet::<Version>::new()));
                        prop_assert!(new.is_none());
                    }
                    (Change::Removed, None) => prop_assert!(followed.remove(&event.name).is_some()),
                    (change, version) => {
                        let (known, versions) = followed.get_mut(&event.name).unwrap();
                        match (change, version) {
                            (Change::Version, Some(version)) => prop_assert!(versions.insert(version)),
                            (Change::Removed, Some(version)) => prop_assert!(versions.remove(&version)),
                            (Change::Owner, _) => *known = ownership,
                            (Change::Lapsed, _) => prop_assert!(ownership.1.is_some(), "it is owned still"),
                            (_, version) => prop_assert!(version.is_some_and(|v| versions.contains(&v))),
                        }
                        prop_assert_eq!(*known, ownership, "no change of owner goes untold");
                    }
                }
            }
        }
        let truth: BTreeMap<_, _> = state.segments.values().map(|segment| {
            let versions: BTreeSet<Version> = segment.versions.keys().copied().collect();
            (segment.name.clone(), ((segment.epoch, segment.owner), versions))
        }).collect();
        prop_assert_eq!(followed, truth);
    }
}
