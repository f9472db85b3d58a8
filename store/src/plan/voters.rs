//! Who votes: 1, 3 or 5 members, the rest learn. Whoever stays away, or leaves, gives its vote to another one; whoever was
//! removed has none. While all voters are ready, one of a zone that has two more than another one gives its vote to a member
//! there.

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
    /// Whether it leads: it keeps its vote before others do.
    pub leads: bool,
    /// Whether it leaves, or was away for so long that it is not waited for: others are to vote in its place.
    pub leaving: bool,
}

/// The new set of voters, if it should change: voters that leave are replaced, pairs are added up to [`VOTERS_MAX`], and what is
/// crowded in a zone is spread.
pub fn choose(members: &[Learner], voters: &BTreeSet<NodeId>) -> Option<BTreeSet<NodeId>> {
    let leaves = |node: &NodeId| members.iter().any(|m| m.node == *node && m.leaving);
    let known: BTreeSet<NodeId> = members.iter().map(|m| m.node).collect();
    let mut removed = voters.difference(&known).count();
    let (mut leaving, mut chosen): (BTreeSet<NodeId>, BTreeSet<NodeId>) =
        voters.intersection(&known).copied().partition(leaves);
    let mut pool = Pool::new(members, voters, &chosen);
    // One for one: the number stays odd.
    while removed + leaving.len() > 0
        && let Some(best) = pool.draw()
    {
        match removed {
            0 => drop(leaving.pop_first()),
            _ => removed -= 1,
        }
        chosen.insert(best);
    }
    // Whoever has no heir keeps its vote: it may come back, and fewer voters would bear fewer losses then.
    chosen.append(&mut leaving);
    // Only who was removed does not: then the number may be even, which bears no more losses than the odd one below it.
    let of = |node: &NodeId| members.iter().find(|m| m.node == *node);
    let rank = |node: &NodeId| of(node).map(|m| (!m.leaving, m.leads, m.ready, m.executor));
    if chosen.len().is_multiple_of(2)
        && let Some(last) = chosen.iter().rev().min_by_key(|node| rank(node)).copied()
    {
        chosen.remove(&last);
    }
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
    // Only while all can vote: a change takes majorities of both sets.
    let ready = |node: &NodeId| members.iter().any(|m| m.node == *node && m.ready);
    while chosen.iter().all(ready)
        && let Some((voter, better)) = swap(members, &chosen)
    {
        chosen.remove(&voter);
        chosen.insert(better);
    }
    (chosen != *voters && !chosen.is_empty()).then_some(chosen)
}

/// A voter whose zone has more of them than it should, and a member of another zone that would do better. Each such swap makes
/// the zones more even, so there is a last one. The leader keeps its vote, and no executor gives way to a storage node.
fn swap(members: &[Learner], voters: &BTreeSet<NodeId>) -> Option<(NodeId, NodeId)> {
    let votes = |m: &&Learner| voters.contains(&m.node);
    let crowd = |zone: &str| members.iter().filter(votes).filter(|m| m.zone == zone).count();
    let mut pool: Vec<(usize, &Learner)> =
        members.iter().filter(|m| m.ready && !votes(m)).map(|m| (crowd(&m.zone), m)).collect();
    pool.sort_by_key(|(crowd, m)| (*crowd, !m.executor, m.node));
    pool.into_iter().find_map(|(few, better)| {
        let gives = |m: &&Learner| !m.leads && crowd(&m.zone) >= few + 2 && (better.executor || !m.executor);
        let voter = members.iter().filter(votes).filter(gives).min_by_key(|m| {
            let first = (std::cmp::Reverse(crowd(&m.zone)), m.ready, m.executor);
            (first, std::cmp::Reverse(m.node))
        });
        Some((voter?.node, better.node))
    })
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
            leads: n == 1,
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

    #[test]
    fn voters_are_spread_over_the_zones_that_come() {
        let zoned = |zones: &[&str], storage: &[u64]| {
            let mut members = members(zones.len() as u64, storage);
            members.iter_mut().zip(zones).for_each(|(member, zone)| member.zone = (*zone).into());
            members
        };
        let (three, five) = (set(&[1, 2, 3]), set(&[1, 2, 3, 4, 5]));
        let cases = [
            // The leader, node 1, keeps its vote.
            (zoned(&["a", "a", "a", "b"], &[]), &three, Some(set(&[1, 2, 4]))),
            (zoned(&["a", "b", "b", "c"], &[]), &three, Some(set(&[1, 2, 4]))),
            (zoned(&["a", "a", "b", "b"], &[]), &three, None),
            (zoned(&["a", "a", "a", "a", "a", "b", "b", "b", "b", "b"], &[]), &five, Some(set(&[1, 2, 3, 6, 7]))),
            (zoned(&["a", "a", "a", "b", "b", "c"], &[]), &five, Some(set(&[1, 2, 4, 5, 6]))),
            // No executor gives way to a storage node, but storage nodes do to each other.
            (zoned(&["a", "a", "a", "b"], &[4]), &three, None),
            (zoned(&["a", "a", "a", "b"], &[3, 4]), &three, Some(set(&[1, 2, 4]))),
        ];
        for (members, voters, chosen) in cases {
            assert_eq!(choose(&members, voters), chosen, "{members:?} of {voters:?}");
        }
    }

    #[test]
    fn whoever_was_removed_has_no_vote() {
        let rest = |gone: &[u64], count| -> Vec<Learner> {
            members(count, &[]).into_iter().filter(|m| !gone.contains(&m.node.0)).collect()
        };
        let three = set(&[1, 2, 3]);
        let cases = [
            (rest(&[2], 4), &three, Some(set(&[1, 3, 4]))),
            (rest(&[2], 3), &three, Some(set(&[1]))),
            (rest(&[1], 3), &three, Some(set(&[2]))),
            (rest(&[2, 3], 3), &three, Some(set(&[1]))),
            (rest(&[4], 5), &set(&[1, 2, 3, 4, 5]), Some(set(&[1, 2, 3]))),
            (rest(&[1], 2), &set(&[1]), Some(set(&[2]))),
            (rest(&[1], 1), &set(&[1]), None),
        ];
        for (members, voters, chosen) in cases {
            assert_eq!(choose(&members, voters), chosen, "{members:?} of {voters:?}");
        }
        // Of the rest, who is away gives up its vote before who is there, and the leader last.
        let mut two = rest(&[1], 3);
        two[0].ready = false;
        assert_eq!(choose(&two, &three), Some(set(&[3])));
        two[0].leads = true;
        assert_eq!(choose(&two, &three), Some(set(&[2])));
        // But a leader that leaves has to give it up anyway.
        two[0].leaving = true;
        assert_eq!(choose(&two, &three), Some(set(&[3])));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_number_stays_odd_and_the_choice_is_final(
            count in 1..9u64, voting in any::<u16>(), ready in any::<u16>(), leaving in any::<u16>(),
            removed in any::<u16>(), zones in 1..4u64,
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
            let last = NodeId(count);
            if voters.len().is_multiple_of(2) && !voters.remove(&last) {
                voters.insert(last);
            }
            // One of them at least is still a member.
            let stays_member = voters.first().copied();
            all.retain(|m| !bit(removed, m.node.0) || Some(m.node) == stays_member);
            let chosen = choose(&all, &voters).unwrap_or_else(|| voters.clone());
            prop_assert!(chosen.len() % 2 == 1 && chosen.len() <= VOTERS_MAX);
            prop_assert_eq!(choose(&all, &chosen), None, "{:?}", chosen);
            let stays = |node: &NodeId| all.iter().any(|m| m.node == *node && !m.leaving);
            prop_assert!(chosen.iter().all(|n| all.iter().any(|m| m.node == *n)), "whoever was removed votes");
            let lost: Vec<&NodeId> = voters.iter().filter(|n| stays(n) && !chosen.contains(n)).collect();
            let shrinks = usize::from(chosen.len() < voters.len());
            let zone = |node: &NodeId| node.0 % zones;
            let crowd = |zone_of: u64| chosen.iter().filter(|n| zone(n) == zone_of).count();
            let moved = |other| crowd(other).saturating_sub(voters.iter().filter(|n| zone(n) == other).count());
            prop_assert!(lost.len() <= shrinks + (0..zones).map(moved).sum::<usize>(), "a voter that stays lost its vote");
            let leader = all.iter().find(|m| m.leads && !m.leaving).map(|m| m.node).filter(|n| voters.contains(n));
            prop_assert!(leader.is_none_or(|leader| chosen.contains(&leader)), "the leader lost its vote");
            let ready = |node: &NodeId| all.iter().any(|m| m.node == *node && m.ready);
            prop_assert!(chosen.difference(&voters).all(ready), "who is not ready votes");
        }
    }
}
