//! What is being done, and is to be done, so that every version has its copies.

use std::collections::BTreeSet;
use std::time::Duration;

use cairn_client::api::{Error, REPAIRS_MAX, Repair, RepairKind, RepairState, Repairs};
use cairn_store::id::SegmentId;
use cairn_store::meta::State;
use cairn_store::node::NodeName;
use cairn_store::plan::repair::{Case, Plan, Rule, Step, Why};
use cairn_store::segment::Version;

use super::Service;
use crate::raft::rpc;
use crate::work::repair::survey;

/// How long the leader may take to tell what it is at.
const PATIENCE: Duration = Duration::from_secs(2);

impl Service {
    pub(super) async fn list_repairs(&self, wait: Duration) -> Result<Repairs, Error> {
        let core = &self.core;
        let state = core.read(self.deadline(wait)).await?.state;
        // Without the leader's word nothing is taken for running.
        let running = self.running().await.unwrap_or_default();
        let after = core.limits.repair_after;
        let told = self.blocking(move || {
            let rule = Rule { most: REPAIRS_MAX, ..Rule::default() };
            tell(&state, &survey(&state, after, &rule), &running)
        });
        told.await
    }

    async fn running(&self) -> Option<BTreeSet<(SegmentId, Version)>> {
        let core = &self.core;
        let leader = core.leader()?;
        if leader == core.me() {
            return Some(core.crew.at_work().into_iter().collect());
        }
        let ask = |peer: rpc::PeerClient| async move { peer.repairing(rpc::context()).await };
        Some(core.links.ask(leader, PATIENCE, ask).await.ok()?.into_iter().collect())
    }
}

fn tell(state: &State, plan: &Plan, running: &BTreeSet<(SegmentId, Version)>) -> Repairs {
    let node = |id| state.members.get(&id).map(|member| member.profile.name.clone());
    let steps = plan.steps.iter().filter_map(|step| {
        let of = step.case();
        let (kind, at) = match step {
            Step::Make { to, .. } => (RepairKind::Copy, *to),
            Step::Retire { node, .. } => (RepairKind::Retire, *node),
        };
        let at_work = running.contains(&(of.segment, of.version));
        let how = if at_work { RepairState::Running } else { RepairState::Planned };
        repair(state, of, kind, how, node(at), None)
    });
    let stuck = plan.stuck.iter().filter_map(|stuck| {
        repair(state, &stuck.of, RepairKind::Copy, RepairState::Stuck, None, Some(why(stuck.why).into()))
    });
    Repairs { repairs: steps.chain(stuck).collect(), lacking: plan.lacking, bytes: plan.bytes }
}

/// Why nothing can be done, in words.
pub(super) fn why(why: Why) -> &'static str {
    match why {
        Why::NoSource => "no node that is up has a good copy",
        Why::NoTarget => "no other node is up, stays and has room for it",
    }
}

fn repair(
    state: &State,
    of: &Case,
    kind: RepairKind,
    how: RepairState,
    node: Option<NodeName>,
    why: Option<String>,
) -> Option<Repair> {
    let name = state.segments.get(&of.segment)?.name.clone();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let (live, wanted) = (count(of.live), count(of.wanted));
    Some(Repair { name, version: of.version, kind, state: how, node, size: of.size, live, wanted, why })
}
