//! A node that was removed from the cluster ends: nobody speaks with it any more.

use std::sync::Arc;
use std::time::Duration;

use cairn_store::id::NodeId;

use crate::core::Core;
use crate::links::Port;

/// So long it goes on once it knows: whoever asked it for its own removal is still to be answered.
const LINGER: Duration = Duration::from_secs(3);
/// So long at most if it had a vote, as far as it knows: without it the others may be unable to take that vote away. Whether
/// they have done so it may never hear. Some elections fit in.
const VOTE_LINGER: Duration = Duration::from_secs(10);

/// What the node ends with: nobody needs it any more. Its folder is marked.
pub const REMOVED: &str = "it was removed from the cluster";
/// What it ends with if it had a vote nevertheless, as far as it could learn: the others may want it once more.
pub const STILL_VOTES: &str = "it is no member any more, but nobody says that it has no vote";

/// Runs until the node ends.
pub async fn leave(core: Arc<Core>) {
    let (mut since, mut asked, mut last) = (None, core.env.clock.now(), core.me());
    while !core.stop.is_set() {
        let now = core.env.clock.now();
        let (removed, votes) = standing(&core);
        // Whoever says so has taken the vote away, too.
        let told = core.links.was_removed();
        let (removed, votes) = (removed || told, votes && !told);
        // Who was away when it happened is told by whomever it speaks with. One that only follows, and that no leader knows any
        // more, speaks with nobody: so everybody asks, now and then.
        let pace = if removed { core.limits.work } else { core.limits.tick };
        if !told && now.saturating_sub(asked) >= pace {
            asked = now;
            last = greet_next(&core, last).await;
        }
        if removed {
            let known = now.saturating_sub(*since.get_or_insert(now));
            if known >= if votes { VOTE_LINGER } else { LINGER } {
                if !votes {
                    mark(&core).await;
                }
                core.stop.fault(if votes { STILL_VOTES } else { REMOVED });
                return;
            }
        }
        core.env.clock.sleep(core.limits.work).await;
    }
}

async fn mark(core: &Core) {
    let (disk, life) = (core.env.disk.clone(), core.identity.incarnation);
    let marked = core.env.blocking(move || disk.mark_removed(life)).await.and_then(|marked| marked);
    if let Err(error) = marked {
        // It ends in any case, and learns it again if it is started again.
        tracing::warn!(%error, "that this node was removed could not be written down");
    }
}

/// Greets the member after `last`, going round. [`crate::links::Links`] notes if it says that this node was removed.
async fn greet_next(core: &Core, last: NodeId) -> NodeId {
    let members = core.now().state.members;
    let others = || members.values().filter(|member| member.id != core.me());
    // Who is down would only keep it waiting, unless nobody else is known.
    let any_up = others().any(|member| member.up);
    let ids = || others().filter(|member| member.up || !any_up).map(|member| member.id);
    let Some(next) = ids().find(|id| *id > last).or_else(|| ids().next()) else { return last };
    // Whoever cannot be reached says nothing, and another one is asked next time.
    let _ = core.links.dial(next, Port::Rpc, None).await;
    next
}

/// Whether this node has applied its own removal, and whether it votes by what it has applied.
fn standing(core: &Core) -> (bool, bool) {
    let view = core.view.borrow();
    let votes = view.membership.voter_ids().map(NodeId).any(|id| id == core.me());
    (view.state.removed.contains_key(&core.me()), votes)
}
