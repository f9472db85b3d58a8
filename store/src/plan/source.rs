//! Whom to ask for a copy.

use crate::id::{CopyId, NodeId};

/// A holder, as a loader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Who.
    pub node: NodeId,
    /// The copy there.
    pub copy: CopyId,
    /// Whether it is counted as good.
    pub durable: bool,
    /// Whether the leader hears the node.
    pub up: bool,
    /// Whether the node runs applications: those are busier.
    pub executor: bool,
    /// Whether it stands in the loader's zone.
    pub near: bool,
}

/// The copies to try, best first: good ones before doubtful ones, nodes that are heard before silent ones, near
/// before far, idle before busy; equals are drawn by `tie`. Nobody is left out: a silent node may answer, and bytes
/// are verified whoever sends them. Copies known to be lost come last for the same reason.
pub fn rank(holders: &[Holder], tie: u64) -> Vec<Holder> {
    let mut ranked = holders.to_vec();
    let drawn = |node: NodeId| (node.0 ^ tie).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ranked.sort_by_key(|h| (!h.durable, !h.up, !h.near, h.executor, drawn(h.node), h.node));
    ranked
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn good_heard_near_and_idle_come_first() {
        let holder = |node: u64| Holder {
            node: NodeId(node),
            copy: CopyId(Uuid::from_u128(node.into())),
            durable: true,
            up: true,
            executor: false,
            near: true,
        };
        let holders = [
            Holder { durable: false, ..holder(1) },
            Holder { up: false, ..holder(2) },
            Holder { near: false, ..holder(3) },
            Holder { executor: true, ..holder(4) },
            holder(5),
        ];
        let order: Vec<u64> = rank(&holders, 3).iter().map(|h| h.node.0).collect();
        assert_eq!(order, [5, 4, 3, 2, 1]);
    }
}
