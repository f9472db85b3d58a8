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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use cairn_store::digest::Digest;
    use cairn_store::id::{CopyId, Incarnation, NodeId, RequestId, SegmentId};
    use cairn_store::node::{Member, Profile, Role};
    use cairn_store::segment::{Copy, CopyState, Epoch, Kind, Version, VersionRecord};
    use cairn_store::time::LogTime;
    use uuid::Uuid;

    use super::*;

    fn member(id: u64, up: bool) -> (NodeId, Arc<Member>) {
        let profile = Profile {
            name: format!("n{id}").parse().unwrap(),
            role: Role::Executor,
            zone: String::new(),
            rpc: String::new(),
            data: String::new(),
            http: String::new(),
            capacity: 1,
        };
        let incarnation = Incarnation(Uuid::from_u128(id.into()));
        (NodeId(id), Arc::new(Member { id: NodeId(id), incarnation, profile, up, draining: false }))
    }

    /// A segment of node 1 with a version of ten bytes, if it has copies, that wants one copy more.
    fn segment(number: u128, created: u64, copies: &[(u64, CopyState)]) -> (SegmentId, Arc<Segment>) {
        let id = SegmentId(Uuid::from_u128(number));
        let request = RequestId(Uuid::nil());
        let copy = |(node, state): &(u64, CopyState)| Copy {
            id: CopyId(Uuid::from_u128(u128::from(*node))),
            node: NodeId(*node),
            state: *state,
        };
        let record = VersionRecord {
            size: 10,
            digest: Digest([0; 32]),
            created: WallTime(created),
            epoch: Epoch(1),
            owner: NodeId(1),
            request,
            wanted: 1,
            copies: copies.iter().map(copy).collect(),
            ended: Vec::new(),
            pinned: false,
        };
        let versions = match copies.is_empty() {
            true => BTreeMap::new(),
            false => BTreeMap::from([(Version(1), Arc::new(record))]),
        };
        let segment = Segment {
            id,
            name: format!("s{number}").parse().unwrap(),
            kind: Kind::File,
            owner: Some(NodeId(1)),
            epoch: Epoch(1),
            head: Version(versions.len() as u64),
            versions,
            keep: 1,
            labels: BTreeMap::new(),
            registered: (request, LogTime(0), Epoch(1)),
            claimed: None,
            modified: WallTime(created),
            revision: 1,
        };
        (id, Arc::new(segment))
    }

    #[test]
    fn each_segment_is_of_one_kind_and_the_oldest_thin_one_is_the_lag() {
        use CopyState::{Corrupt, Durable};
        let mut state = State::default();
        state.members.extend([member(1, true), member(2, true), member(3, false)]);
        state.segments.extend([
            segment(1, 0, &[]),
            segment(2, 100, &[(1, Durable), (2, Durable)]),
            segment(3, 300, &[(1, Durable), (3, Durable)]),
            segment(4, 700, &[(1, Durable), (2, Corrupt)]),
            segment(5, 800, &[(1, Corrupt), (2, Corrupt)]),
        ]);
        let census = Census::of(&state, WallTime(1_000));
        let expected = Census { empty: 1, replicated: 1, thin: 2, lost: 1, lag_ms: 700, queue_bytes: 40 };
        assert_eq!(census, expected);
        assert_eq!(census.under_replicated(), 3);
        // A clock that is behind the committer's makes no age.
        assert_eq!(Census::of(&state, WallTime(0)).lag_ms, 0);
    }
}
