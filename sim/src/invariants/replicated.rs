//! G: after faults end, every version has the copies that it wants, on nodes that are there, and nothing more.

use std::collections::BTreeSet;

use cairn_store::id::NodeId;
use cairn_store::meta::State;
use cairn_store::segment::{CopyState, VersionRecord};

/// Versions with too few copies on the nodes `here`, or with too many, or that still list one that was lost. What no node
/// here has cannot be made again, and none gets more copies than there are nodes with room for one.
pub fn violations(state: &State, here: &BTreeSet<NodeId>) -> Vec<String> {
    let mut wrong = Vec::new();
    for segment in state.segments.values() {
        for (version, record) in &segment.versions {
            let good = record.durable().filter(|copy| here.contains(&copy.node)).count();
            let (least, most) = (record.copies_wanted().min(able(state, record, here)), record.copies_wanted());
            let mut must = |holds: bool, what: String| {
                if !holds {
                    wrong.push(format!("G: version {version} of {} {what}", segment.name));
                }
            };
            must(good == 0 || good >= least, format!("has {good} copies, and {least} could be"));
            must(good <= most, format!("has {good} copies, and {most} are wanted"));
            let lost = record.copies.iter().any(|copy| copy.state != CopyState::Durable);
            must(!lost || good < most, "still lists a copy that was lost".into());
        }
    }
    wrong
}

/// How many nodes have a copy, or room for one.
fn able(state: &State, record: &VersionRecord, here: &BTreeSet<NodeId>) -> usize {
    let has = |node: NodeId| record.durable().any(|copy| copy.node == node);
    let room = |node: &NodeId| {
        let used = state.usage_of(*node).bytes.saturating_add(record.size);
        state.members.get(node).is_some_and(|member| used <= member.profile.capacity)
    };
    here.iter().filter(|node| has(**node) || room(node)).count()
}
