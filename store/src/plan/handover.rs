//! To whom a leader gives the lead whose own disk has no room for what the cluster wants to write.

use std::collections::BTreeSet;

use crate::id::NodeId;

/// Another voter, as the leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heir {
    /// Who.
    pub node: NodeId,
    /// Whether it is up, stays, and has the log nearly to its end.
    pub ready: bool,
    /// Whether it runs applications: those lead before storage nodes do.
    pub executor: bool,
    /// Whether its disk has room, by its own word.
    pub room: bool,
}

/// The voter to hand over to, if there is one that was not tried before.
pub fn heir(voters: &[Heir], tried: &BTreeSet<NodeId>) -> Option<NodeId> {
    let fits = |voter: &&Heir| voter.ready && voter.room && !tried.contains(&voter.node);
    voters.iter().filter(fits).min_by_key(|voter| (!voter.executor, voter.node)).map(|voter| voter.node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voter(node: u64) -> Heir {
        Heir { node: NodeId(node), ready: true, executor: true, room: true }
    }

    #[test]
    fn only_a_ready_voter_with_room_is_given_the_lead() {
        let none = BTreeSet::new();
        assert_eq!(heir(&[], &none), None);
        assert_eq!(heir(&[Heir { room: false, ..voter(2) }, Heir { ready: false, ..voter(3) }], &none), None);
        assert_eq!(heir(&[Heir { room: false, ..voter(2) }, voter(3)], &none), Some(NodeId(3)));
        assert_eq!(heir(&[Heir { executor: false, ..voter(2) }, voter(3)], &none), Some(NodeId(3)));
        assert_eq!(heir(&[Heir { executor: false, ..voter(2) }], &none), Some(NodeId(2)));
    }

    #[test]
    fn nobody_is_tried_twice() {
        let voters = [voter(2), voter(3)];
        assert_eq!(heir(&voters, &BTreeSet::new()), Some(NodeId(2)));
        assert_eq!(heir(&voters, &[NodeId(2)].into()), Some(NodeId(3)));
        assert_eq!(heir(&voters, &[NodeId(2), NodeId(3)].into()), None);
    }
}
