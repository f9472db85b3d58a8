//! I: a node id is never reused.

use std::collections::BTreeMap;

use cairn_store::id::{Incarnation, NodeId};

/// Everybody who ever was a member, as far as was seen.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    seen: BTreeMap<NodeId, Incarnation>,
    wrong: Vec<String>,
}

impl Ids {
    /// A membership was seen.
    pub fn see(&mut self, members: impl IntoIterator<Item = (NodeId, Incarnation)>) {
        for (node, incarnation) in members {
            let known = *self.seen.entry(node).or_insert(incarnation);
            if known != incarnation {
                self.wrong.push(format!("I: node id {node} was {known}'s, and is {incarnation}'s"));
            }
        }
    }

    /// Ids that two lives had.
    pub fn violations(&self) -> &[String] {
        &self.wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn an_id_has_one_life() {
        let life = |number| Incarnation(Uuid::from_u128(number));
        let mut ids = Ids::default();
        ids.see([(NodeId(1), life(1)), (NodeId(2), life(2))]);
        ids.see([(NodeId(1), life(1)), (NodeId(3), life(3))]);
        assert!(ids.violations().is_empty());
        ids.see([(NodeId(2), life(4))]);
        assert_eq!(ids.violations().len(), 1);
    }
}
