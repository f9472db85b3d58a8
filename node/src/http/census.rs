//! What the replicated state shows of all segments, in numbers. It looks at every one: not where other tasks wait.

use cairn_store::meta::State;
use cairn_store::segment::Segment;
use cairn_store::time::WallTime;

/// All segments, counted. The four kinds add up to all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Registered, without a version yet.
    pub empty: u64,
    /// The newest version has all the copies that were asked for.
    pub replicated: u64,
    /// It has fewer, but one at least.
    pub thin: u64,
    /// It has no durable copy on any node.
    pub lost: u64,
    /// The age of the oldest newest version that lacks copies, in milliseconds.
    pub lag_ms: u64,
    /// Bytes that would have to be copied until nothing lacks copies.
    pub queue_bytes: u64,
}

impl Census {
    /// Looks at every segment of a state. `now` is for the ages, which are for people.
    pub fn of(state: &State, now: WallTime) -> Self {
        let mut census = Self::default();
        state.segments.values().for_each(|segment| census.count(state, segment, now));
        census
    }

    /// Segments whose newest version has too few copies.
    pub fn under_replicated(&self) -> u64 {
        self.thin + self.lost
    }

    fn count(&mut self, state: &State, segment: &Segment, now: WallTime) {
        let Some(head) = segment.versions.get(&segment.head) else {
            self.empty += 1;
            return;
        };
        let missing = u64::try_from(state.missing_copies(segment, head)).unwrap_or(u64::MAX);
        if missing == 0 {
            self.replicated += 1;
            return;
        }
        match head.durable().next() {
            Some(_) => self.thin += 1,
            None => self.lost += 1,
        }
        self.lag_ms = self.lag_ms.max(now.0.saturating_sub(head.created.0));
        self.queue_bytes = self.queue_bytes.saturating_add(missing.saturating_mul(head.size));
    }
}
