//! D: a committed version has at least as many durable copies as was acknowledged.

use std::collections::BTreeSet;

use cairn_store::digest::Digest;
use cairn_store::id::NodeId;
use cairn_store::name::Name;
use cairn_store::segment::{Copy, Version, VersionRecord};

/// Whether the copies with which a version was committed are what it promises. `on_disk` tells what a power cut at this
/// moment would leave of a copy: its digest, or none. A copy that a fault took away after it was acknowledged is told as it
/// was.
pub fn violations(
    name: &Name,
    version: Version,
    record: &VersionRecord,
    needed: u8,
    on_disk: impl Fn(&Copy) -> Option<Digest>,
) -> Vec<String> {
    let (good, mut wrong) = look(name, version, record, on_disk);
    let own = good.contains(&record.owner);
    let others = good.len() - usize::from(own);
    let needed = usize::from(needed);
    if others < needed {
        wrong.push(format!("D: version {version} of {name} has {others} durable copies on others, of {needed}"));
    }
    if !own {
        wrong.push(format!("D: version {version} of {name} was acknowledged without its owner's own copy"));
    }
    wrong
}

/// The same of a version that was committed a while ago: repair may have moved its copies since, the owner's too.
pub fn violations_since(
    name: &Name,
    version: Version,
    record: &VersionRecord,
    needed: u8,
    on_disk: impl Fn(&Copy) -> Option<Digest>,
) -> Vec<String> {
    let (good, mut wrong) = look(name, version, record, on_disk);
    let needed = usize::from(needed) + 1;
    if good.len() < needed {
        wrong.push(format!("D: version {version} of {name} has {} durable copies, of {needed}", good.len()));
    }
    wrong
}

/// The nodes with good copies, and what is wrong with the others.
fn look(
    name: &Name,
    version: Version,
    record: &VersionRecord,
    on_disk: impl Fn(&Copy) -> Option<Digest>,
) -> (BTreeSet<NodeId>, Vec<String>) {
    let (mut good, mut wrong) = (BTreeSet::new(), Vec::new());
    for copy in record.durable() {
        match on_disk(copy) {
            Some(digest) if digest == record.digest => drop(good.insert(copy.node)),
            Some(_) => wrong.push(lacks(name, version, copy.node, "has other bytes")),
            None => wrong.push(lacks(name, version, copy.node, "is not durable there")),
        }
    }
    (good, wrong)
}

fn lacks(name: &Name, version: Version, node: NodeId, what: &str) -> String {
    format!("D: the copy of version {version} of {name} on node {node} {what}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_store::id::{CopyId, RequestId};
    use cairn_store::segment::{CopyState, Epoch};
    use cairn_store::time::WallTime;
    use uuid::Uuid;

    #[test]
    fn copies_count_where_they_are_durable() {
        let copy = |node: u64| Copy {
            id: CopyId(Uuid::from_u128(node.into())),
            node: NodeId(node),
            state: CopyState::Durable,
        };
        let digest = Digest::of(b"right");
        let record = VersionRecord {
            size: 5,
            digest,
            created: WallTime(0),
            epoch: Epoch(1),
            owner: NodeId(1),
            request: RequestId(Uuid::nil()),
            wanted: 2,
            copies: vec![copy(1), copy(2), copy(3)],
            ended: Vec::new(),
            pinned: false,
        };
        let judge = |on_disk: &dyn Fn(u64) -> Option<Digest>| {
            violations(&"a".parse().unwrap(), Version(1), &record, 2, |copy| on_disk(copy.node.0)).len()
        };
        assert_eq!(judge(&|_| Some(digest)), 0);
        assert_eq!(judge(&|node| (node != 3).then_some(digest)), 2, "one copy is missing, so one is too few");
        assert_eq!(judge(&|node| (node != 1).then_some(digest)), 2, "the owner's own");
        assert_eq!(judge(&|node| Some(if node == 2 { Digest::of(b"wrong") } else { digest })), 2);
        let moved = VersionRecord { copies: vec![copy(2), copy(3), copy(4)], ..record };
        let later =
            |needed| violations_since(&"a".parse().unwrap(), Version(1), &moved, needed, |_| Some(digest)).len();
        assert_eq!((later(2), later(3)), (0, 1), "wherever they are");
    }
}
