//! What ties a node that is emptied, or removed: the copies on it, and what else there is of their versions.

use crate::id::{CopyId, NodeId, SegmentId};
use crate::name::Name;
use crate::segment::{CopyState, Segment, Version};

/// A copy on the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tie {
    /// Of which segment.
    pub segment: SegmentId,
    /// Its name.
    pub name: Name,
    /// Of which version.
    pub version: Version,
    /// Which copy.
    pub copy: CopyId,
    /// In bytes.
    pub size: u64,
    /// It is good, and no other good one lies on a node that is up and stays: without it the version is lost.
    pub last: bool,
    /// Without it the version has fewer good copies, on nodes that stay, than it wants.
    pub thin: bool,
}

/// The copies on a node. `stays` tells of other nodes whether they are up and stay.
pub fn ties<'a>(
    segments: impl Iterator<Item = &'a Segment>,
    node: NodeId,
    stays: impl Fn(NodeId) -> bool,
) -> impl Iterator<Item = Tie> {
    segments.flat_map(move |segment| {
        let tie = |(version, record): (&Version, &std::sync::Arc<crate::segment::VersionRecord>)| {
            let here = record.copies.iter().find(|copy| copy.node == node)?;
            let others = record.durable().filter(|copy| copy.node != node && stays(copy.node)).count();
            Some(Tie {
                segment: segment.id,
                name: segment.name.clone(),
                version: *version,
                copy: here.id,
                size: record.size,
                last: here.state == CopyState::Durable && others == 0,
                thin: others < record.copies_wanted(),
            })
        };
        segment.versions.iter().filter_map(tie).collect::<Vec<_>>()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use uuid::Uuid;

    use super::*;
    use crate::digest::Digest;
    use crate::id::RequestId;
    use crate::segment::{Copy, Epoch, Kind, VersionRecord};
    use crate::time::{LogTime, WallTime};

    fn record(copies: &[(u64, CopyState)]) -> Arc<VersionRecord> {
        let copy = |(node, state): &(u64, CopyState)| Copy {
            id: CopyId(Uuid::from_u128(u128::from(*node))),
            node: NodeId(*node),
            state: *state,
        };
        Arc::new(VersionRecord {
            size: 10,
            digest: Digest::of(b"x"),
            epoch: Epoch(1),
            owner: NodeId(1),
            request: RequestId(Uuid::nil()),
            created: WallTime(0),
            wanted: 1,
            pinned: false,
            copies: copies.iter().map(copy).collect(),
            ended: Vec::new(),
        })
    }

    fn segment(versions: Vec<Arc<VersionRecord>>) -> Segment {
        let versions: BTreeMap<Version, _> = (1..).map(Version).zip(versions).collect();
        Segment {
            id: SegmentId(Uuid::nil()),
            name: "a".parse().unwrap(),
            kind: Kind::File,
            owner: None,
            epoch: Epoch(1),
            head: Version(versions.len() as u64),
            versions,
            keep: 9,
            labels: BTreeMap::new(),
            registered: (RequestId(Uuid::nil()), LogTime(0), Epoch(1)),
            claimed: None,
            modified: WallTime(0),
            revision: 1,
        }
    }

    #[test]
    fn a_copy_is_the_last_one_unless_a_good_one_stays_elsewhere() {
        use CopyState::{Corrupt, Durable};
        let cases = [
            (vec![(1, Durable)], Some((true, true))),
            (vec![(1, Durable), (2, Durable)], Some((false, true))),
            (vec![(1, Durable), (2, Durable), (3, Durable)], Some((false, false))),
            (vec![(1, Durable), (2, Corrupt)], Some((true, true))),
            (vec![(1, Durable), (9, Durable)], Some((true, true))),
            (vec![(1, Corrupt)], Some((false, true))),
            (vec![(2, Durable)], None),
        ];
        for (copies, expected) in cases {
            let segment = segment(vec![record(&copies)]);
            let found: Vec<Tie> = ties([&segment].into_iter(), NodeId(1), |node| node != NodeId(9)).collect();
            assert_eq!(found.first().map(|tie| (tie.last, tie.thin)), expected, "{copies:?}");
        }
    }

    #[test]
    fn every_version_ties() {
        let both = [(1, CopyState::Durable), (2, CopyState::Durable)];
        let segment = segment(vec![record(&both), record(&[(2, CopyState::Durable)]), record(&both)]);
        let found = ties([&segment].into_iter(), NodeId(1), |_| true).map(|tie| tie.version);
        assert_eq!(found.collect::<Vec<_>>(), [Version(1), Version(3)]);
    }
}
