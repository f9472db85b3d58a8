//! Puts versions into the global tier, as it falls to this node ([`cairn_store::plan::archive`]).

use std::sync::Arc;
use std::time::Duration;

use cairn_store::meta::State;
use cairn_store::node::Role;
use cairn_store::plan::archive::{Plan, Rule, Site, Step, plan};

use crate::core::Core;
use crate::env::PayloadLimits;
use crate::jobs::Meter;
use crate::tier::archive::archive;

/// The most steps of a plan.
const STEPS_MAX: usize = 256;
/// Planning takes no more than one part in so many of a node's time.
const PLAN_SHARE: u32 = 20;
/// And is done so often at least: other work may have kept it waiting.
const PLAN_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Runs until the node ends.
pub async fn archive_all(core: Arc<Core>) {
    if core.tier.objects().is_none() {
        return;
    }
    let mut planned = None;
    while !core.stop.is_set() {
        let view = core.now();
        // Nothing changes of what is to be done while nothing happens; what failed is tried again in time.
        let since = core.env.clock.now();
        let due = planned.is_none_or(|(revision, again)| revision != view.state.revision || since >= again);
        if due && core.tier.reached().is_ok() && !view.state.is_recovering() {
            let (state, rule) = (view.state.clone(), core.archive_rule(&view.state, true));
            let Ok(plan) = core.env.blocking(move || backlog(&state, &rule)).await else { return };
            let took = core.env.clock.now().saturating_sub(since);
            for step in &plan.steps {
                let Ok(turn) = core.tier.turns.clone().try_acquire_owned() else { break };
                begin(&core, *step, turn);
            }
            planned = Some((view.state.revision, core.env.clock.now() + AGAIN));
            core.env.clock.sleep((took * PLAN_SHARE).min(PLAN_PAUSE_MAX)).await;
        }
        core.env.timeout(core.limits.work, core.tier.ended.notified()).await;
    }
}

/// How soon it is planned anew though nothing has changed.
const AGAIN: Duration = Duration::from_secs(5);

fn begin(core: &Arc<Core>, step: Step, turn: tokio::sync::OwnedSemaphorePermit) {
    let Some(begun) = core.tier.begin(step.segment, step.version) else { return };
    let core = core.clone();
    core.clone().env.spawn(async move {
        let limits = core.limits.archive_payload();
        let ended = archive(&core, step.segment, step.version, limits, &Arc::new(Meter::default())).await;
        let now = core.env.clock.now();
        core.tier.note(step.segment, step.version, ended.as_ref().map(drop), now);
        if let Err(error) = ended {
            core.counts.archive_failures.inc();
            tracing::warn!(segment = %step.segment, version = %step.version, %error, "a version did not get into the global tier");
        }
        drop((turn, begun));
        core.tier.ended.notify_one();
    });
}

/// What waits for the tier, by a state. It looks at every segment: not where other tasks wait.
pub fn backlog(state: &State, rule: &Rule) -> Plan {
    let sites: Vec<Site> = state
        .members
        .values()
        .filter_map(|member| {
            let tier = state.tiers.get(&member.id)?.tier()?;
            let executor = member.profile.role == Role::Executor;
            (Some(tier) == rule.tier).then_some(Site { node: member.id, up: member.up, executor })
        })
        .collect();
    plan(&sites, state.segments.values().map(|segment| (segment.as_ref(), state.archive(segment.id))), rule)
}

impl Core {
    /// What a plan goes by; `mine` for this node's own turns.
    pub fn archive_rule(&self, state: &State, mine: bool) -> Rule {
        Rule {
            cluster: self.identity.cluster,
            tier: state.tier(),
            policy: self.limits.archive,
            me: Some(self.me()).filter(|_| mine),
            most: STEPS_MAX,
            busy: if mine { self.tier.busy(self.env.clock.now()) } else { Default::default() },
        }
    }
}

impl crate::core::Limits {
    /// Of one version on its way into the tier in the background: its share of what a node sends there.
    pub fn archive_payload(&self) -> PayloadLimits {
        let transfers = u64::try_from(self.archive_transfers).unwrap_or(u64::MAX).max(1);
        PayloadLimits { rate_max: (self.archive_rate / transfers).max(1), ..self.payload() }
    }
}
