//! The leader has copies made again, and lets go of what is not needed: it plans ([`cairn_store::plan::repair`]) and asks
//! members to do it.
//!
//! What was begun is checked against the newest state before it is done, and once more where it counts: at apply. So a
//! plan may be old, and two leaders may be at work for a moment; at the worst a copy is made too many, and goes again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cairn_client::api::Error;
use cairn_store::id::{CopyId, NodeId, SegmentId};
use cairn_store::meta::{Command, State};
use cairn_store::plan::place::Candidate;
use cairn_store::plan::repair::{Case, Plan, Rule, Site, Step, plan};
use cairn_store::segment::{Segment, Version};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::core::Core;
use crate::errand::{Errand, Report};
use crate::raft::rpc;
use crate::service::save::candidates;
use crate::work::verify::Verdict;

/// The most steps of a plan.
const STEPS_MAX: usize = 4096;
/// A version must have lacked a copy for so long, as this leader saw it: a save's last copies may be on their way, and a
/// node that is marked down may be heard in a moment.
const SETTLE: Duration = Duration::from_secs(5);
/// A node that failed to take a copy, or could not let it go, is not asked for the same again for so long.
const FAILED_FOR: Duration = Duration::from_secs(60);
/// The most failures that are remembered.
const FAILED_MAX: usize = 4096;
/// Planning takes no more than one part in so many of a leader's time,
const PLAN_SHARE: u32 = 20;
/// and is done so often at least.
const PLAN_PAUSE_MAX: Duration = Duration::from_secs(30);

type Key = (SegmentId, Version);

/// Who is at work for this leader.
#[derive(Clone, Debug, Default)]
pub struct Crew {
    going: Arc<Mutex<Going>>,
    /// A step has ended.
    ended: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Going {
    /// What was begun: the node that a copy is for, and its bytes.
    steps: BTreeMap<Key, Option<(NodeId, u64)>>,
    /// Until when whoever failed is not asked again.
    failed: BTreeMap<(SegmentId, Version, NodeId), Duration>,
    /// One node's turns.
    turns: BTreeMap<NodeId, Arc<Semaphore>>,
    /// Since when this leader sees that something is to be done.
    seen: BTreeMap<Key, Duration>,
}

impl Crew {
    /// The versions about which something is being done.
    pub fn at_work(&self) -> Vec<(SegmentId, Version)> {
        self.lock().steps.keys().copied().collect()
    }

    /// What a plan goes by.
    fn rule(&self, now: Duration) -> Rule {
        let mut going = self.lock();
        going.failed.retain(|_, until| *until > now);
        let mut arriving: BTreeMap<NodeId, u64> = BTreeMap::new();
        for (node, bytes) in going.steps.values().flatten() {
            *arriving.entry(*node).or_default() += bytes;
        }
        let busy = going.steps.keys().copied().collect();
        let failed = going.failed.keys().copied().collect();
        Rule { most: STEPS_MAX, busy, arriving, failed, ..Rule::default() }
    }

    /// The steps that were seen before, and that it is time for.
    fn settled(&self, steps: Vec<Step>, now: Duration) -> Vec<Step> {
        let mut going = self.lock();
        let keys: BTreeSet<Key> = steps.iter().map(|step| key(step.case())).collect();
        going.seen.retain(|key, _| keys.contains(key));
        let mut due = |step: &Step| now.saturating_sub(*going.seen.entry(key(step.case())).or_insert(now)) >= SETTLE;
        steps.into_iter().filter(|step| due(step)).collect()
    }

    /// Begins a step, if its node has a free turn.
    fn begin(&self, step: &Step, transfers: usize) -> Option<Begun> {
        let (node, bytes) = match step {
            Step::Make { of, to } => (*to, Some((*to, of.size))),
            Step::Retire { node, .. } => (*node, None),
        };
        let mut going = self.lock();
        let turns = going.turns.entry(node).or_insert_with(|| Arc::new(Semaphore::new(transfers)));
        let turn = turns.clone().try_acquire_owned().ok()?;
        going.steps.insert(key(step.case()), bytes);
        Some(Begun { crew: self.clone(), key: key(step.case()), _turn: turn })
    }

    fn note_failure(&self, of: &Case, node: NodeId, now: Duration) {
        let mut going = self.lock();
        if going.failed.len() < FAILED_MAX {
            going.failed.insert((of.segment, of.version, node), now + FAILED_FOR);
        }
    }

    /// What an earlier term has seen is no reason to act in the next one.
    fn forget(&self) {
        self.lock().seen.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Going> {
        self.going.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(of: &Case) -> Key {
    (of.segment, of.version)
}

/// One step; it ends when this is dropped.
struct Begun {
    crew: Crew,
    key: Key,
    _turn: OwnedSemaphorePermit,
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.crew.lock().steps.remove(&self.key);
        self.crew.ended.notify_one();
    }
}

/// What is to be done, by the last plan.
#[derive(Default)]
struct Queue {
    /// The most urgent first.
    steps: Vec<Step>,
    /// When it is planned anew.
    due: Duration,
}

/// Runs until the node ends.
pub async fn repair(core: Arc<Core>) {
    let mut queue = Queue::default();
    while !core.stop.is_set() {
        match core.leading() {
            // Until a recovery ends, the copies that are missing may lie on nodes that have not joined again (R12).
            Some(term) if core.now().stamped_in(term) && !core.now().state.is_recovering() => {
                queue.go_on(&core).await
            }
            _ => {
                queue = Queue::default();
                core.crew.forget();
            }
        }
        // A turn that is free again is taken at once.
        core.env.timeout(core.limits.work, core.crew.ended.notified()).await;
    }
}

impl Queue {
    /// Plans if it is time, and begins whatever has a free turn.
    async fn go_on(&mut self, core: &Arc<Core>) {
        let now = core.env.clock.now();
        if now >= self.due {
            let (state, after, rule) = (core.now().state, core.limits.repair_after, core.crew.rule(now));
            let Ok(found) = core.env.blocking(move || survey(&state, after, &rule)).await else { return };
            let planned = core.env.clock.now();
            self.steps = core.crew.settled(found.steps, planned);
            let pause = (planned.saturating_sub(now) * PLAN_SHARE).min(PLAN_PAUSE_MAX);
            self.due = planned + pause.max(core.limits.work);
        }
        self.steps.retain(|step| {
            let Some(begun) = core.crew.begin(step, core.limits.repair_transfers) else { return true };
            let (step, at_work) = (step.clone(), core.clone());
            core.env.spawn(async move {
                let _begun = begun;
                carry_out(&at_work, step).await;
            });
            false
        });
    }
}

/// The plan for all that a state has.
pub fn survey(state: &State, after: Duration, rule: &Rule) -> Plan {
    let rule = Rule { archives: state.archives.clone(), ..rule.clone() };
    plan(&sites(state, after), state.segments.values().map(Arc::as_ref), &rule)
}

/// The part of it that is about versions with a copy on this node.
pub fn survey_of(state: &State, after: Duration, rule: &Rule, node: NodeId) -> Plan {
    let here = |segment: &&Segment| segment.versions.values().any(|v| v.copies.iter().any(|copy| copy.node == node));
    let rule = Rule { archives: state.archives.clone(), ..rule.clone() };
    plan(&sites(state, after), state.segments.values().map(Arc::as_ref).filter(here), &rule)
}

fn sites(state: &State, after: Duration) -> Vec<Site> {
    let site = |candidate: Candidate| {
        let tier = state.tiers.get(&candidate.node).and_then(|reach| reach.tier());
        Site { gone: state.is_gone(candidate.node, after), tier, candidate }
    };
    candidates(state).into_iter().map(site).collect()
}

async fn carry_out(core: &Arc<Core>, step: Step) {
    let state = core.now().state;
    if core.leading().is_none() || !is_still_planned(&state, core.limits.repair_after, &step) {
        return;
    }
    let of = *step.case();
    let name = state.segments.get(&of.segment).map(|segment| segment.name.clone());
    let name = name.as_ref().map_or_else(|| of.segment.to_string(), ToString::to_string);
    match step {
        Step::Make { to, .. } => {
            // Whoever saved it may be about to make that copy.
            if still_pushed(core, &state, &of).await {
                return;
            }
            let (target, live, wanted) = (core.name_of(to), of.live, of.wanted);
            tracing::info!(%name, version = %of.version, %target, live, wanted, "a copy is made again");
            let errand = Errand::Fetch { segment: of.segment, version: of.version };
            if let Err(error) = core.send_on(to, errand).await {
                tracing::warn!(%name, version = %of.version, %target, %error, "a copy could not be made");
                core.crew.note_failure(&of, to, core.env.clock.now());
            }
        }
        Step::Retire { copy, node, .. } => match retire(core, &step, copy).await {
            Ok(true) => {
                tracing::info!(%name, version = %of.version, %copy, node = %core.name_of(node), "a copy is not needed");
            }
            // Reading through what stays costs something: not again at once.
            Ok(false) => core.crew.note_failure(&of, node, core.env.clock.now()),
            Err(error) => {
                tracing::debug!(%name, version = %of.version, %copy, %error, "a copy stays for now");
                core.crew.note_failure(&of, node, core.env.clock.now());
            }
        },
    }
}

async fn still_pushed(core: &Arc<Core>, state: &State, of: &Case) -> bool {
    let record = state.segments.get(&of.segment).and_then(|segment| segment.versions.get(&of.version));
    let Some(saver) = record.map(|record| record.owner).filter(|node| state.members.get(node).is_some_and(|m| m.up))
    else {
        return false;
    };
    if saver == core.me() {
        return core.pushed.is_held(of.segment, of.version);
    }
    let (segment, version) = (of.segment, of.version);
    let ask = |peer: rpc::PeerClient| async move { peer.is_pushed(rpc::context(), segment, version).await };
    // Who does not answer is down, or soon will be marked so.
    core.links.ask(saver, core.limits.handshake, ask).await.unwrap_or(false)
}

/// Whether the newest state asks for the same kind of step.
fn is_still_planned(state: &State, after: Duration, step: &Step) -> bool {
    let Some(segment) = state.segments.get(&step.case().segment) else { return false };
    let rule = Rule { most: usize::MAX, archives: state.archives.clone(), ..Rule::default() };
    let sites = sites(state, after);
    let steps = plan(&sites, [segment.as_ref()], &rule).steps;
    steps.iter().any(|now| match (now, step) {
        (Step::Make { of, .. }, Step::Make { of: then, to }) => {
            let Some(record) = segment.versions.get(&then.version) else { return false };
            let takes = |site: &Site| {
                let Candidate { node, up, draining, bytes, capacity, .. } = site.candidate;
                node == *to && up && !draining && bytes.saturating_add(record.size) <= capacity
            };
            let has_none = record.durable().all(|copy| copy.node != *to);
            of.version == then.version && has_none && sites.iter().any(takes)
        }
        // Whichever of them goes: that it is not the owner's is looked at once more when it is applied.
        (Step::Retire { of, .. }, Step::Retire { of: then, .. }) => of.version == then.version,
        _ => false,
    })
}

/// Has those verified that stay, and lets the copy go if enough of them are good (R8). Tells whether it went.
async fn retire(core: &Arc<Core>, step: &Step, copy: CopyId) -> Result<bool, Error> {
    let Step::Retire { of, stay, .. } = step else { return Ok(false) };
    let mut good = Vec::new();
    for (node, one) in stay {
        if core.send_on(*node, Errand::Verify { copy: *one }).await? == Report::Verified(Verdict::Good) {
            good.push(*one);
        }
    }
    // Reading may have taken hours.
    if good.len() < of.wanted || !is_still_planned(&core.now().state, core.limits.repair_after, step) {
        return Ok(false);
    }
    let command = Command::Retire { segment: of.segment, version: of.version, copy, stay: good };
    let deadline = core.env.clock.now() + core.limits.idle;
    Ok(core.propose(command, deadline).await?.is_ok())
}
