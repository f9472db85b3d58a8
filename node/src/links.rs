//! Connections to other members: dialled, greeted, and kept.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cairn_client::codec;
use cairn_client::wire::{self, Greeting, Refusal, RefusalCode, Welcome, WireError};
use cairn_store::id::{Incarnation, NodeId};
use tarpc::client::RpcError;
use tokio::sync::watch;

use crate::env::{Env, Stream};
use crate::identity::Identity;
use crate::raft::View;
use crate::raft::rpc::PeerClient;
use crate::raft::types::Peer;

/// Why a member was not reached.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Its address is not known here.
    #[error("it is not known here")]
    Unknown(NodeId),
    /// No answer in time.
    #[error("it did not answer in time")]
    Timeout(NodeId),
    /// No connection.
    #[error("it cannot be reached: {1}")]
    Io(NodeId, io::Error),
    /// What came back makes no sense.
    #[error("{1}")]
    Wire(NodeId, WireError),
    /// It does not want us.
    #[error("it refuses: {1}")]
    Refused(NodeId, Refusal),
}

/// Why a member's answer did not come.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It was not reached: nothing was asked.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The connection broke before the answer.
    #[error("the connection broke: {1}")]
    Broken(NodeId, RpcError),
    /// No answer in time.
    #[error("it did not answer in time")]
    Silent(NodeId),
}

/// Which port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// The service's.
    Rpc,
    /// The data plane's.
    Data,
}

/// Connections to other members.
pub struct Links {
    env: Env,
    identity: Identity,
    handshake: Duration,
    view: watch::Receiver<View>,
    kept: Mutex<BTreeMap<NodeId, PeerClient>>,
    /// A member said that this node is none any more, and that Raft does not count on it either.
    removed: AtomicBool,
}

impl Links {
    /// No connections yet.
    pub fn new(env: Env, identity: Identity, handshake: Duration, view: watch::Receiver<View>) -> Arc<Self> {
        Arc::new(Self { env, identity, handshake, view, kept: Mutex::default(), removed: AtomicBool::default() })
    }

    /// Asks a member on its kept connection.
    ///
    /// A connection that broke, or was silent for `limit`, is not used again: after a partition TCP may take a quarter
    /// of an hour to notice.
    pub async fn ask<T, F>(
        &self,
        to: NodeId,
        limit: Duration,
        ask: impl FnOnce(PeerClient) -> F,
    ) -> Result<T, AskError>
    where
        F: Future<Output = Result<T, RpcError>>,
    {
        let peer = self.peer(to).await?;
        let failed = match self.env.timeout(limit, ask(peer)).await {
            Some(Ok(answer)) => return Ok(answer),
            Some(Err(e)) => AskError::Broken(to, e),
            None => AskError::Silent(to),
        };
        self.lock().remove(&to);
        Err(failed)
    }

    /// A member's connection for short messages: the kept one, or a new one.
    async fn peer(&self, to: NodeId) -> Result<PeerClient, LinkError> {
        if let Some(client) = self.lock().get(&to) {
            return Ok(client.clone());
        }
        // Rare and large: not within the future of everything that is asked.
        let client = Box::pin(self.open(to, None)).await?;
        self.lock().insert(to, client.clone());
        Ok(client)
    }

    /// A new connection for messages of one kind. `known` is what Raft's membership says, before any state is here.
    pub async fn open(&self, to: NodeId, known: Option<&Peer>) -> Result<PeerClient, LinkError> {
        let stream = self.dial(to, Port::Rpc, known).await?;
        let new = PeerClient::new(tarpc::client::Config::default(), codec::transport(stream));
        let dispatch = new.dispatch;
        self.env.spawn(async move {
            // Its end is seen by whoever waits for an answer.
            let _ = dispatch.await;
        });
        Ok(new.client)
    }

    /// A greeted connection.
    pub async fn dial(&self, to: NodeId, port: Port, known: Option<&Peer>) -> Result<Box<dyn Stream>, LinkError> {
        let (address, incarnation) = self.address(to, port, known).ok_or(LinkError::Unknown(to))?;
        let greeted = async {
            let mut stream = self.env.net.dial(&address).await.map_err(|e| LinkError::Io(to, e))?;
            let greeting = Greeting::Node {
                cluster: self.identity.cluster,
                from: (self.identity.node, self.identity.incarnation),
                to: (to, incarnation),
            };
            wire::send(&mut stream, &greeting).await.map_err(|e| LinkError::Wire(to, e))?;
            let Welcome(welcome) = wire::receive(&mut stream).await.map_err(|e| LinkError::Wire(to, e))?;
            welcome.map_err(|e| {
                if e.code == RefusalCode::Removed {
                    self.removed.store(true, Ordering::Relaxed);
                }
                LinkError::Refused(to, e)
            })?;
            Ok(stream)
        };
        self.env.timeout(self.handshake, greeted).await.unwrap_or(Err(LinkError::Timeout(to)))
    }

    /// Whether a member said that this node was removed from the cluster.
    pub fn was_removed(&self) -> bool {
        self.removed.load(Ordering::Relaxed)
    }

    fn address(&self, to: NodeId, port: Port, known: Option<&Peer>) -> Option<(String, Incarnation)> {
        if let Some(member) = self.view.borrow().state.members.get(&to) {
            let address = match port {
                Port::Rpc => &member.profile.rpc,
                Port::Data => &member.profile.data,
            };
            return Some((address.clone(), member.incarnation));
        }
        let peer = known?;
        let address = match port {
            Port::Rpc => &peer.rpc,
            Port::Data => &peer.data,
        };
        Some((address.clone(), peer.incarnation?))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<NodeId, PeerClient>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
