//! Whether a copy on disk that no state refers to is one of a version that the cluster took over (R12).

use std::collections::BTreeSet;

use crate::digest::Digest;
use crate::id::{ClusterId, CopyId, NodeId};
use crate::segment::VersionRecord;

/// A copy on disk, by what its `.toc` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The cluster in which it was made.
    pub cluster: ClusterId,
    /// The copy.
    pub copy: CopyId,
    /// In bytes.
    pub size: u64,
    /// Of the bytes.
    pub digest: Digest,
}

/// What a copy is to a cluster that recovers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The cluster refers to it already.
    Known,
    /// A good one of the same version lies on this node.
    Spare,
    /// Its bytes, if they verify, are a copy of the version.
    Adopt,
    /// It is of an ancestor, and of no version that was taken over. It stays where it is.
    Unmatched,
    /// It is of a cluster that is no ancestor, and of no version that is known here. It stays where it is.
    Stranger,
}

/// A cluster, and those before it.
#[derive(Clone, Copy, Debug)]
pub struct Lineage<'a> {
    /// The cluster.
    pub cluster: ClusterId,
    /// Those whose copies it may take over.
    pub ancestors: &'a BTreeSet<ClusterId>,
}

/// What a copy is to a cluster, on its node `me`. `record` is what the cluster knows of the version that the copy is said to be.
///
/// A segment's id is made once, so what names the version with its digest is of it, whoever wrote it: also a cluster that began with
/// the same backup and was given up.
pub fn fate(found: &Found, me: NodeId, lineage: Lineage<'_>, record: Option<&VersionRecord>) -> Fate {
    let related = found.cluster == lineage.cluster || lineage.ancestors.contains(&found.cluster);
    match record.filter(|record| record.digest == found.digest && record.size == found.size) {
        None if related => Fate::Unmatched,
        None => Fate::Stranger,
        Some(record) if record.refers_to(found.copy) => Fate::Known,
        Some(record) if record.durable().any(|copy| copy.node == me) => Fate::Spare,
        Some(record) if record.ended.contains(&found.copy) => Fate::Unmatched,
        Some(_) => Fate::Adopt,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::id::RequestId;
    use crate::segment::{Copy, CopyState, Epoch};
    use crate::time::WallTime;

    const OURS: ClusterId = ClusterId(Uuid::from_u128(1));
    const THEIRS: ClusterId = ClusterId(Uuid::from_u128(2));
    const ME: NodeId = NodeId(1);

    fn record(copies: Vec<Copy>, ended: Vec<CopyId>) -> VersionRecord {
        VersionRecord {
            size: 5,
            digest: Digest::of(b"bytes"),
            created: WallTime(1),
            epoch: Epoch(1),
            owner: ME,
            request: RequestId(Uuid::from_u128(1)),
            wanted: 1,
            copies,
            ended,
            pinned: false,
        }
    }

    fn found() -> Found {
        let copy = CopyId(Uuid::from_u128(9));
        Found { cluster: THEIRS, copy, size: 5, digest: Digest::of(b"bytes") }
    }

    fn fate_of(found: &Found, record: Option<&VersionRecord>) -> Fate {
        fate(found, ME, Lineage { cluster: OURS, ancestors: &[THEIRS].into() }, record)
    }

    #[test]
    fn a_copy_of_an_ancestor_is_taken_over_if_it_is_the_version() {
        let bare = record(Vec::new(), Vec::new());
        assert_eq!(fate_of(&found(), Some(&bare)), Fate::Adopt);
        // One whose table was written anew before the node died.
        assert_eq!(fate_of(&Found { cluster: OURS, ..found() }, Some(&bare)), Fate::Adopt);
        // One that another cluster took over, which began with the same backup and was given up.
        let sibling = Found { cluster: ClusterId(Uuid::from_u128(3)), ..found() };
        assert_eq!(fate_of(&sibling, Some(&bare)), Fate::Adopt);
        assert_eq!(fate_of(&Found { size: 6, ..sibling }, Some(&bare)), Fate::Stranger);
        assert_eq!(fate_of(&sibling, None), Fate::Stranger);
        assert_eq!(fate_of(&Found { digest: Digest::of(b"other"), ..found() }, Some(&bare)), Fate::Unmatched);
        assert_eq!(fate_of(&Found { size: 6, ..found() }, Some(&bare)), Fate::Unmatched);
        assert_eq!(fate_of(&found(), None), Fate::Unmatched);
        assert_eq!(fate_of(&found(), Some(&record(Vec::new(), vec![found().copy]))), Fate::Unmatched);
    }

    #[test]
    fn one_good_copy_a_node_is_enough() {
        let cases = [
            (9, ME, CopyState::Durable, Fate::Known),
            (8, ME, CopyState::Durable, Fate::Spare),
            (8, NodeId(2), CopyState::Durable, Fate::Adopt),
            // A good one takes the place of one that was lost, which itself never comes back.
            (8, ME, CopyState::Corrupt, Fate::Adopt),
            (9, ME, CopyState::Missing, Fate::Known),
        ];
        for (number, node, state, expected) in cases {
            let listed = Copy { id: CopyId(Uuid::from_u128(number)), node, state };
            assert_eq!(fate_of(&found(), Some(&record(vec![listed], Vec::new()))), expected, "{listed:?}");
        }
    }
}
