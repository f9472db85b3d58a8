//! Who votes: 1, 3 or 5 members, the rest learn. Whoever stays away, or leaves, gives its vote to another one.

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
    /// Whether it leaves, or was away for so long that it is not waited for: others are to vote in its place.
    pub leaving: bool,
}

/// The new set of voters, if it should change: voters that leave are replaced, and pairs are added up to [`VOTERS_MAX`].
pub fn choose(members: &[Learner], voters: &BTreeSet<NodeId>) -> Option<BTreeSet<NodeId>> {
    let leaves = |node: &NodeId| members.iter().any(|m| m.node == *node && m.leaving);
    let (mut leaving, mut chosen): (BTreeSet<NodeId>, BTreeSet<NodeId>) = voters.iter().copied().partition(leaves);
    let mut pool = Pool::new(members, voters, &chosen);
    // One for one: the number stays odd.
    while !leaving.is_empty()
        && let Some(best) = pool.draw()
    {
        leaving.pop_first();
        chosen.insert(best);
    }
    // Whoever has no heir keeps its vote: it may come back, and fewer voters would bear fewer losses then.
    chosen.append(&mut leaving);
    let mut grown = chosen.clone();
    while grown.len() < VOTERS_MAX
        && let Some(best) = pool.draw()
    {
        grown.insert(best);
        // An even number tolerates no more losses than the odd one below it.
        if grown.len() % 2 == 1 {
            chosen.clone_from(&grown);
        }
    }
    (chosen != *voters).then_some(chosen)
}

/// Members that could vote, best first: executors, in zones with the fewest voters.
struct Pool<'a> {
    left: Vec<&'a Learner>,
    zones: BTreeMap<&'a str, usize>,
}

impl<'a> Pool<'a> {
    fn new(members: &'a [Learner], voters: &BTreeSet<NodeId>, staying: &BTreeSet<NodeId>) -> Self {
        let mut zones: BTreeMap<&str, usize> = BTreeMap::new();
        for member in members.iter().filter(|m| staying.contains(&m.node)) {
            *zones.entry(&member.zone).or_default() += 1;
        }
        Self { left: members.iter().filter(|m| m.ready && !voters.contains(&m.node)).collect(), zones }
    }

    fn draw(&mut self) -> Option<NodeId> {
        let rank = |m: &Learner| (!m.executor, self.zones.get(m.zone.as_str()).copied().unwrap_or(0), m.node);
        let (at, _) = self.left.iter().enumerate().min_by_key(|(_, m)| rank(m))?;
        let best = self.left.remove(at);
        *self.zones.entry(&best.zone).or_default() += 1;
        Some(best.node)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn members(count: u64, storage: &[u64]) -> Vec<Learner> {
        let member = |n| Learner {
            node: NodeId(n),
            zone: format!("z{n}"),
            executor: !storage.contains(&n),
            ready: true,
            leaving: false,
        };
        (1..=count).map(member).collect()
    }

    fn without(count: u64, gone: &[u64]) -> Vec<Learner> {
        let mut members = members(count, &[]);
        for member in members.iter_mut().filter(|m| gone.contains(&m.node.0)) {
            (member.ready, member.leaving) = (false, true);
        }
        members
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
            assert_eq!(choose(&members(count, &[]), &voters), grown, "{count} members");
        }
    }

    #[test]
    fn executors_vote_before_storage_nodes_and_the_unready_wait() {
        assert_eq!(choose(&members(4, &[2]), &set(&[1])), Some(set(&[1, 3, 4])));
        let mut late = members(3, &[]);
        late[2].ready = false;
        assert_eq!(choose(&late, &set(&[1])), None);
    }

    #[test]
    fn whoever_stays_away_or_leaves_is_replaced_and_keeps_its_vote_if_nobody_can() {
        let three = set(&[1, 2, 3]);
        let five = set(&[1, 2, 3, 4, 5]);
        let cases = [
            (without(4, &[2]), &three, Some(set(&[1, 3, 4]))),
            (without(3, &[2]), &three, None),
            (without(5, &[2]), &three, Some(set(&[1, 3, 4]))),
            (without(6, &[2]), &three, Some(set(&[1, 3, 4, 5, 6]))),
            (without(5, &[2]), &five, None),
            (without(5, &[2, 4]), &five, None),
            (without(6, &[2, 4]), &five, Some(set(&[1, 3, 4, 5, 6]))),
            (without(7, &[2, 4]), &five, Some(set(&[1, 3, 5, 6, 7]))),
            (without(1, &[1]), &set(&[1]), None),
            (without(2, &[1]), &set(&[1]), Some(set(&[2]))),
        ];
        for (members, voters, chosen) in cases {
            assert_eq!(choose(&members, voters), chosen, "{members:?} of {voters:?}");
        }
    }

    proptest! {
        #[test]
        fn the_number_stays_odd_and_the_choice_is_final(
            count in 1..9u64, voting in any::<u16>(), ready in any::<u16>(), leaving in any::<u16>(), zones in 1..4u64,
        ) {
            let bit = |mask: u16, node: u64| mask >> node & 1 == 1;
            let mut all = members(count, &[3]);
            for member in &mut all {
                member.zone = format!("z{}", member.node.0 % zones);
                member.leaving = bit(leaving, member.node.0);
                member.ready = bit(ready, member.node.0) && !member.leaving;
            }
            let mut voters: BTreeSet<NodeId> =
                all.iter().map(|m| m.node).filter(|n| bit(voting, n.0)).take(VOTERS_MAX).collect();
            if voters.len().is_multiple_of(2) {
                voters.pop_first();
            }
            prop_assume!(voters.len() % 2 == 1);
            let chosen = choose(&all, &voters).unwrap_or_else(|| voters.clone());
            prop_assert!(chosen.len() % 2 == 1 && chosen.len() <= VOTERS_MAX);
            prop_assert_eq!(choose(&all, &chosen), None, "{:?}", chosen);
            let stays = |node: &NodeId| all.iter().any(|m| m.node == *node && !m.leaving);
            prop_assert!(voters.iter().filter(|n| stays(n)).all(|n| chosen.contains(n)), "a voter that stays lost its vote");
            let ready = |node: &NodeId| all.iter().any(|m| m.node == *node && m.ready);
            prop_assert!(chosen.difference(&voters).all(ready), "who is not ready votes");
        }
    }
}
