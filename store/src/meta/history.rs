//! The newest changes, so that a watcher can go on where it was.

use std::sync::Arc;

use imbl::OrdMap;

use crate::meta::event::{self, Event, Watched};
use crate::meta::state::State;
use crate::time::WallTime;

/// The most changes that are remembered: some 10 MiB with names of 40 bytes. A save makes two or three.
pub const HISTORY_EVENTS_MAX: usize = 1 << 16;

/// The newest changes, without a gap. A clone is cheap.
///
/// It is each node's own, made of what it applied since it started or took a snapshot over; no part of the state.
#[derive(Clone, Debug)]
pub struct History {
    /// Everything from this revision on is known.
    first: u64,
    entries: OrdMap<u64, Arc<[Event]>>,
    events: usize,
    bound: usize,
}

impl Default for History {
    fn default() -> Self {
        Self::after(0)
    }
}

impl History {
    /// Nothing is known of this revision, nor of those before it.
    pub fn after(revision: u64) -> Self {
        Self::bounded(revision, HISTORY_EVENTS_MAX)
    }

    /// The same, with another bound.
    pub(super) fn bounded(revision: u64, bound: usize) -> Self {
        Self { first: revision.saturating_add(1), entries: OrdMap::new(), events: 0, bound }
    }

    /// Remembers what one entry changed; forgets the oldest if there is too much.
    pub fn record(&mut self, before: &Watched, after: &State, at: WallTime) {
        let events = event::between(before, after, at);
        if events.is_empty() {
            return;
        }
        self.events += events.len();
        self.entries.insert(after.revision, events.into());
        while self.events > self.bound {
            let Some((oldest, events)) = self.entries.get_min().cloned() else { return };
            self.entries.remove(&oldest);
            self.events -= events.len();
            self.first = oldest.saturating_add(1);
        }
    }

    /// The changes of this revision and later ones, an entry at a time; none if some of them are gone.
    pub fn since(&self, revision: u64) -> Option<impl Iterator<Item = &Arc<[Event]>>> {
        (revision >= self.first).then(|| self.entries.range(revision..).map(|(_, events)| events))
    }
}
