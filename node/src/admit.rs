//! Who may speak on a port: decided from the first frame, before anything else is decoded.

use cairn_client::wire::{Greeting, Refusal, RefusalCode};
use cairn_store::id::NodeId;
use cairn_store::meta::State;

use crate::identity::Identity;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// An application, an operator, a node that wants to join.
    Client,
    /// A member.
    Node(NodeId),
}

/// Decides. A node is its id *and* its incarnation (R14); this node may be behind and not know a newer member yet.
pub fn admit(greeting: &Greeting, me: &Identity, state: &State) -> Result<Speaker, Refusal> {
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
            None => Err(Refusal {
                code: RefusalCode::Removed,
                message: format!("node {node} was removed from the cluster"),
            }),
        },
    }
}

#[cfg(test)]
mod tests {
    use cairn_store::id::{ClusterId, Incarnation};
    use cairn_store::meta::apply::Position;
    use cairn_store::meta::{Command, Entry, Stamp};
    use cairn_store::node::{Profile, Role};
    use cairn_store::time::WallTime;
    use uuid::Uuid;

    use super::*;

    fn cluster(n: u128) -> ClusterId {
        ClusterId(Uuid::from_u128(n))
    }

    fn life(n: u128) -> Incarnation {
        Incarnation(Uuid::from_u128(n))
    }

    fn founded() -> State {
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
        state
    }

    #[test]
    fn strangers_are_refused() {
        let me = Identity { cluster: cluster(1), node: NodeId(2), incarnation: life(2), founder: false };
        let greet = |c, from: (u64, u128), to: (u64, u128)| Greeting::Node {
            cluster: cluster(c),
            from: (NodeId(from.0), life(from.1)),
            to: (NodeId(to.0), life(to.1)),
        };
        let state = founded();
        let admitted = |greeting| admit(&greeting, &me, &state).is_ok();
        assert!(admitted(Greeting::Client));
        assert!(admitted(greet(1, (1, 1), (2, 2))));
        assert!(admitted(greet(1, (3, 9), (2, 2))), "a member that this node does not know yet");
        assert!(!admitted(greet(2, (1, 1), (2, 2))), "another cluster");
        assert!(!admitted(greet(1, (1, 7), (2, 2))), "another life");
        assert!(!admitted(greet(1, (0, 1), (2, 2))), "a removed node");
        assert!(!admitted(greet(1, (1, 1), (3, 2))), "another node was meant");
        assert!(!admitted(greet(1, (1, 1), (2, 3))), "another life was meant");
    }
}
