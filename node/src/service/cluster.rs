//! Members and health.

use std::collections::BTreeMap;
use std::time::Duration;

use cairn_client::api::{ClusterStatus, Code, Error, Health, JoinRequest, Joined, NodeInfo, NodeState};
use cairn_store::id::NodeId;
use cairn_store::meta::{Command, Outcome, Rejection, State};
use cairn_store::node::Member;
use cairn_store::segment::CopyState;

use openraft::async_runtime::WatchReceiver;

use super::Service;
use super::answer::unexpected;
use crate::raft::{View, rpc};

/// How long a health check waits for the leader's word.
const HEALTH_PATIENCE: Duration = Duration::from_secs(2);

impl Service {
    pub(super) async fn list_nodes(&self, wait: Duration) -> Result<Vec<NodeInfo>, Error> {
        let view = self.core.read(self.deadline(wait)).await?;
        let (leader, heard) = (self.core.leader(), self.heard().await.unwrap_or_default());
        let voters = voters(&view);
        let info = |m: &std::sync::Arc<Member>| {
            let usage = view.state.usage_of(m.id);
            NodeInfo {
                id: m.id,
                name: m.profile.name.clone(),
                role: m.profile.role,
                zone: m.profile.zone.clone(),
                state: state_of(m),
                voter: voters.contains(&m.id),
                leader: leader == Some(m.id),
                endpoint: m.profile.rpc.clone(),
                data_endpoint: m.profile.data.clone(),
                copies: usage.copies,
                bytes: usage.bytes,
                capacity: m.profile.capacity,
                last_seen_ms: if leader == Some(m.id) { Some(0) } else { heard.get(&m.id).copied() },
            }
        };
        Ok(view.state.members.values().map(info).collect())
    }

    pub(super) async fn cluster_status(&self, wait: Duration) -> Result<ClusterStatus, Error> {
        let view = self.core.read(self.deadline(wait)).await?;
        let state = &view.state;
        let Some(cluster) = state.cluster else {
            return Err(Error::unavailable("the cluster is not founded yet"));
        };
        let leader = self.core.leader().and_then(|id| state.members.get(&id));
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let looked = state.clone();
        let thin = move || looked.segments.values().filter(|segment| looked.under_replicated(segment)).count();
        let thin = self.blocking(thin).await?;
        Ok(ClusterStatus {
            cluster,
            leader: leader.map(|m| m.profile.name.clone()),
            term: self.core.metrics.borrow_watched().current_term,
            nodes: count(state.members.len()),
            voters: count(voters(&view).len()),
            segments: count(state.segments.len()),
            bytes: state.usage.values().map(|usage| usage.bytes).sum(),
            under_replicated: count(thin),
            quorum_margin: quorum_margin(&view),
        })
    }

    /// What is wrong with the cluster, as this node sees it.
    pub async fn cluster_health(&self) -> Health {
        let core = &self.core;
        let mut reasons = Vec::new();
        let deadline = core.env.clock.now() + HEALTH_PATIENCE;
        let view = match core.read(deadline).await {
            Ok(view) => view,
            Err(e) => {
                reasons.push(format!("no leader with a quorum: {}", e.message));
                core.now()
            }
        };
        let state = &view.state;
        for member in state.members.values() {
            let name = &member.profile.name;
            if !member.up {
                reasons.push(format!("node {name} is down"));
            }
            let used = state.usage_of(member.id).bytes;
            if used.saturating_mul(100) >= member.profile.capacity.saturating_mul(FULL_PERCENT) {
                reasons.push(format!("node {name} is full: {used} of {} bytes", member.profile.capacity));
            }
        }
        if state.is_recovering() {
            reasons.push(RECOVERING.into());
        }
        // Each is asked now: what was true a moment ago may not be so any more. Who is down was told.
        let asked = state.members.values().filter(|member| member.up || member.id == core.me()).map(|m| m.id);
        for (node, room) in core.with_room(asked).await {
            if !room {
                reasons.push(format!("the disk of node {} is below its reserve", core.name_of(node)));
            }
        }
        reasons.extend(self.tier_reasons(state).await);
        let state = view.state.clone();
        match self.blocking(move || segment_reasons(&state)).await {
            Ok(found) => reasons.extend(found),
            Err(error) => reasons.push(error.message),
        }
        Health { reasons }
    }

    pub(super) async fn join_node(&self, request: JoinRequest) -> Result<Joined, Error> {
        let command = Command::Join { incarnation: request.incarnation, profile: request.profile };
        match self.core.propose(command, self.deadline(request.wait)).await? {
            Ok(Outcome::Joined { node, cluster }) => Ok(Joined { id: node, cluster }),
            Ok(other) => Err(unexpected(&other)),
            // The first node is still at it.
            Err(Rejection::NotFounded) => Err(Error::unavailable(Rejection::NotFounded.to_string())),
            Err(rejection) => Err(Error::new(Code::Conflict, rejection.to_string())
                .hint("give the node another node.name; see `cairn node ls`")),
        }
    }

    /// How long ago the leader heard each member, in milliseconds.
    pub(super) async fn heard(&self) -> Option<BTreeMap<NodeId, u64>> {
        let core = &self.core;
        let leader = core.leader()?;
        if leader == core.me() {
            return core.heard_here().ok().map(|heard| heard.into_iter().collect());
        }
        let ask = |peer: rpc::PeerClient| async move { peer.heard(rpc::context()).await };
        let heard = core.links.ask(leader, HEALTH_PATIENCE, ask).await.ok()?.ok()?;
        Some(heard.into_iter().collect())
    }
}

/// What is said of a cluster that began with a backup.
const RECOVERING: &str = "the cluster recovers: nothing is repaired or deleted until `cairn cluster recovery --end` (see `cairn cluster recovery`)";

/// From here on a node counts as full.
const FULL_PERCENT: u64 = 95;

fn state_of(member: &Member) -> NodeState {
    match (member.up, member.draining) {
        (false, _) => NodeState::Down,
        (true, true) => NodeState::Draining,
        (true, false) => NodeState::Up,
    }
}

/// Who votes.
pub(super) fn voters(view: &View) -> std::collections::BTreeSet<NodeId> {
    view.membership.voter_ids().map(NodeId).collect()
}

/// How many more voters may be lost.
fn quorum_margin(view: &View) -> i64 {
    let voters = voters(view);
    let up = voters.iter().filter(|id| view.state.members.get(*id).is_some_and(|m| m.up)).count();
    let signed = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    signed(up) - signed(voters.len() / 2 + 1)
}

/// So many segments or copies are named in a reason; the rest are counted.
const NAMED_MAX: usize = 3;

/// Where good copies are left of a version that lacks some.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    /// On nodes.
    Some,
    /// Only in the global tier.
    Tier,
    Nothing,
}

fn segment_reasons(state: &State) -> Vec<String> {
    // Not of the newest ones alone: an older one may be pinned.
    let versions =
        || state.segments.values().flat_map(|s| s.versions.iter().map(move |(v, record)| (&**s, v, &**record)));
    let lacking = |left: Left| {
        let some = versions().filter(move |(segment, version, record)| {
            let found = match record.durable().next() {
                Some(_) => Left::Some,
                None if state.is_archived(segment.id, **version) => Left::Tier,
                None => Left::Nothing,
            };
            found == left && state.missing_copies(segment, record) > 0
        });
        some.map(|(segment, version, _)| format!("version {version} of {}", segment.name))
    };
    let spoilt = |wanted: CopyState| {
        let copies = versions().flat_map(|(s, v, record)| record.copies.iter().map(move |copy| (s, v, copy)));
        copies.filter(move |(_, _, copy)| copy.state == wanted).map(|(segment, version, copy)| {
            let node =
                state.members.get(&copy.node).map_or_else(|| copy.node.to_string(), |m| m.profile.name.to_string());
            format!("version {version} of {} on {node}", segment.name)
        })
    };
    let told = [
        reason("under-replicated, and no good copy is left", lacking(Left::Nothing)),
        reason("under-replicated, and only the global tier has a good copy", lacking(Left::Tier)),
        reason("under-replicated", lacking(Left::Some)),
        reason("corrupt", spoilt(CopyState::Corrupt)),
        reason("missing", spoilt(CopyState::Missing)),
    ];
    told.into_iter().flatten().collect()
}

/// What is the matter with these, in words; none if there are none.
pub(super) fn reason(what: &str, mut found: impl Iterator<Item = String>) -> Option<String> {
    let mut named: Vec<String> = found.by_ref().take(NAMED_MAX).collect();
    match found.count() {
        0 => {}
        more => named.push(format!("{more} more")),
    }
    (!named.is_empty()).then(|| format!("{what}: {}", named.join(", ")))
}
