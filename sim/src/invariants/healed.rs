//! G: after faults end, the cluster makes progress and is fully replicated again in bounded time.

use std::collections::BTreeMap;

use cairn_store::meta::State;
use cairn_store::node::NodeName;

/// How one node sees the cluster.
#[derive(Clone, Debug)]
pub struct Sight {
    /// Whom it follows.
    pub leader: Option<NodeName>,
    /// What it has applied.
    pub state: State,
}

/// What is not whole yet. `absent` are members that will not come back.
pub fn violations(sights: &BTreeMap<NodeName, Sight>, absent: &[NodeName]) -> Vec<String> {
    let mut wrong = Vec::new();
    let Some((first, reference)) = sights.first_key_value() else { return vec!["G: no node runs".into()] };
    for (node, sight) in sights {
        match (&sight.leader, &reference.leader) {
            (None, _) => wrong.push(format!("G: {node} knows no leader")),
            (Some(leader), Some(other)) if leader != other => {
                wrong.push(format!("G: {node} follows {leader}, and {first} {other}"));
            }
            _ => {}
        }
        if sight.state.revision == reference.state.revision && sight.state != reference.state {
            wrong.push(format!("G: {node} and {first} differ at revision {}", sight.state.revision));
        }
        if sight.state.revision != reference.state.revision {
            let (mine, theirs) = (sight.state.revision, reference.state.revision);
            wrong.push(format!("G: {node} is at revision {mine}, and {first} at {theirs}"));
        }
    }
    for member in reference.state.members.values() {
        let name = &member.profile.name;
        if !member.up && !absent.contains(name) {
            wrong.push(format!("G: {name} is taken for down"));
        }
    }
    wrong
}
