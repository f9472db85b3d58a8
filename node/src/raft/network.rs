//! Raft's messages to other members. Each kind (log, heartbeat, snapshot) has a connection of its own, so that one
//! never waits behind another.

use std::sync::Arc;

use cairn_store::id::NodeId;
use cairn_store::meta::State;
use openraft::error::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, RPCTypes, v2::RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::{AnyError, OptionalSend, RaftNetworkFactory};
use tarpc::client::RpcError;

use super::machine::Snapshot;
use super::rpc::{PeerClient, Stopped, context};
use super::types::{Peer, Types, Vote};
use crate::data;
use crate::env::Env;
use crate::links::{LinkError, Links};

/// Makes connections for Raft.
pub struct Network {
    /// The seams.
    pub env: Env,
    /// Who dials.
    pub links: Arc<Links>,
    /// This node, for error messages.
    pub me: NodeId,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, node: &Peer) -> Link {
        Link {
            env: self.env.clone(),
            links: self.links.clone(),
            me: self.me,
            target: NodeId(target),
            node: node.clone(),
            client: None,
        }
    }
}

/// One connection, dialled at need.
pub struct Link {
    env: Env,
    links: Arc<Links>,
    me: NodeId,
    target: NodeId,
    node: Peer,
    client: Option<PeerClient>,
}

fn unreachable(error: &(impl std::error::Error + 'static)) -> RPCError<Types> {
    RPCError::Unreachable(Unreachable::new(error))
}

impl Link {
    async fn call<T, F>(
        &mut self,
        action: RPCTypes,
        option: &RPCOption,
        call: impl FnOnce(PeerClient) -> F,
    ) -> Result<T, RPCError<Types>>
    where
        F: Future<Output = Result<Result<T, Stopped>, RpcError>>,
    {
        let limit = option.hard_ttl();
        let work = async {
            let client = match &self.client {
                Some(client) => client.clone(),
                None => {
                    let dialled = self.links.open(self.target, Some(&self.node)).await;
                    self.client.insert(dialled.map_err(|e: LinkError| unreachable(&e))?).clone()
                }
            };
            match call(client).await {
                Ok(answer) => answer.map_err(|e| unreachable(&e)),
                Err(e) => {
                    self.client = None;
                    Err(RPCError::Network(NetworkError::new(&e)))
                }
            }
        };
        let env = self.env.clone();
        let (id, target) = (self.me.0, self.target.0);
        match env.timeout(limit, work).await {
            Some(answer) => answer,
            None => {
                // A silent connection is not trusted again.
                self.client = None;
                Err(RPCError::Timeout(Timeout { action, id, target, timeout: limit }))
            }
        }
    }
}

impl RaftNetworkV2<Types> for Link {
    type SnapshotData = State;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let call = |client: PeerClient| async move { client.append(context(), request).await };
        self.call(RPCTypes::AppendEntries, &option, call).await
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let call = |client: PeerClient| async move { client.vote(context(), request).await };
        self.call(RPCTypes::Vote, &option, call).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let call = |client: PeerClient| async move { client.pre_vote(context(), request).await };
        self.call(RPCTypes::Vote, &option, call).await
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let call = |client: PeerClient| async move { client.transfer(context(), request).await };
        self.call(RPCTypes::TransferLeader, &option, call).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let work = async {
            let stream = self
                .links
                .dial(self.target, crate::links::Port::Data, Some(&self.node))
                .await
                .map_err(|e| StreamingError::Unreachable(Unreachable::new(&e)))?;
            data::snapshot::send(&self.env, stream, vote, snapshot, option.hard_ttl())
                .await
                .map_err(|e| StreamingError::Network(NetworkError::new(&AnyError::error(e))))
        };
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = work => sent,
        }
    }
}
