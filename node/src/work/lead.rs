//! What only the leader does.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cairn_store::id::NodeId;
use cairn_store::meta::state::REGISTRATION_TTL;
use cairn_store::meta::{Command, State};
use cairn_store::node::Role;
use cairn_store::plan::liveness::{Sign, marks};
use cairn_store::plan::voters::{Learner, choose};
use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver;

use super::disown::Disowning;
use super::handover::Handover;
use crate::core::Core;
use crate::raft::View;
use crate::raft::types::Peer;

/// How long one change by the leader may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most registrations that expire at once.
const EXPIRE_MAX: usize = 100;
/// The most leases that are told to be over at once.
const LAPSES_MAX: usize = 100;
/// A learner may vote, and a voter lead, when it lacks at most so many entries.
const LAG_MAX: u64 = 1000;

/// After a change of the membership the next one is likely near: for so long the leader looks more often.
const HURRY: Duration = Duration::from_secs(1);
/// How many times as often.
const HURRY_FACTOR: u32 = 8;

/// Runs until the node ends.
pub async fn lead(core: Arc<Core>) {
    let mut led: Option<(u64, Duration)> = None;
    let mut stamped: Option<(u64, Duration)> = None;
    let mut hurry_until = Duration::ZERO;
    let (mut handover, mut disowning) = (Handover::default(), Disowning::default());
    while !core.stop.is_set() {
        let now = core.env.clock.now();
        led = core.leading().map(|term| match led {
            Some((known, since)) if known == term => (term, since),
            _ => (term, now),
        });
        if let Some((term, since)) = led {
            let view = core.now();
            // A new leader's clock starts with its own first entry; an idle one must not let log time stand still.
            let revision = view.state.revision;
            let due = match stamped {
                Some((seen, at)) if seen == revision => now.saturating_sub(at) >= core.limits.tick,
                _ => {
                    stamped = Some((revision, now));
                    false
                }
            };
            if due || !view.stamped_in(term) {
                propose(&core, Command::Tick).await;
            }
            mark(&core, &view.state, now.saturating_sub(since)).await;
            expire(&core, &view.state).await;
            lapse(&core, &view).await;
            disowning.look(&core, &view.state).await;
            // With the marks that were just made: whoever is back keeps its vote.
            let view = core.now();
            // Of a leader that is being emptied the lead goes first, and then the vote.
            let leaves = view.state.members.get(&core.me()).is_some_and(|member| member.draining);
            if !(leaves && handover.look(&core, &view).await) {
                match membership(&core, &view).await {
                    Ok(true) => hurry_until = core.env.clock.now() + HURRY,
                    // Only between two changes of the membership.
                    Ok(false) => {
                        if !leaves {
                            handover.look(&core, &view).await;
                        }
                    }
                    Err(e) => tracing::debug!(error = %e, "the membership could not be changed now"),
                }
            }
        } else {
            // Another leader may have ended an emptying, and begun it anew.
            disowning = Disowning::default();
            if core.leader().is_some_and(|leader| leader != core.me()) {
                handover.succeeded();
            }
        }
        let hurry = core.env.clock.now() < hurry_until;
        core.env.clock.sleep(if hurry { core.limits.work / HURRY_FACTOR } else { core.limits.work }).await;
    }
}

/// Tells whether it was applied. If not, it is asked again at the next round.
pub(super) async fn propose(core: &Core, command: Command) -> bool {
    match core.env.timeout(PATIENCE, core.propose_here(command)).await {
        Some(Ok(_)) => true,
        Some(Err(e)) => {
            tracing::debug!(error = ?e, "the leader's own command was not applied now");
            false
        }
        None => false,
    }
}

async fn mark(core: &Core, state: &State, leading: Duration) {
    let Some(silence) = core.silence() else { return };
    let sign = |m: &Arc<cairn_store::node::Member>| {
        let silent = if m.id == core.me() { Some(Duration::ZERO) } else { silence.get(&m.id).copied().flatten() };
        Sign { node: m.id, up: m.up, silent }
    };
    let signs: Vec<Sign> = state.members.values().map(sign).collect();
    for (node, up) in marks(&signs, leading, core.limits.down_after) {
        if propose(core, Command::Mark { node, up }).await {
            tracing::info!(node = %core.name_of(node), up, "the leader marked a node");
        }
    }
}

async fn expire(core: &Core, state: &State) {
    let due = state.open.iter().take_while(|(since, _)| since.after(REGISTRATION_TTL) <= state.time);
    let due = due.map(|(_, segment)| *segment).filter(|segment| state.lease(*segment).is_none());
    let due: Vec<_> = due.take(EXPIRE_MAX).collect();
    for segment in due {
        propose(core, Command::Expire { segment }).await;
    }
}

/// Ends the leases that are over, so that watchers are told. Whoever claims does not wait for that.
async fn lapse(core: &Core, view: &View) {
    let Some(term) = core.leading() else { return };
    let now = view.clock(term, core.env.clock.now());
    let over = view.state.leases.iter().filter(|(_, lease)| !lease.is_live(now)).map(|(segment, _)| *segment);
    for segment in over.take(LAPSES_MAX).collect::<Vec<_>>() {
        if !propose(core, Command::Lapse { segment }).await {
            return;
        }
    }
}

/// Makes members learn, learners vote, and addresses follow what members say of themselves: one change at a time. Tells
/// whether there was one.
async fn membership(core: &Core, view: &View) -> Result<bool, String> {
    let membership = view.membership.membership();
    let known: std::collections::BTreeMap<u64, Peer> =
        membership.nodes().map(|(id, peer)| (*id, peer.clone())).collect();
    for member in view.state.members.values() {
        let peer = Peer {
            rpc: member.profile.rpc.clone(),
            data: member.profile.data.clone(),
            incarnation: Some(member.incarnation),
        };
        match known.get(&member.id.0) {
            None => {
                tracing::info!(node = %member.profile.name, "a member begins to learn");
                let added = core.raft.add_learner(member.id.0, peer, false);
                return within(core, added).await.map(|()| true);
            }
            Some(now) if *now != peer => {
                let change = ChangeMembers::SetNodes([(member.id.0, peer)].into());
                return within(core, core.raft.change_membership(change, true)).await.map(|()| true);
            }
            Some(_) => {}
        }
    }
    // The second step of a change is the asker's: if it was lost on the way, any later leader takes it.
    if let [_, .., last] = membership.get_joint_config().as_slice() {
        tracing::info!(voters = ?last, "a change of the voters is finished");
        return within(core, core.raft.change_membership(last.clone(), true)).await.map(|()| true);
    }
    let voters: BTreeSet<NodeId> = membership.voter_ids().map(NodeId).collect();
    let removed = |id: &u64| view.state.removed.contains_key(&NodeId(*id));
    if let Some(id) = known.keys().find(|id| removed(id) && !voters.contains(&NodeId(**id))) {
        tracing::info!(node = %NodeId(*id), "a node that was removed is forgotten");
        let change = ChangeMembers::RemoveNodes([*id].into());
        return within(core, core.raft.change_membership(change, true)).await.map(|()| true);
    }
    if let Some(voters) = choose(&learners(core, view), &voters) {
        tracing::info!(?voters, "the voters change");
        let ids: BTreeSet<u64> = voters.iter().map(|id| id.0).collect();
        return within(core, core.raft.change_membership(ids, true)).await.map(|()| true);
    }
    Ok(false)
}

fn learners(core: &Core, view: &View) -> Vec<Learner> {
    let away = |id| id != core.me() && view.state.is_gone(id, core.limits.repair_after);
    let learner = |m: &Arc<cairn_store::node::Member>| Learner {
        node: m.id,
        zone: m.profile.zone.clone(),
        executor: m.profile.role == Role::Executor,
        ready: m.up && !m.draining && caught_up(core, m.id),
        leads: m.id == core.me(),
        leaving: m.draining || away(m.id),
    };
    view.state.members.values().map(learner).collect()
}

/// Whether a member has the log nearly to its end, as this leader sees it.
pub(super) fn caught_up(core: &Core, id: NodeId) -> bool {
    let metrics = core.metrics.borrow_watched();
    let last = metrics.last_log_index.unwrap_or(0);
    let matched = metrics.replication.as_ref().and_then(|all| all.get(&id.0).cloned().flatten());
    id == core.me() || matched.is_some_and(|log| last.saturating_sub(log.index()) <= LAG_MAX)
}

async fn within<T, E: std::fmt::Display>(
    core: &Core,
    change: impl Future<Output = Result<T, E>>,
) -> Result<(), String> {
    match core.env.timeout(PATIENCE, change).await {
        Some(done) => done.map(drop).map_err(|e| e.to_string()),
        None => Err("it took too long".into()),
    }
}
