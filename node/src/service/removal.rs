//! Nodes that are removed, or stopped for a while: what that would cost, and the steps of a removal.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cairn_client::api::{BLOCKS_MAX, Code, Error, Health, Loss, POLL, Progress, Removal, RemoveNodeRequest};
use cairn_store::id::NodeId;
use cairn_store::meta::{Command, Rejection, Reply, State};
use cairn_store::node::{Member, NodeName, Role};
use cairn_store::plan::drain::{Tie, ties};
use cairn_store::plan::voters::{Learner, choose};
use futures::{StreamExt, TryStreamExt};

use super::Service;
use super::answer::no_such_node;
use super::cluster::{reason, voters};
use super::drain::refused;
use crate::raft::View;

/// So many steps of a removal are under way at once,
const STEPS_AT_ONCE: usize = 32;
/// and so many are taken before the member is looked at anew.
const STEPS_MAX: usize = 1024;
/// A node that was not heard for this part of the time after which it is marked down is not counted on when another one is to
/// be stopped.
const FRESH_PART: u32 = 3;
/// How often a removal looks whether others have done their part.
const GLANCE: Duration = Duration::from_millis(50);

impl Service {
    pub(super) async fn foretell_removal(
        &self,
        node: NodeName,
        force: bool,
        wait: Duration,
    ) -> Result<Removal, Error> {
        let view = self.heard_view(self.deadline(wait)).await?;
        let member = view.state.node_named(&node).ok_or_else(|| no_such_node(&node))?.clone();
        self.blocking(move || foretell(&view, &member, force)).await
    }

    /// Goes on with a removal for a while. Each step may be taken again, by any node.
    pub(super) async fn remove_member(&self, request: RemoveNodeRequest) -> Result<Progress<()>, Error> {
        let core = &self.core;
        let deadline = self.deadline(request.wait);
        let until = core.env.clock.now() + POLL;
        let view = core.read(deadline).await?;
        let Some(member) = view.state.members.get(&request.node).cloned() else {
            return self.end_removal(&view, request.node, until).await;
        };
        let name = &member.profile.name;
        // Who is not heard for a moment is no reason to stop in the middle: what counts then is checked at apply.
        let asked = if request.begun { view.clone() } else { self.heard_view(deadline).await? };
        let seen = asked.state.members.get(&request.node).cloned().unwrap_or_else(|| member.clone());
        let foretold = self.blocking(move || foretell(&asked, &seen, request.force)).await?;
        if let Some(refusal) = foretold.refusal {
            return Err(if request.begun { half_way(name, &refusal) } else { refusal });
        }
        if !member.draining {
            if request.begun {
                let what = format!("somebody ended the emptying of {name}, and so its removal");
                let hint = format!("`cairn node remove {name}` begins anew");
                return Err(Error::new(Code::Conflict, what).hint(hint));
            }
            let command = Command::Drain { node: member.id, draining: true };
            core.propose(command, deadline).await?.map_err(|e| refused(name, &e))?;
        }
        let running = |left: u64| Ok(Progress::Running { done: 0, total: left, steps: 0 });
        let left = foretold.copies.saturating_add(foretold.owned).saturating_add(2);
        // The lead, and the vote if somebody can have it, go first: nobody else is to wait for an election.
        if !self.wait_until(until, |view| !has_to_hand_over(view, core.leader(), member.id)).await {
            return running(left);
        }
        let state = core.now().state;
        if foretold.copies + foretold.owned > 0 {
            self.give_up(state, &member, request.force, deadline).await.map_err(|error| half_way(name, &error))?;
            return running(left);
        }
        let command = Command::Remove { node: member.id, incarnation: member.incarnation };
        match core.propose(command, deadline).await? {
            // A save that was under way has put another copy there, or a name was registered.
            Ok(_) | Err(Rejection::NotEmptied { .. }) => running(left),
            Err(rejection) => Err(half_way(name, &refused(name, &rejection))),
        }
    }

    /// It is no member any more: is it out of Raft's membership too?
    async fn end_removal(&self, view: &View, node: NodeId, until: Duration) -> Result<Progress<()>, Error> {
        if !view.state.removed.contains_key(&node) {
            return Err(Error::new(Code::NotFound, format!("there is no node {node}")).hint("see `cairn node ls`"));
        }
        let is_over = |view: &View| view.membership.membership().nodes().all(|(id, _)| *id != node.0);
        // Who was removed itself is not told of it.
        if self.core.me() == node || self.wait_until(until, is_over).await {
            return Ok(Progress::Done(()));
        }
        Ok(Progress::Running { done: 0, total: 1, steps: 0 })
    }

    /// Has the next references to the member's copies, and its ownerships, ended.
    async fn give_up(&self, state: State, member: &Member, force: bool, deadline: Duration) -> Result<(), Error> {
        let node = member.id;
        let steps = self.blocking(move || {
            let copies = ties(segments(&state), node, |other| state.stays(other));
            let abandon = |tie: Tie| {
                let Tie { segment, version, copy, .. } = tie;
                (tie.name, Command::Abandon { segment, version, copy, force })
            };
            let free = state.owned_by(node).filter(|segment| state.lease(segment.id).is_none());
            let owned = free.map(|s| (s.name.clone(), Command::Disown { segment: s.id, node }));
            owned.chain(copies.map(abandon)).take(STEPS_MAX).collect::<Vec<_>>()
        });
        let take = |(name, command)| async move {
            match self.core.propose(command, deadline).await? {
                // The segment, or the version, is gone by itself; and what is leased waits until that is over.
                Err(Rejection::NoSuchSegment | Rejection::NoSuchVersion(_) | Rejection::Leased { .. }) => Ok(()),
                reply => self.core.answer(&name, Reply::from(reply)).map(drop),
            }
        };
        let steps = futures::stream::iter(steps.await?.into_iter().map(take));
        steps.buffer_unordered(STEPS_AT_ONCE).try_collect::<()>().await
    }

    async fn wait_until(&self, until: Duration, holds: impl Fn(&View) -> bool) -> bool {
        let clock = &self.core.env.clock;
        while !holds(&self.core.now()) {
            if clock.now() >= until {
                return false;
            }
            clock.sleep(GLANCE).await;
        }
        true
    }

    pub(super) async fn why_not_stop(&self, node: NodeName, wait: Duration) -> Result<Health, Error> {
        let view = self.heard_view(self.deadline(wait)).await?;
        let member = view.state.node_named(&node).ok_or_else(|| no_such_node(&node))?.clone();
        self.blocking(move || Health { reasons: reasons_to_go_on(&view, &member) }).await
    }

    /// The newest state, but for who is up: the log says that of a node that stopped a moment ago, too. Who is not heard now is
    /// not counted on.
    async fn heard_view(&self, deadline: Duration) -> Result<View, Error> {
        let mut view = self.core.read(deadline).await?;
        let heard = self.heard().await.ok_or_else(|| Error::unavailable("no leader tells whom it hears"))?;
        let fresh = u64::try_from((self.core.limits.down_after / FRESH_PART).as_millis()).unwrap_or(u64::MAX);
        let leader = self.core.leader();
        let silent = |id: &NodeId| leader != Some(*id) && heard.get(id).is_none_or(|silence| *silence > fresh);
        view.state = view.state.foretell_down(view.state.members.keys().copied().filter(silent));
        Ok(view)
    }
}

fn segments(state: &State) -> impl Iterator<Item = &cairn_store::segment::Segment> {
    state.segments.values().map(Arc::as_ref)
}

/// What keeps a removal from going on, once it has begun: some of it was done, and stays so.
fn half_way(name: &NodeName, error: &Error) -> Error {
    Error { message: format!("the removal of {name} stopped half-way: {}", error.message), ..error.clone() }
        .unknown()
        .hint(format!(
            "{name} is still being emptied, and may own nothing any more: `cairn node drain {name}` moves away what is left, \
             `cairn node undrain {name}` ends it"
        ))
}

/// Whether a member that is being emptied has still to give its vote, or the lead, to another one.
fn has_to_hand_over(view: &View, leader: Option<NodeId>, node: NodeId) -> bool {
    let voters = voters(view);
    let leads = leader == Some(node) && voters.iter().any(|voter| *voter != node);
    leads || (voters.contains(&node) && has_heir(&view.state, &voters, node))
}

/// Whether another member would vote in this one's place, as far as any node can tell.
fn has_heir(state: &State, voters: &BTreeSet<NodeId>, node: NodeId) -> bool {
    choose_without(state, voters, node).is_some_and(|chosen| chosen.len() >= voters.len())
}

/// How many members would vote if this one were none.
fn voters_without(view: &View, node: NodeId) -> usize {
    let mut voters = voters(view);
    let chosen = choose_without(&view.state, &voters, node);
    voters.remove(&node);
    chosen.unwrap_or(voters).len()
}

/// Who would vote if this one were no member; none if the others stay as they are.
fn choose_without(state: &State, voters: &BTreeSet<NodeId>, node: NodeId) -> Option<BTreeSet<NodeId>> {
    let learner = |m: &Arc<Member>| Learner {
        node: m.id,
        zone: m.profile.zone.clone(),
        executor: m.profile.role == Role::Executor,
        ready: m.up && !m.draining,
        leads: false,
        leaving: m.draining,
    };
    let others: Vec<Learner> = state.members.values().filter(|m| m.id != node).map(learner).collect();
    choose(&others, voters)
}

fn is_up(state: &State, node: NodeId) -> bool {
    state.members.get(&node).is_some_and(|m| m.up)
}

/// What a removal would come to.
fn foretell(view: &View, member: &Member, force: bool) -> Removal {
    let state = &view.state;
    let (mut losses, mut lost, mut thin) = (Vec::new(), 0u64, 0u64);
    for tie in ties(segments(state), member.id, |other| state.stays(other)) {
        thin += u64::from(tie.thin && !tie.last);
        if tie.last {
            lost += 1;
            if losses.len() < BLOCKS_MAX {
                losses.push(Loss { name: tie.name, version: tie.version, size: tie.size });
            }
        }
    }
    let usage = state.usage_of(member.id);
    Removal {
        node: member.profile.name.clone(),
        id: member.id,
        copies: usage.copies,
        bytes: usage.bytes,
        owned: u64::try_from(state.owned_by(member.id).count()).unwrap_or(u64::MAX),
        thin,
        lost,
        voters: u64::try_from(voters_without(view, member.id)).unwrap_or(u64::MAX),
        refusal: refusal(view, member, force, lost, &losses),
        losses,
    }
}

fn refusal(view: &View, member: &Member, force: bool, lost: u64, losses: &[Loss]) -> Option<Error> {
    let (state, name) = (&view.state, &member.profile.name);
    if let Err(rejection) = state.foretell_drain(member.id) {
        return Some(refused(name, &rejection));
    }
    if let Some(why) = no_quorum_for_removal(view, member) {
        let error = Error::new(Code::Conflict, format!("{name} is not removed: {why}"));
        return Some(error.hint("let other nodes join, or come back, first; see `cairn node ls`"));
    }
    let leased = state.owned_by(member.id).filter(|segment| state.lease(segment.id).is_some());
    if let Some(what) = reason(&format!("{name} has leases that are not over"), leased.map(|s| s.name.to_string())) {
        let error = Error::new(Code::Conflict, what);
        return Some(error.hint("end what runs there, or wait until they are over: `cairn show NAME` tells when"));
    }
    if lost == 0 {
        return None;
    }
    let which = losses.iter().map(|loss| format!("version {} of {}", loss.version, loss.name));
    let what = reason(&format!("{name} has the last good copy of"), which).unwrap_or_default();
    match (member.up, force) {
        (true, _) => {
            Some(Error::new(Code::Conflict, what).hint(format!("move them away: `cairn node drain {name}`")))
        }
        (false, true) => None,
        (false, false) => Some(Error::new(Code::Conflict, what).hint(format!(
            "start it again, and drain it; or give them up: `cairn node remove {name} --force` \
             (--dry-run lists them)"
        ))),
    }
}

/// Why too few voters would be there while the member's vote is taken away; none if they would be enough.
fn no_quorum_for_removal(view: &View, member: &Member) -> Option<String> {
    // If another one takes over its vote, it is there until then.
    let inherited = member.up && has_heir(&view.state, &voters(view), member.id);
    if inherited { None } else { no_quorum_without(view, member) }
}

/// Why the others could not decide anything; none if they could.
fn no_quorum_without(view: &View, member: &Member) -> Option<String> {
    let voters = voters(view);
    if !voters.contains(&member.id) {
        return None;
    }
    let up = voters.iter().filter(|id| **id != member.id && is_up(&view.state, **id)).count();
    let (all, needed, name) = (voters.len(), voters.len() / 2 + 1, &member.profile.name);
    (up < needed).then(|| format!("{needed} of {all} voters must be up, and without {name} only {up} are"))
}

/// Why a member should not be stopped now.
fn reasons_to_go_on(view: &View, member: &Member) -> Vec<String> {
    let state = &view.state;
    let no_quorum = no_quorum_without(view, member).map(|why| format!("no quorum: {why}"));
    let only = ties(segments(state), member.id, |other| is_up(state, other)).filter(|tie| tie.last);
    let only = only.map(|tie| format!("version {} of {}", tie.version, tie.name));
    no_quorum.into_iter().chain(reason("no other node that is up has a good copy of", only)).collect()
}
