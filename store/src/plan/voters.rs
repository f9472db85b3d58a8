//! Who votes: 1, 3 or 5 members, the rest learn.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::NodeId;

/// The most voters.
pub const VOTERS_MAX: usize = 5;

/// A member, as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learner {
    /// Who.
    pub node: NodeId,
    /// Nodes of one zone are lost together.
    pub zone: String,
    /// Whether it runs applications: those vote first, so that a few storage nodes do not outvote them.
    pub executor: bool,
    /// Whether it is up, stays, and has the log nearly to its end.
    pub ready: bool,
}

/// The new set of voters, if it should change. Voters are only added here, as many as make the next odd number.
pub fn grow(members: &[Learner], voters: &BTreeSet<NodeId>) -> Option<BTreeSet<NodeId>> {
    let mut chosen = voters.clone();
    let mut zones: BTreeMap<&str, usize> = BTreeMap::new();
    for member in members.iter().filter(|m| voters.contains(&m.node)) {
        *zones.entry(&member.zone).or_default() += 1;
    }
    let mut left: Vec<&Learner> = members.iter().filter(|m| m.ready && !voters.contains(&m.node)).collect();
    let mut grown = None;
    while chosen.len() < VOTERS_MAX {
        let rank = |m: &Learner| (!m.executor, zones.get(m.zone.as_str()).copied().unwrap_or(0), m.node);
        let Some((at, _)) = left.iter().enumerate().min_by_key(|(_, m)| rank(m)) else { break };
        let best = left.remove(at);
        *zones.entry(&best.zone).or_default() += 1;
        chosen.insert(best.node);
        // An even number tolerates no more losses than the odd one below it.
        if chosen.len() % 2 == 1 {
            grown = Some(chosen.clone());
        }
    }
    grown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(count: u64, storage: &[u64]) -> Vec<Learner> {
        let member =
            |n| Learner { node: NodeId(n), zone: format!("z{n}"), executor: !storage.contains(&n), ready: true };
        (1..=count).map(member).collect()
    }

    fn set(ids: &[u64]) -> BTreeSet<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn grows_to_odd_numbers_only() {
        let cases = [
            (1, set(&[1]), None),
            (2, set(&[1]), None),
            (3, set(&[1]), Some(set(&[1, 2, 3]))),
            (4, set(&[1, 2, 3]), None),
            (5, set(&[1, 2, 3]), Some(set(&[1, 2, 3, 4, 5]))),
            (9, set(&[1, 2, 3, 4, 5]), None),
        ];
        for (count, voters, grown) in cases {
            assert_eq!(grow(&members(count, &[]), &voters), grown, "{count} members");
        }
    }

    #[test]
    fn executors_vote_before_storage_nodes_and_the_unready_wait() {
        assert_eq!(grow(&members(4, &[2]), &set(&[1])), Some(set(&[1, 3, 4])));
        let mut late = members(3, &[]);
        late[2].ready = false;
        assert_eq!(grow(&late, &set(&[1])), None);
    }
}
