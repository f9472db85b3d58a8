//! Which nodes get the copies of a save, or of a repair.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::id::NodeId;

/// A node, as placement sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Who.
    pub node: NodeId,
    /// Nodes of one zone are lost together.
    pub zone: String,
    /// Whether the leader hears it.
    pub up: bool,
    /// Whether it is being emptied.
    pub draining: bool,
    /// Bytes of the copies it holds.
    pub bytes: u64,
    /// Bytes that it takes.
    pub capacity: u64,
}

/// What is to be placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Who saves: it has a copy of its own. None for a copy that is made later.
    pub owner: Option<NodeId>,
    /// How many nodes.
    pub count: usize,
    /// Bytes of one copy.
    pub size: u64,
    /// Nodes that failed already, or hold one.
    pub without: BTreeSet<NodeId>,
    /// Zones are counted with these: the nodes that have been chosen before.
    pub beside: BTreeSet<NodeId>,
    /// Decides between equals, so that not all savers choose the same node.
    pub tie: u64,
}

/// The nodes to use, best first; fewer than wished if there are no more.
///
/// Each choice takes a zone with the fewest copies so far (the owner's counts), in it the node that would be the
/// least full; equals are drawn by `tie`.
pub fn place(candidates: &[Candidate], wish: &Wish) -> Vec<NodeId> {
    let zone_of = |node: &NodeId| candidates.iter().find(|c| c.node == *node).map(|c| c.zone.as_str());
    let mut zones: BTreeMap<&str, usize> = BTreeMap::new();
    for zone in wish.owner.iter().chain(&wish.beside).filter_map(zone_of) {
        *zones.entry(zone).or_default() += 1;
    }
    let mut left: Vec<&Candidate> = candidates.iter().filter(|c| usable(c, wish)).collect();
    let mut chosen = Vec::new();
    while chosen.len() < wish.count {
        let in_zone = |c: &Candidate| zones.get(c.zone.as_str()).copied().unwrap_or(0);
        let order = |a: &(usize, &&Candidate), b: &(usize, &&Candidate)| {
            let (a, b) = (a.1, b.1);
            in_zone(a).cmp(&in_zone(b)).then_with(|| fuller(a, b, wish.size)).then_with(|| drawn(a, b, wish.tie))
        };
        let Some((at, _)) = left.iter().enumerate().min_by(order) else { break };
        let best = left.swap_remove(at);
        *zones.entry(&best.zone).or_default() += 1;
        chosen.push(best.node);
    }
    chosen
}

/// How many nodes can take a copy at all, those that failed already among them.
pub fn able(candidates: &[Candidate], wish: &Wish) -> usize {
    let anew = Wish { without: BTreeSet::new(), beside: BTreeSet::new(), ..wish.clone() };
    candidates.iter().filter(|candidate| usable(candidate, &anew)).count()
}

/// How many nodes cannot take a copy, by why: each counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unable {
    /// Nobody hears them.
    pub down: usize,
    /// They are being emptied.
    pub draining: usize,
    /// They have no room for it.
    pub full: usize,
}

/// Why the others besides the owner cannot take a copy, those that failed already among them.
pub fn unable(candidates: &[Candidate], wish: &Wish) -> Unable {
    let mut unable = Unable::default();
    for candidate in candidates.iter().filter(|candidate| Some(candidate.node) != wish.owner) {
        match candidate {
            Candidate { up: false, .. } => unable.down += 1,
            Candidate { draining: true, .. } => unable.draining += 1,
            candidate if !has_room(candidate, wish) => unable.full += 1,
            _ => {}
        }
    }
    unable
}

fn usable(candidate: &Candidate, wish: &Wish) -> bool {
    candidate.up
        && !candidate.draining
        && Some(candidate.node) != wish.owner
        && !wish.without.contains(&candidate.node)
        && !wish.beside.contains(&candidate.node)
        && has_room(candidate, wish)
}

fn has_room(candidate: &Candidate, wish: &Wish) -> bool {
    candidate.bytes.saturating_add(wish.size) <= candidate.capacity
}

/// Compares how full both would be, as fractions, without rounding.
fn fuller(a: &Candidate, b: &Candidate, size: u64) -> Ordering {
    let filled = |c: &Candidate, other: &Candidate| {
        u128::from(c.bytes.saturating_add(size)) * u128::from(other.capacity.max(1))
    };
    filled(a, b).cmp(&filled(b, a))
}

fn drawn(a: &Candidate, b: &Candidate, tie: u64) -> Ordering {
    // A cheap mixer (the finalizer of SplitMix64): any order will do, if only it differs from save to save.
    let mixed = |c: &Candidate| {
        let z = (c.node.0 ^ tie).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
    };
    mixed(a).cmp(&mixed(b)).then(a.node.cmp(&b.node))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(node: u64, zone: &str) -> Candidate {
        Candidate { node: NodeId(node), zone: zone.into(), up: true, draining: false, bytes: 0, capacity: 1000 }
    }

    fn wish(count: usize) -> Wish {
        Wish { owner: Some(NodeId(1)), count, size: 10, without: BTreeSet::new(), beside: BTreeSet::new(), tie: 7 }
    }

    fn nodes(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn who_cannot_is_counted_once() {
        let down = Candidate { up: false, draining: true, ..candidate(2, "a") };
        let draining = Candidate { draining: true, bytes: 1000, ..candidate(3, "a") };
        let full = Candidate { bytes: 991, ..candidate(4, "b") };
        let all = [Candidate { up: false, ..candidate(1, "a") }, down, draining, full, candidate(5, "b")];
        assert_eq!(unable(&all, &wish(2)), Unable { down: 1, draining: 1, full: 1 }, "the owner is not asked");
        assert_eq!(able(&all, &wish(2)), 1);
    }

    #[test]
    fn spreads_over_zones_first() {
        let all = [candidate(1, "a"), candidate(2, "a"), candidate(3, "a"), candidate(4, "b")];
        assert_eq!(place(&all, &wish(1)), nodes(&[4]));
        assert_eq!(place(&all, &wish(3)).first(), Some(&NodeId(4)));
        let beside = Wish { beside: [NodeId(4)].into(), ..wish(1) };
        assert!([NodeId(2), NodeId(3)].contains(&place(&all, &beside)[0]), "b holds as many as a by now");
    }

    #[test]
    fn balances_bytes_within_a_zone() {
        let mut all = [candidate(1, "a"), candidate(2, "b"), candidate(3, "b")];
        all[1].bytes = 500;
        assert_eq!(place(&all, &wish(1)), nodes(&[3]));
        all[2].bytes = 400;
        all[2].capacity = 500;
        assert_eq!(place(&all, &wish(1)), nodes(&[2]), "a half-full large node before a nearly full small one");
    }

    #[test]
    fn avoids_full_down_and_draining_nodes() {
        let mut all = [candidate(1, "a"), candidate(2, "b"), candidate(3, "c"), candidate(4, "d"), candidate(5, "e")];
        all[1].bytes = 995;
        all[2].up = false;
        all[3].draining = true;
        assert_eq!(place(&all, &wish(3)), nodes(&[5]));
        let failed = Wish { without: [NodeId(5)].into(), ..wish(3) };
        assert_eq!((place(&all, &failed).len(), able(&all, &failed)), (0, 1));
    }

    #[test]
    fn different_draws_choose_different_equals() {
        let all: Vec<_> = (1..=6).map(|n| candidate(n, "a")).collect();
        let first: BTreeSet<_> = (0..50).map(|tie| place(&all, &Wish { tie, ..wish(1) })).collect();
        assert_eq!(first.len(), 5);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn never_the_owner_never_twice_never_unusable(
            zones in prop::collection::vec(0..4u8, 1..12),
            down in any::<u16>(), draining in any::<u16>(), bytes in prop::collection::vec(0..1100u64, 12),
            count in 0..8usize, tie: u64,
        ) {
            let bit = |mask: u16, at: usize| mask >> at & 1 == 1;
            let all: Vec<_> = zones.iter().enumerate().map(|(at, zone)| Candidate {
                up: !bit(down, at), draining: bit(draining, at), bytes: bytes[at],
                ..candidate(at as u64 + 1, &zone.to_string())
            }).collect();
            let wish = Wish { tie, ..wish(count) };
            let chosen = place(&all, &wish);
            let usable = all.iter().filter(|c| c.node != NodeId(1) && c.up && !c.draining && c.bytes + 10 <= 1000).count();
            prop_assert_eq!(chosen.len(), count.min(usable), "as many as there are");
            prop_assert_eq!(chosen.iter().collect::<BTreeSet<_>>().len(), chosen.len());
            for node in chosen {
                let c = all.iter().find(|c| c.node == node).unwrap();
                prop_assert!(c.node != NodeId(1) && c.up && !c.draining && c.bytes + 10 <= 1000);
            }
        }
    }
}
