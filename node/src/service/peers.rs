//! Which members this node reaches itself.

use std::time::Duration;

use cairn_client::api::PeerInfo;
use cairn_store::id::NodeId;

use super::Service;
use crate::raft::rpc;

/// How long all members together may take.
const PEERS_PATIENCE: Duration = Duration::from_secs(2);
/// So many are asked at once; each costs a connection.
const PEERS_AT_ONCE: usize = 256;

impl Service {
    /// Asks every member that this node knows: no quorum is needed.
    pub(super) async fn reach_peers(&self, wait: Duration) -> Vec<PeerInfo> {
        let members: Vec<_> = self.core.now().state.members.values().cloned().collect();
        let rounds = members.len().div_ceil(PEERS_AT_ONCE).max(1);
        let patience = wait.min(PEERS_PATIENCE) / u32::try_from(rounds).unwrap_or(u32::MAX);
        let mut peers = Vec::new();
        for some in members.chunks(PEERS_AT_ONCE) {
            let asked = some.iter().map(|member| self.round_trip(member.id, patience));
            let answers = futures::future::join_all(asked).await;
            peers.extend(some.iter().zip(answers).map(|(member, round_trip)| PeerInfo {
                node: member.profile.name.clone(),
                endpoint: member.profile.rpc.clone(),
                round_trip,
            }));
        }
        peers
    }

    /// On a connection of its own: a kept one may be broken, and prove nothing of the member's port.
    async fn round_trip(&self, to: NodeId, patience: Duration) -> Option<Duration> {
        let core = &self.core;
        if to == core.me() {
            return Some(Duration::ZERO);
        }
        let asked = async {
            let peer = core.links.open(to, None).await.ok()?;
            let start = core.env.clock.now();
            peer.ping(rpc::context()).await.ok()?;
            Some(core.env.clock.now().saturating_sub(start))
        };
        core.env.timeout(patience, asked).await.flatten()
    }
}
