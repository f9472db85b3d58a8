//! A leader without room on its own disk refuses what takes space for the whole cluster (R17), and one that is being emptied
//! leaves: it gives the lead to a voter that stays and has room.

use std::collections::BTreeSet;
use std::time::Duration;

use cairn_store::id::NodeId;
use cairn_store::node::Role;
use cairn_store::plan::handover::{Heir, heir};

use super::lead::caught_up;
use crate::core::Core;
use crate::raft::View;

/// The pause after a try. Each costs the cluster an election.
const PAUSE: Duration = Duration::from_secs(10);
/// The pause once nobody is left to try; then all may be tried again.
const REST: Duration = Duration::from_secs(600);

/// What was tried so far.
#[derive(Debug, Default)]
pub struct Handover {
    tried: BTreeSet<NodeId>,
    /// Before this time of the env's clock nothing is tried.
    due: Duration,
}

impl Handover {
    /// Another node leads: whoever was tried may be tried again, should this one lead once more. Not at once: what is due
    /// stays due.
    pub fn succeeded(&mut self) {
        self.tried.clear();
    }

    /// One look, for as long as this node leads; tells whether the lead was given away just now. A try that fails leads to an election like any other: openraft's
    /// leader says nothing more once it has handed over.
    pub async fn look(&mut self, core: &Core, view: &View) -> bool {
        let leaves = view.state.members.get(&core.me()).is_some_and(|member| member.draining);
        if !(core.nearly_full() || leaves) || core.env.clock.now() < self.due {
            return false;
        }
        let voters: BTreeSet<NodeId> =
            view.membership.voter_ids().map(NodeId).filter(|id| *id != core.me()).collect();
        let members = || view.state.members.values().filter(|member| voters.contains(&member.id));
        let ready = |member: &cairn_store::node::Member| member.up && !member.draining && caught_up(core, member.id);
        let room = core.with_room(members().filter(|member| ready(member)).map(|member| member.id)).await;
        let voter = |member: &std::sync::Arc<cairn_store::node::Member>| Heir {
            node: member.id,
            ready: ready(member),
            executor: member.profile.role == Role::Executor,
            room: room.get(&member.id) == Some(&true),
        };
        let chosen = heir(&members().map(voter).collect::<Vec<_>>(), &self.tried);
        let now = core.env.clock.now();
        let Some(to) = chosen else {
            // Whoever has no room now may have some soon.
            let rests = !self.tried.is_empty();
            self.tried.clear();
            self.due = match leaves {
                // An heir may get its vote in a moment.
                true => now,
                false => now + if rests { REST } else { PAUSE },
            };
            return false;
        };
        self.tried.insert(to);
        self.due = now + PAUSE;
        let why = if leaves { "this node is being emptied" } else { "this leader's disk has no room" };
        tracing::warn!(to = %core.name_of(to), why, "the lead is handed over");
        // If Raft has ended, so does the node.
        core.raft.trigger().transfer_leader(to.0).await.is_ok()
    }
}
