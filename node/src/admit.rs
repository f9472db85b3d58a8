//! Who may speak on a port: decided from the first frame, before anything else is decoded.

use cairn_client::wire::{Greeting, Refusal, RefusalCode};
use cairn_store::id::NodeId;

use crate::identity::Identity;
use crate::raft::View;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// An application, an operator, a node that wants to join.
    Client,
    /// A member.
    Node(NodeId),
}

/// Decides. A node is its id *and* its incarnation (R14); this node may be behind and not know a newer member yet. One that
/// was removed is heard for as long as Raft counts on it: without its vote that could not be ended.
pub fn admit(greeting: &Greeting, me: &Identity, view: &View) -> Result<Speaker, Refusal> {
    let (state, membership) = (&view.state, view.membership.membership());
    let refuse = |message: String| Err(Refusal { code: RefusalCode::Stranger, message });
    match greeting {
        Greeting::Client => Ok(Speaker::Client),
        Greeting::Node { cluster, .. } if *cluster != me.cluster => {
            refuse(format!("this node belongs to cluster {}, not to {cluster}", me.cluster))
        }
        Greeting::Node { to, .. } if *to != (me.node, me.incarnation) => {
            refuse(format!("this is node {} in its life {}, not the one that was meant", me.node, me.incarnation))
        }
        Greeting::Node { from: (node, incarnation), .. } => match state.members.get(node) {
            Some(member) if member.incarnation == *incarnation => Ok(Speaker::Node(*node)),
            Some(_) => refuse(format!("node {node} lives another life: its folder was replaced")),
            None if node.0 >= state.next_node => Ok(Speaker::Node(*node)),
            None if membership.get_node(&node.0).is_some_and(|peer| peer.incarnation == Some(*incarnation)) => {
                Ok(Speaker::Node(*node))
            }
            None => Err(Refusal {
                code: RefusalCode::Removed,
                message: format!("node {node} was removed from the cluster"),
            }),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use cairn_store::id::{ClusterId, Incarnation};
    use cairn_store::meta::apply::Position;
    use cairn_store::meta::{Command, Entry, Stamp, State};
    use cairn_store::node::{Profile, Role};
    use cairn_store::time::WallTime;
    use openraft::{Membership, StoredMembership};
    use uuid::Uuid;

    use super::*;
    use crate::raft::types::Peer;

    fn cluster(n: u128) -> ClusterId {
        ClusterId(Uuid::from_u128(n))
    }

    fn life(n: u128) -> Incarnation {
        Incarnation(Uuid::from_u128(n))
    }

    fn founded() -> View {
        let profile = Profile {
            name: "n1".parse().unwrap(),
            role: Role::Executor,
            zone: "a".into(),
            rpc: String::new(),
            data: String::new(),
            http: String::new(),
            capacity: 1,
        };
        let command = Command::Found { cluster: cluster(1), incarnation: life(1), profile };
        let entry = Entry { stamp: Stamp::default(), at: WallTime(0), command };
        let mut state = State::default();
        state.apply(Position { term: 1, index: 1 }, &entry).unwrap();
        let peer = |life| Peer { rpc: String::new(), data: String::new(), incarnation: Some(life) };
        let nodes = BTreeMap::from([(0, peer(life(1))), (1, peer(life(1)))]);
        let membership = Membership::new(vec![BTreeSet::from([1])], nodes).unwrap();
        let mut view = View::default();
        (view.state, view.membership) = (state, StoredMembership::new(None, membership));
        view
    }

    #[test]
    fn strangers_are_refused() {
        let me = Identity { cluster: cluster(1), node: NodeId(2), incarnation: life(2), founder: false };
        let greet = |c, from: (u64, u128), to: (u64, u128)| Greeting::Node {
            cluster: cluster(c),
            from: (NodeId(from.0), life(from.1)),
            to: (NodeId(to.0), life(to.1)),
        };
        let view = founded();
        let admitted = |greeting| admit(&greeting, &me, &view).is_ok();
        assert!(admitted(Greeting::Client));
        assert!(admitted(greet(1, (1, 1), (2, 2))));
        assert!(admitted(greet(1, (3, 9), (2, 2))), "a member that this node does not know yet");
        assert!(!admitted(greet(2, (1, 1), (2, 2))), "another cluster");
        assert!(!admitted(greet(1, (1, 7), (2, 2))), "another life");
        assert!(admitted(greet(1, (0, 1), (2, 2))), "a removed node that Raft still counts on");
        assert!(!admitted(greet(1, (0, 2), (2, 2))), "another life of it");
        let mut gone = view.clone();
        gone.membership = Default::default();
        let refused = admit(&greet(1, (0, 1), (2, 2)), &me, &gone).unwrap_err();
        assert_eq!(refused.code, RefusalCode::Removed, "a removed node");
        assert!(!admitted(greet(1, (1, 1), (3, 2))), "another node was meant");
        assert!(!admitted(greet(1, (1, 1), (2, 3))), "another life was meant");
    }
}
