//! Commands on their way to the leader, and linearizable reads.
//!
//! Both may be asked of any node, find the leader, and try again until their time is over: after an election a
//! leader answers "nobody leads" until a quorum acknowledged it. A command may be sent twice; the state machine makes
//! that harmless (R6).

use std::collections::BTreeMap;
use std::time::Duration;

use bincode::Options;
use cairn_client::api::{Code, Error};
use cairn_store::crash_point;
use cairn_store::digest::Digest;
use cairn_store::id::{NodeId, SegmentId};
use cairn_store::meta::{Command, Entry, Rejection, Reply, Stamp};
use cairn_store::record::bincode_options;
use cairn_store::segment::{Receipt, Version};
use openraft::async_runtime::WatchReceiver;
use openraft::error::{ClientWriteError, LinearizableReadError, RaftError};
use openraft::type_config::alias::{InstantOf, SerdeInstantOf};
use openraft::{Instant, ReadPolicy};
use tarpc::client::RpcError;

use super::rpc::{Decided, NotNow, PeerClient, context};
use super::types::{AppEntry, LogId};
use super::{Types, View};
use crate::core::Core;
use crate::links::AskError;

/// The pause before trying again; the nodes that ask draw within it.
const PAUSE: Duration = Duration::from_millis(60);
/// How long one try may take before another leader is looked for.
const TRY_MAX: Duration = Duration::from_secs(5);

/// How long a leader without room may take to hand over to another one, before it is believed that it cannot.
const HANDOVER_PATIENCE: Duration = Duration::from_secs(4);

/// How long a confirmation is tried.
const CONFIRM_PATIENCE: Duration = Duration::from_secs(30);
/// The largest command, in bytes as encoded: it goes into every member's log, and into memory.
const COMMAND_BYTES_MAX: u64 = 64 << 10;
/// The same of segments that are taken over: one can have as many versions as any may keep.
const READMIT_BYTES_MAX: u64 = 256 << 10;

impl Core {
    /// Has the cluster apply a command, until `deadline` (of the env's clock).
    ///
    /// # Errors
    /// Unavailable, with the outcome unknown if it may have been appended.
    pub async fn propose(&self, command: Command, deadline: Duration) -> Result<Reply, Error> {
        Ok(self.decide(command, deadline).await?.reply)
    }

    /// The same, and waits until it is applied here too: what this node is asked next, it knows.
    ///
    /// # Errors
    /// As of [`Core::propose`].
    pub async fn propose_and_see(&self, command: Command, deadline: Duration) -> Result<Reply, Error> {
        let Decided { reply, at } = self.decide(command, deadline).await?;
        // It is decided, whether or not this node sees it in time.
        let _ = self.applied(Some(at), deadline).await;
        Ok(reply)
    }

    /// Finds the leader, and asks until it answers.
    async fn decide(&self, command: Command, deadline: Duration) -> Result<Decided, Error> {
        let size = bincode_options().serialized_size(&command).unwrap_or(u64::MAX);
        let most = if matches!(command, Command::Readmit { .. } | Command::Refile { .. }) {
            READMIT_BYTES_MAX
        } else {
            COMMAND_BYTES_MAX
        };
        if size > most {
            let message = format!("the request takes {size} bytes, more than the {most} that any may");
            return Err(Error::new(Code::Invalid, message).hint("give fewer or shorter labels"));
        }
        let (mut unsure, mut full_until) = (false, None);
        loop {
            let left = deadline.saturating_sub(self.env.clock.now());
            let Some(leader) = self.leader() else {
                self.pause_or_give_up(deadline, "no leader is known", unsure).await?;
                continue;
            };
            let why = match self.propose_at(leader, command.clone(), left.min(TRY_MAX)).await {
                Ok(decided) => return Ok(decided),
                Err(NotNow::Full) => {
                    let now = self.env.clock.now();
                    let until = *full_until.get_or_insert(now + HANDOVER_PATIENCE);
                    if now < until.min(deadline) && !self.stop.is_set() {
                        self.env.clock.sleep(PAUSE).await;
                        continue;
                    }
                    let error = Error::new(
                        Code::Unavailable,
                        "the leader's disk is nearly full: it takes no new entries, and no voter with room took its place",
                    );
                    let error = error.hint("free space on the leader, or remove segments with `cairn rm`");
                    return Err(if unsure { error.unknown() } else { error });
                }
                Err(NotNow::NotLeader(_)) => "the leader is changing",
                Err(NotNow::Unsure) => {
                    unsure = true;
                    "no quorum answered in time"
                }
            };
            self.pause_or_give_up(deadline, why, unsure).await?;
        }
    }

    /// Tells the cluster of a new durable copy, if it can be told within a while: not for certain. A refusal leaves a stray,
    /// which is collected.
    ///
    /// # Errors
    /// The refusal; a receipt that ran out on the way can be renewed.
    pub async fn confirm(
        &self,
        segment: SegmentId,
        version: Version,
        digest: Digest,
        receipt: Receipt,
    ) -> Result<(), Rejection> {
        let command = Command::Confirm { segment, version, digest, receipt };
        match self.propose(command, self.env.clock.now() + CONFIRM_PATIENCE).await {
            Ok(Ok(_)) => {}
            Ok(Err(rejection)) => {
                tracing::info!(copy = %receipt.copy, %rejection, "a copy was not taken as a holder's");
                return Err(rejection);
            }
            Err(error) => tracing::warn!(copy = %receipt.copy, %error, "a copy could not be confirmed"),
        }
        Ok(())
    }

    /// Everything that was committed before this call, applied here.
    pub async fn read(&self, deadline: Duration) -> Result<View, Error> {
        loop {
            let index = self.read_index(deadline).await?;
            if let Some(view) = self.applied(index, deadline).await {
                return Ok(view);
            }
            self.pause_or_give_up(deadline, "no leader with a quorum answered in time", false).await?;
        }
    }

    /// The last entry that was committed before this call, by the word of a leader with a quorum.
    pub async fn read_index(&self, deadline: Duration) -> Result<Option<LogId>, Error> {
        loop {
            let left = deadline.saturating_sub(self.env.clock.now());
            let index = match self.leader() {
                Some(leader) => self.read_index_at(leader, left.min(TRY_MAX)).await,
                None => Err(NotNow::NotLeader(None)),
            };
            if let Ok(index) = index {
                return Ok(index);
            }
            self.pause_or_give_up(deadline, "no leader with a quorum answered in time", false).await?;
        }
    }

    /// Waits until an entry is applied here; none if it is not in time.
    pub async fn applied(&self, index: Option<LogId>, deadline: Duration) -> Option<View> {
        let mut view = self.view.clone();
        let applied = view.wait_for(|view| view.applied >= index);
        let left = deadline.saturating_sub(self.env.clock.now());
        let view = self.env.timeout(left, applied).await?.ok()?;
        Some(view.clone())
    }

    /// The leader, as far as this node knows.
    pub fn leader(&self) -> Option<NodeId> {
        self.metrics.borrow_watched().current_leader.map(NodeId)
    }

    /// Whether this node leads, and since which term.
    pub fn leading(&self) -> Option<u64> {
        let metrics = self.metrics.borrow_watched();
        (metrics.current_leader == Some(self.me().0)).then_some(metrics.current_term)
    }

    async fn propose_at(&self, leader: NodeId, command: Command, limit: Duration) -> Result<Decided, NotNow> {
        let sent = command.clone();
        let there = |peer: PeerClient| async move { peer.propose(context(), sent).await };
        self.here_or_there(leader, limit, || self.propose_here(command), there).await
    }

    async fn here_or_there<T, H, F>(
        &self,
        leader: NodeId,
        limit: Duration,
        here: impl FnOnce() -> H,
        there: impl FnOnce(PeerClient) -> F,
    ) -> Result<T, NotNow>
    where
        H: Future<Output = Result<T, NotNow>>,
        F: Future<Output = Result<Result<T, NotNow>, RpcError>>,
    {
        if leader == self.me() {
            return self.env.timeout(limit, here()).await.unwrap_or(Err(NotNow::Unsure));
        }
        match self.links.ask(leader, limit, there).await {
            Ok(answer) => answer,
            Err(AskError::Link(_)) => Err(NotNow::NotLeader(None)),
            Err(_) => Err(NotNow::Unsure),
        }
    }

    /// Appends a command to this node's own log, if it leads.
    pub async fn propose_here(&self, command: Command) -> Result<Decided, NotNow> {
        let Some(term) = self.leading() else {
            return Err(NotNow::NotLeader(self.leader()));
        };
        if takes_space(&command) && self.nearly_full() {
            return Err(NotNow::Full);
        }
        let clock = self.view.borrow().clock(term, self.env.clock.now());
        let entry = Entry { stamp: Stamp { clock, term }, at: self.env.clock.wall(), command };
        crash_point!("commit.begin");
        let written = self.raft.client_write(AppEntry(entry)).await;
        crash_point!("commit.done");
        match written {
            Ok(done) => Ok(Decided { reply: done.data.0.ok_or(NotNow::Unsure)?, at: done.log_id }),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to))) => {
                Err(NotNow::NotLeader(to.leader_id.map(NodeId)))
            }
            Err(_) => Err(NotNow::Unsure),
        }
    }

    async fn read_index_at(&self, leader: NodeId, limit: Duration) -> Result<Option<LogId>, NotNow> {
        let there = |peer: PeerClient| async move { peer.read_index(context()).await };
        self.here_or_there(leader, limit, || self.read_index_here(), there).await
    }

    /// The entry that a linearizable read must have applied, if this node leads with a quorum (ReadIndex).
    pub async fn read_index_here(&self) -> Result<Option<LogId>, NotNow> {
        match self.raft.get_read_log_id(ReadPolicy::ReadIndex).await {
            Ok((index, _)) => Ok(Some(*index.log_id())),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to))) => {
                Err(NotNow::NotLeader(to.leader_id.map(NodeId)))
            }
            Err(_) => Err(NotNow::Unsure),
        }
    }

    /// How long ago this node, if it leads, heard each member, in milliseconds.
    pub fn heard_here(&self) -> Result<Vec<(NodeId, u64)>, NotNow> {
        let silent = self.silence().ok_or_else(|| NotNow::NotLeader(self.leader()))?;
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Ok(silent.into_iter().filter_map(|(node, span)| Some((node, millis(span?)))).collect())
    }

    /// For how long each member has been silent, if this node leads; `None` for one that it never heard.
    pub fn silence(&self) -> Option<BTreeMap<NodeId, Option<Duration>>> {
        let metrics = self.metrics.borrow_watched();
        let now = InstantOf::<Types>::now();
        let since = |at: &SerdeInstantOf<Types>| now.saturating_duration_since(**at);
        let heartbeat = metrics.heartbeat.as_ref()?;
        Some(heartbeat.iter().map(|(node, at)| (NodeId(*node), at.as_ref().map(since))).collect())
    }

    async fn pause_or_give_up(&self, deadline: Duration, why: &str, unsure: bool) -> Result<(), Error> {
        let now = self.env.clock.now();
        if self.stop.is_set() || now >= deadline {
            let error = Error::unavailable(format!("the cluster cannot decide: {why}"))
                .hint("see `cairn cluster health`; a majority of the voters must be up");
            return Err(if unsure { error.unknown() } else { error });
        }
        let drawn = PAUSE / 2 + PAUSE.mul_f64(self.env.rng.next() as f64 / u64::MAX as f64);
        self.env.clock.sleep(drawn.min(deadline.saturating_sub(now))).await;
        Ok(())
    }
}

/// Whether a command may be refused for lack of space (R17): all but what frees it, or keeps order.
fn takes_space(command: &Command) -> bool {
    match command {
        Command::Register { .. }
        | Command::Commit { .. }
        | Command::Save { .. }
        | Command::Deposited { .. }
        | Command::Refile { .. }
        | Command::Confirm { .. }
        | Command::Claim { .. }
        | Command::Lease { .. }
        | Command::Restore { .. }
        | Command::Readmit { .. }
        | Command::Pin { .. } => true,
        Command::Unregister { .. }
        | Command::Unpin { .. }
        | Command::Tick
        | Command::Join { .. }
        | Command::Found { .. }
        | Command::Describe { .. }
        | Command::Mark { .. }
        | Command::Drain { .. }
        | Command::Lose { .. }
        | Command::Retire { .. }
        | Command::Disown { .. }
        | Command::Abandon { .. }
        | Command::Remove { .. }
        | Command::Restored { .. }
        | Command::Resume
        | Command::Reach { .. }
        | Command::LoseObject { .. }
        | Command::Renew { .. }
        | Command::Lapse { .. }
        | Command::Release { .. }
        | Command::Expire { .. } => false,
    }
}
