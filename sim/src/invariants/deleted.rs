//! E: nothing referenced, pinned, in flight, or still committable is ever deleted; strays are gone in bounded time.

use std::collections::BTreeSet;

use cairn_store::id::{CopyId, NodeId};
use cairn_store::meta::State;
use cairn_store::node::NodeName;
use cairn_store::segment::CopyState;

/// Copies that `state`, as the node itself has applied it, counts on and that are not on its disk. A copy that a fault
/// took away is not asked for.
pub fn missing(node: (NodeId, &NodeName), state: &State, holds: impl Fn(CopyId) -> bool) -> Vec<String> {
    let mut wrong = Vec::new();
    for segment in state.segments.values() {
        for (version, record) in &segment.versions {
            let here = record.copies.iter().filter(|copy| copy.node == node.0 && copy.state == CopyState::Durable);
            for copy in here.filter(|copy| !holds(copy.id)) {
                let (name, id) = (&segment.name, copy.id);
                wrong.push(format!("E: {} deleted its copy {id} of version {version} of {name}", node.1));
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
    let strays = lying.difference(&referenced);
    strays.map(|copy| format!("E: {} still has the stray copy {copy}", node.1)).collect()
}
