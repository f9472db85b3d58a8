//! What a watcher is told: the difference that one entry made, segment by segment.
//!
//! The maps of a state share their structure, so a difference costs what has changed, not what there is.

use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use serde::{Deserialize, Serialize};

use crate::id::{NodeId, SegmentId};
use crate::lease::Lease;
use crate::meta::state::State;
use crate::name::Name;
use crate::segment::{Epoch, Segment, Version};
use crate::time::WallTime;

/// What watchers are told of, as a state has it.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    segments: OrdMap<SegmentId, Arc<Segment>>,
    leases: OrdMap<SegmentId, Lease>,
}

impl Watched {
    /// Cheap: the maps share their structure.
    pub fn of(state: &State) -> Self {
        Self { segments: state.segments.clone(), leases: state.leases.clone() }
    }
}

/// A committed change of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The log index of the entry. One entry may make several changes; they follow one another.
    pub revision: u64,
    /// When it was proposed, for people.
    pub at: WallTime,
    /// What changed.
    pub change: Change,
    /// The segment's name.
    pub name: Name,
    /// The version that is meant; of an owner, the head. None before the first, and of a whole segment.
    pub version: Option<Version>,
    /// The epoch after the change; of a removed segment, its last.
    pub epoch: Epoch,
    /// The owner after the change; of a removed segment, its last.
    pub owner: Option<NodeId>,
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// The name was registered.
    Created,
    /// A version was committed.
    Version,
    /// The owner or its epoch is another one.
    Owner,
    /// A copy of a version was made or lost.
    Copies,
    /// A version is kept whatever comes after it.
    Pinned,
    /// It is not any more.
    Unpinned,
    /// A version was removed, by hand or because newer ones took its place; or the whole segment.
    Removed,
    /// The owner's lease is over; it is the owner still.
    Lapsed,
}

/// What changed from `before` to `after`, the state one entry later. `at` is the entry's time.
pub fn between(before: &Watched, after: &State, at: WallTime) -> Vec<Event> {
    let mut events = Vec::new();
    for item in before.segments.diff(&after.segments) {
        let (old, new) = match item {
            DiffItem::Add(_, new) => (None, Some(new)),
            DiffItem::Update { old: (_, old), new: (_, new) } => (Some(old), Some(new)),
            DiffItem::Remove(_, old) => (Some(old), None),
        };
        // Each is told as it is after the change, or was at last.
        let Some(told) = new.or(old) else { continue };
        let changes = changes(old.map(Arc::as_ref), new.map(Arc::as_ref));
        events
            .extend(changes.into_iter().map(|(change, version)| told_of(told, change, version, after.revision, at)));
    }
    for item in before.leases.diff(&after.leases) {
        // With another owner, or none, that is told.
        let DiffItem::Remove(id, _) = item else { continue };
        let same = |new: &&Arc<Segment>| before.segments.get(id).is_some_and(|old| old.epoch == new.epoch);
        if let Some(segment) = after.segments.get(id).filter(same).filter(|segment| segment.owner.is_some()) {
            events.push(told_of(segment, Change::Lapsed, head_of(segment), after.revision, at));
        }
    }
    events
}

fn told_of(segment: &Segment, change: Change, version: Option<Version>, revision: u64, at: WallTime) -> Event {
    let Segment { name, epoch, owner, .. } = segment;
    Event { revision, at, change, name: name.clone(), version, epoch: *epoch, owner: *owner }
}

fn head_of(segment: &Segment) -> Option<Version> {
    Some(segment.head).filter(|head| *head != Version::NONE)
}

fn changes(old: Option<&Segment>, new: Option<&Segment>) -> Vec<(Change, Option<Version>)> {
    let (old, new) = match (old, new) {
        (Some(old), Some(new)) => (old, new),
        (None, Some(_)) => return vec![(Change::Created, None)],
        (_, None) => return vec![(Change::Removed, None)],
    };
    let head = head_of(new);
    let mut changes = Vec::new();
    if new.head != old.head {
        changes.push((Change::Version, head));
    }
    if (new.owner, new.epoch) != (old.owner, old.epoch) {
        changes.push((Change::Owner, head));
    }
    for (version, record) in &old.versions {
        let Some(now) = new.versions.get(version) else {
            changes.push((Change::Removed, Some(*version)));
            continue;
        };
        if now.copies != record.copies {
            changes.push((Change::Copies, Some(*version)));
        }
        if now.pinned != record.pinned {
            changes.push((if now.pinned { Change::Pinned } else { Change::Unpinned }, Some(*version)));
        }
    }
    changes
}
