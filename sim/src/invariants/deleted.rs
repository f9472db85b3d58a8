//! E: nothing referenced, pinned, in flight, or still committable is ever deleted; strays are gone in bounded time.

use std::collections::BTreeSet;

use cairn_store::digest::Digest;
use cairn_store::id::{CopyId, NodeId};
use cairn_store::meta::State;
use cairn_store::node::NodeName;
use cairn_store::segment::{Copy, CopyState};
use imbl::ordmap::DiffItem;

/// Copies that `state`, as the node itself has applied it, counts on and that are not on its disk with the bytes that they
/// should have. A copy that a fault took away is not asked for.
pub fn missing(node: (NodeId, &NodeName), state: &State, holds: impl Fn(CopyId, Digest) -> bool) -> Vec<String> {
    let mut wrong = Vec::new();
    for segment in state.segments.values() {
        for (version, record) in &segment.versions {
            let here = record.copies.iter().filter(|copy| copy.node == node.0 && copy.state == CopyState::Durable);
            for copy in here.filter(|copy| !holds(copy.id, record.digest)) {
                let (name, id) = (&segment.name, copy.id);
                wrong.push(format!("E: {} deleted its copy {id} of version {version} of {name}", node.1));
            }
        }
    }
    wrong
}

/// Copies that counted and do not any more, although their version lives and no fault touched them: whoever holds them
/// spoilt them, or cannot read them. One that is not needed may go where enough are left (R8); another one may have been made
/// there by the time that anybody looks.
pub fn given_up(before: &State, after: &State, harmed: impl Fn(NodeId, CopyId) -> bool) -> Vec<String> {
    let mut wrong = Vec::new();
    for item in before.segments.diff(&after.segments) {
        let DiffItem::Update { old: (_, old), new: (_, new) } = item else { continue };
        for (version, record) in &old.versions {
            let Some(now) = new.versions.get(version) else { continue };
            let counts = |copy: &&Copy| now.durable().any(|kept| kept.id == copy.id);
            let retired = |copy: &&Copy| now.ended.contains(&copy.id);
            for copy in record.durable().filter(|copy| !counts(copy) && !retired(copy) && !harmed(copy.node, copy.id))
            {
                let (name, id, node) = (&new.name, copy.id, copy.node);
                wrong.push(format!("E: node {node} gave up its copy {id} of version {version} of {name}"));
            }
        }
    }
    wrong
}

/// Copies on a node's disk that nobody refers to, long after nobody can any more.
pub fn strays(node: (NodeId, &NodeName), state: &State, lying: &BTreeSet<CopyId>) -> Vec<String> {
    let segments = state.segments.values();
    let copies = segments.flat_map(|segment| segment.versions.values().flat_map(|record| &record.copies));
    let referenced: BTreeSet<CopyId> = copies.filter(|copy| copy.node == node.0).map(|copy| copy.id).collect();
    unreferenced(node.1, &referenced, lying)
}

/// The same, where what counts is known already.
pub fn unreferenced(node: &NodeName, counted: &BTreeSet<CopyId>, lying: &BTreeSet<CopyId>) -> Vec<String> {
    lying.difference(counted).map(|copy| format!("E: {node} still has the stray copy {copy}")).collect()
}
