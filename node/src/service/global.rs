//! The global tier, for operators.

use std::time::Duration;

use cairn_client::api::{Error, GlobalStatus, TierNode};
use cairn_store::id::NodeId;
use cairn_store::meta::State;
use cairn_store::plan::archive::Plan;
use cairn_store::segment::CopyState;
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use super::Service;
use crate::core::Core;
use crate::raft::rpc;
use crate::work::archive::backlog;

/// How long a member may take to say what it has.
const PATIENCE: Duration = Duration::from_secs(2);
/// So many are asked at once.
const ASKED_AT_ONCE: usize = 32;
/// A version that waits for so long is told as something that is wrong.
const LATE: Duration = Duration::from_secs(600);

/// What a member says of its tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierWord {
    /// Where its store is; none if it has none.
    pub address: Option<String>,
    /// Why something failed that it did there last; none if nothing has since.
    pub failure: Option<String>,
}

impl Core {
    /// What this node says of its tier.
    pub fn tier_word(&self) -> TierWord {
        TierWord { address: self.tier.objects().map(|objects| objects.address()), failure: self.tier.last_failure() }
    }
}

impl Service {
    pub(super) async fn global_status(&self, wait: Duration) -> Result<GlobalStatus, Error> {
        let core = &self.core;
        let state = core.read(self.deadline(wait)).await?.state;
        let members: Vec<NodeId> = state.tiers.keys().copied().collect();
        let asked = members.into_iter().map(|node| async move {
            let ask = |peer: rpc::PeerClient| async move { peer.tier(rpc::context()).await };
            let said = if node == core.me() {
                Some(core.tier_word())
            } else {
                core.links.ask(node, PATIENCE, ask).await.ok()
            };
            (node, said)
        });
        let said: Vec<(NodeId, Option<TierWord>)> =
            futures::stream::iter(asked).buffered(ASKED_AT_ONCE).collect().await;
        let nodes = said.into_iter().filter_map(|(node, said)| {
            Some(TierNode {
                node: state.members.get(&node)?.profile.name.clone(),
                tier: state.tiers.get(&node).and_then(|reach| reach.tier()),
                address: said.as_ref().and_then(|said| said.address.clone()),
                failure: said.and_then(|said| said.failure),
            })
        });
        let nodes = nodes.collect();
        let (plan, has, oldest) = self.count_tier(&state).await?;
        let any = !state.tiers.is_empty();
        Ok(GlobalStatus {
            tier: state.tier(),
            archive: core.limits.archive,
            nodes,
            archived: has.objects,
            archived_bytes: has.bytes,
            lost: has.lost,
            waiting: if any { plan.waiting } else { 0 },
            waiting_bytes: if any { plan.bytes } else { 0 },
            oldest: oldest.filter(|_| any),
        })
    }

    /// What is wrong with the global tier, by what this node knows.
    pub(super) async fn tier_reasons(&self, state: &State) -> Vec<String> {
        let core = &self.core;
        if state.tiers.is_empty() {
            return Vec::new();
        }
        let mut reasons = Vec::new();
        for (node, reach) in &state.tiers {
            if reach.tier().is_none() {
                let own = core.tier.last_failure().filter(|_| *node == core.me());
                let why = own.map_or_else(String::new, |why| format!(": {why}"));
                reasons.push(format!("node {} does not reach the global tier{why}", core.name_of(*node)));
            } else if reach.tier() != state.tier() {
                reasons.push(format!("node {} reaches another global tier than most", core.name_of(*node)));
            }
        }
        let Ok((plan, has, oldest)) = self.count_tier(state).await else {
            return reasons;
        };
        if let Some(oldest) = oldest.filter(|oldest| *oldest >= LATE) {
            let age = humantime::format_duration(Duration::from_secs(oldest.as_secs()));
            let (count, bytes) = (plan.waiting, plan.bytes);
            reasons.push(format!("{count} versions ({bytes} bytes) wait for the global tier, the first for {age}"));
        }
        if has.lost > 0 {
            reasons.push(format!("{} objects of the global tier are damaged or missing", has.lost));
        }
        reasons
    }

    /// What waits for the tier, what the tier has, and for how long the first has waited.
    async fn count_tier(&self, state: &State) -> Result<(Plan, Has, Option<Duration>), Error> {
        let (rule, now, looked) = (self.core.archive_rule(state, false), self.core.env.clock.wall(), state.clone());
        let (plan, has) = self.blocking(move || (backlog(&looked, &rule), Has::of(&looked))).await?;
        let oldest = plan.oldest.map(|oldest| Duration::from_millis(now.0.saturating_sub(oldest.0)));
        Ok((plan, has, oldest))
    }
}

/// What the tier has.
#[derive(Clone, Copy, Debug, Default)]
struct Has {
    objects: u64,
    bytes: u64,
    lost: u64,
}

impl Has {
    fn of(state: &State) -> Self {
        let mut has = Self::default();
        for (id, archive) in &state.archives {
            for (version, object) in &archive.objects {
                let record = state.segments.get(id).and_then(|segment| segment.versions.get(version));
                if object.state != CopyState::Durable {
                    has.lost += 1;
                } else if object.published {
                    has.objects += 1;
                    has.bytes = has.bytes.saturating_add(record.map_or(0, |record| record.size));
                }
            }
        }
        has
    }
}
