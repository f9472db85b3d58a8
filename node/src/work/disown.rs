//! What a node owns that is being emptied has no owner any more: whoever claims it next takes it over.

use std::collections::BTreeSet;

use cairn_store::id::NodeId;
use cairn_store::meta::{Command, State};
use futures::StreamExt;

use super::lead::propose;
use crate::core::Core;

/// The most ownerships that end in one round,
const ENDED_MAX: usize = 1024;
/// and at once.
const AT_ONCE: usize = 32;

/// What a leader has seen of it.
#[derive(Debug, Default)]
pub struct Disowning {
    /// Nodes that are being emptied and own nothing. Whoever is emptied takes over nothing, so it stays like that.
    done: BTreeSet<NodeId>,
}

impl Disowning {
    /// One round, for as long as this node leads.
    pub async fn look(&mut self, core: &Core, state: &State) {
        let emptied = state.members.values().filter(|member| member.draining).map(|member| member.id);
        let emptied: BTreeSet<NodeId> = emptied.collect();
        self.done.retain(|node| emptied.contains(node));
        let left: BTreeSet<NodeId> = emptied.difference(&self.done).copied().collect();
        if left.is_empty() {
            return;
        }
        // Every segment is looked at: not where other tasks wait.
        let (known, owners) = (state.clone(), left.clone());
        let found = core.env.blocking(move || {
            let owned = known.segments.values().filter_map(|segment| Some((segment.id, segment.owner?)));
            let mut owned = owned.filter(|(_, owner)| owners.contains(owner)).peekable();
            let nothing = owned.peek().is_none();
            // What is leased stays until that is over (R5).
            (
                nothing,
                owned.filter(|(segment, _)| known.lease(*segment).is_none()).take(ENDED_MAX).collect::<Vec<_>>(),
            )
        });
        let Ok((nothing, free)) = found.await else { return };
        if nothing {
            self.done.extend(left);
        }
        let commands = free.into_iter().map(|(segment, node)| propose(core, Command::Disown { segment, node }));
        futures::stream::iter(commands).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
    }
}
