//! The tarpc service between members: Raft's messages, and what only a leader or a holder can do.

use cairn_client::api::{Adopted, LoadRequest, Loaded, Progress};
pub use cairn_client::codec::context;
use cairn_store::id::{CopyId, NodeId, RequestId, SegmentId};
use cairn_store::meta::{Command, Reply};
use cairn_store::segment::Version;
use cairn_store::time::LogTime;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, TransferLeaderResponse, VoteRequest,
    VoteResponse,
};
use serde::{Deserialize, Serialize};
use tarpc::context::Context;

use super::machine::FORGOTTEN;
use super::types::{LogId, Types};
use crate::core::Core;
use crate::errand::{Errand, Report};
use crate::service::Service;
use crate::service::global::TierWord;
use crate::storage::Renewal;

/// Raft stopped on the other side: its node is going down.
#[derive(Clone, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("raft has stopped there: {0}")]
pub struct Stopped(pub String);

/// Why a node that was taken for the leader did not do it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum NotNow {
    /// It does not lead. Nothing was appended.
    NotLeader(Option<NodeId>),
    /// It lost the lead, or its quorum. The command may have been appended.
    Unsure,
    /// It refuses what takes disk space (R17).
    Full,
}

/// What became of a command, and where in the log it stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Decided {
    /// The state machine's answer.
    pub reply: Reply,
    /// Its entry.
    pub at: LogId,
}

/// What members ask each other.
#[tarpc::service]
pub trait Peer {
    /// Raft.
    async fn append(request: AppendEntriesRequest<Types>) -> Result<AppendEntriesResponse<Types>, Stopped>;
    /// Raft.
    async fn vote(request: VoteRequest<Types>) -> Result<VoteResponse<Types>, Stopped>;
    /// Raft.
    async fn pre_vote(request: VoteRequest<Types>) -> Result<VoteResponse<Types>, Stopped>;
    /// Raft.
    async fn transfer(request: TransferLeaderRequest<Types>) -> Result<TransferLeaderResponse<Types>, Stopped>;
    /// To the leader: appends a command, and answers once it is applied there.
    async fn propose(command: Command) -> Result<Decided, NotNow>;
    /// To the leader: the entry that a linearizable read must have applied.
    async fn read_index() -> Result<Option<LogId>, NotNow>;
    /// To the leader: how long ago it heard each member, in milliseconds.
    async fn heard() -> Result<Vec<(NodeId, u64)>, NotNow>;
    /// To a holder: a loader found bytes of this copy that do not match, or found none. Look yourself.
    async fn suspect(copy: CopyId);
    /// To a holder: a new word for a copy that is not referred to yet.
    async fn renew(copy: CopyId, time: LogTime) -> Renewal;
    /// To any node: a load there, for an application or a controller that asked elsewhere.
    async fn load(request: LoadRequest) -> Result<Progress<Loaded>, cairn_client::api::Error>;
    /// To any node: answers at once.
    async fn ping();
    /// To any node: whether its disk, asked now, has room for more than what frees space or keeps order (R17).
    async fn has_room() -> bool;
    /// To a member, by the leader: its part in a repair.
    async fn errand(request: RequestId, errand: Errand) -> Result<Progress<Report>, cairn_client::api::Error>;
    /// To whoever saved a version: whether it still pushes copies of it.
    async fn is_pushed(segment: SegmentId, version: Version) -> bool;
    /// To the leader: the versions about which something is being done.
    async fn repairing() -> Vec<(SegmentId, Version)>;
    /// To any node: what it brought along from former clusters.
    async fn adopted() -> Adopted;
    /// To any node: what it has of the global tier.
    async fn tier() -> TierWord;
}

/// The service's side.
#[derive(Clone)]
pub struct PeerServer(pub Service);

impl PeerServer {
    fn core(&self) -> &Core {
        &self.0.core
    }
}

fn stopped(error: impl std::fmt::Display) -> Stopped {
    Stopped(error.to_string())
}

impl Peer for PeerServer {
    async fn append(
        self,
        _: Context,
        request: AppendEntriesRequest<Types>,
    ) -> Result<AppendEntriesResponse<Types>, Stopped> {
        let core = self.core();
        let replaced = {
            let view = core.view.borrow();
            let sent = request.prev_log_id.iter().copied().chain(request.entries.iter().map(|entry| entry.log_id));
            sent.take_while(|id| view.covers(id)).any(|id| view.is_replaced_by(&id))
        };
        let answer = core.raft.append_entries(request).await.map_err(stopped)?;
        // Whoever was deposed may still send what never counted.
        if replaced && !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
            core.stop.fault(FORGOTTEN);
            // It must not be counted on for entries that it does not have.
            return Err(stopped(FORGOTTEN));
        }
        Ok(answer)
    }

    async fn vote(self, _: Context, request: VoteRequest<Types>) -> Result<VoteResponse<Types>, Stopped> {
        self.core().raft.vote(request).await.map_err(stopped)
    }

    async fn pre_vote(self, _: Context, request: VoteRequest<Types>) -> Result<VoteResponse<Types>, Stopped> {
        self.core().raft.pre_vote(request).await.map_err(stopped)
    }

    async fn transfer(
        self,
        _: Context,
        request: TransferLeaderRequest<Types>,
    ) -> Result<TransferLeaderResponse<Types>, Stopped> {
        self.core().raft.handle_transfer_leader(request).await.map_err(stopped)
    }

    async fn propose(self, _: Context, command: Command) -> Result<Decided, NotNow> {
        self.core().propose_here(command).await
    }

    async fn read_index(self, _: Context) -> Result<Option<LogId>, NotNow> {
        self.core().read_index_here().await
    }

    async fn heard(self, _: Context) -> Result<Vec<(NodeId, u64)>, NotNow> {
        self.core().heard_here()
    }

    async fn suspect(self, _: Context, copy: CopyId) {
        self.0.core.suspect(copy);
    }

    async fn renew(self, _: Context, copy: CopyId, time: LogTime) -> Renewal {
        self.core().renew(copy, time).await
    }

    async fn load(self, _: Context, request: LoadRequest) -> Result<Progress<Loaded>, cairn_client::api::Error> {
        self.0.load_here(request).await
    }

    async fn ping(self, _: Context) {}

    async fn has_room(self, _: Context) -> bool {
        self.core().has_room_now().await
    }

    async fn errand(
        self,
        _: Context,
        request: RequestId,
        errand: Errand,
    ) -> Result<Progress<Report>, cairn_client::api::Error> {
        self.0.core.run_errand(request, errand).await
    }

    async fn is_pushed(self, _: Context, segment: SegmentId, version: Version) -> bool {
        self.core().pushed.is_held(segment, version)
    }

    async fn repairing(self, _: Context) -> Vec<(SegmentId, Version)> {
        self.core().crew.at_work()
    }

    async fn tier(self, _: Context) -> TierWord {
        self.0.core.tier_word()
    }

    async fn adopted(self, _: Context) -> Adopted {
        self.core().heritage.tell()
    }
}
