//! The service: decode, decide by the plans, call, encode.
//!
//! - [`save`], [`load`]: the main job;
//! - [`global`]: the global tier, for operators;
//! - [`names`]: claim, release, pin, remove;
//! - [`show`]: segments, for people and programs;
//! - [`watch`]: changes of segments, as they are committed;
//! - [`cluster`]: members and health; [`peers`]: which members this node reaches itself;
//! - [`drain`], [`removal`]: members that are emptied, removed, or stopped for a while;
//! - [`recovery`]: beginning with what another cluster knew;
//! - [`answer`]: rejections of the state machine in the words of the public contract.

pub mod answer;
pub mod cluster;
pub mod drain;
pub mod global;
pub mod load;
pub mod names;
pub mod peers;
pub mod recovery;
pub mod removal;
pub mod repairs;
pub mod save;
pub mod show;
pub mod watch;

use std::sync::Arc;
use std::time::Duration;

use cairn_client::api::{
    Cairn, ClaimRequest, Claimed, ClusterStatus, Drain, Error, GlobalStatus, Health, Hello, JoinRequest, Joined,
    ListRequest, LoadRequest, Loaded, NodeInfo, PeerInfo, PinRequest, Progress, Recovery, ReleaseRequest, Removal,
    RemoveNodeRequest, RemoveRequest, RenewRequest, Repairs, RestoreRequest, SaveRequest, Saved, SegmentDetail,
    SegmentSummary, UnpinRequest, WatchRequest, Watched,
};
use cairn_client::codec;
use cairn_store::name::Name;
use cairn_store::node::NodeName;
use futures::StreamExt;
use tarpc::context::Context;
use tarpc::server::{BaseChannel, Channel};

use crate::admit::Speaker;
use crate::core::{Core, WAIT_MAX};
use crate::env::Stream;
use crate::raft::rpc::{Peer, PeerServer};

/// A client's connection without a new request for so long is closed. Longer than any request may take.
const CLIENT_IDLE: Duration = Duration::from_secs(900);
/// A member's: its kept connection may have nothing to say for long, and opens again at need.
const MEMBER_IDLE: Duration = Duration::from_secs(3600);
/// How long a request waits for its turn to look through all segments.
const TURN_MAX: Duration = Duration::from_secs(5);

/// The service of one node.
#[derive(Clone)]
pub struct Service {
    /// The node.
    pub core: Arc<Core>,
}

impl Service {
    /// Serves one greeted connection until the other side ends it.
    pub async fn converse(self, stream: Box<dyn Stream>, speaker: Speaker) {
        // Two services, one port: who greeted as a member speaks to members, everybody else is a client.
        match speaker {
            Speaker::Client => {
                let channel = BaseChannel::with_defaults(codec::answering(stream));
                let requests = channel.max_concurrent_requests(self.core.limits.requests);
                self.run(CLIENT_IDLE, requests.execute(self.clone().serve())).await;
            }
            Speaker::Node(_) => {
                let channel = BaseChannel::with_defaults(codec::answering(stream));
                let requests = channel.max_concurrent_requests(self.core.limits.requests);
                self.run(MEMBER_IDLE, requests.execute(PeerServer(self.clone()).serve())).await;
            }
        }
    }

    async fn run<F: Future<Output = ()> + Send + 'static>(
        &self,
        idle: Duration,
        requests: impl futures::Stream<Item = F>,
    ) {
        let mut requests = std::pin::pin!(requests);
        while let Some(Some(request)) = self.core.env.timeout(idle, requests.next()).await {
            self.core.env.spawn(request);
        }
    }

    /// Looks at segments, all of them maybe: not where other tasks wait, and not more than some at once.
    async fn blocking<T: Send + 'static>(&self, look: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let env = &self.core.env;
        let Some(Ok(turn)) = env.timeout(TURN_MAX, self.core.scanning.clone().acquire_owned()).await else {
            return Err(Error::unavailable("others look through the segments, and it is not this one's turn yet"));
        };
        let look = move || {
            // Held to the end of the look, whether anybody still waits for it or not.
            let _turn = turn;
            look()
        };
        let looked = env.blocking(look).await;
        looked.map_err(|e| Error::unavailable(format!("the segments could not be looked at: {e}")))
    }

    /// When a request that may wait for `wait` must be answered.
    fn deadline(&self, wait: Duration) -> Duration {
        self.core.env.clock.now() + wait.min(WAIT_MAX)
    }
}

impl Cairn for Service {
    async fn hello(self, _: Context) -> Hello {
        let core = &self.core;
        Hello {
            node: core.profile.name.clone(),
            id: core.me(),
            cluster: core.identity.cluster,
            incarnation: core.identity.incarnation,
            process: core.process,
            role: core.profile.role,
            spool: core.env.disk.spool(),
            data: core.profile.data.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
        }
    }

    async fn save(self, _: Context, request: SaveRequest) -> Result<Progress<Saved>, Error> {
        self.save_here(request).await
    }

    async fn load(self, _: Context, request: LoadRequest) -> Result<Progress<Loaded>, Error> {
        self.load_anywhere(request).await
    }

    async fn list(self, _: Context, request: ListRequest) -> Result<Vec<SegmentSummary>, Error> {
        self.list_segments(request).await
    }

    async fn show(self, _: Context, name: Name, wait: Duration) -> Result<SegmentDetail, Error> {
        self.show_segment(name, wait).await
    }

    async fn watch(self, _: Context, request: WatchRequest) -> Result<Watched, Error> {
        self.watch_segments(request).await
    }

    async fn remove(self, _: Context, request: RemoveRequest) -> Result<(), Error> {
        self.remove_segment(request).await
    }

    async fn claim(self, _: Context, request: ClaimRequest) -> Result<Claimed, Error> {
        self.claim_here(request).await
    }

    async fn renew(self, _: Context, request: RenewRequest) -> Result<Duration, Error> {
        self.renew_lease(request).await
    }

    async fn release(self, _: Context, request: ReleaseRequest) -> Result<(), Error> {
        self.release_segment(request).await
    }

    async fn nodes(self, _: Context, wait: Duration) -> Result<Vec<NodeInfo>, Error> {
        self.list_nodes(wait).await
    }

    async fn status(self, _: Context, wait: Duration) -> Result<ClusterStatus, Error> {
        self.cluster_status(wait).await
    }

    async fn health(self, _: Context) -> Health {
        self.cluster_health().await
    }

    async fn join(self, _: Context, request: JoinRequest) -> Result<Joined, Error> {
        self.join_node(request).await
    }

    async fn drain(self, _: Context, node: NodeName, draining: bool, wait: Duration) -> Result<(), Error> {
        self.drain_node(node, draining, wait).await
    }

    async fn pin(self, _: Context, request: PinRequest) -> Result<(), Error> {
        self.pin_version(request).await
    }

    async fn unpin(self, _: Context, request: UnpinRequest) -> Result<(), Error> {
        self.unpin_versions(request).await
    }

    async fn peers(self, _: Context, wait: Duration) -> Vec<PeerInfo> {
        self.reach_peers(wait).await
    }

    async fn repairs(self, _: Context, wait: Duration) -> Result<Repairs, Error> {
        self.list_repairs(wait).await
    }

    async fn drained(self, _: Context, node: NodeName, foretell: bool, wait: Duration) -> Result<Drain, Error> {
        self.how_drained(node, foretell, wait).await
    }

    async fn removal(self, _: Context, node: NodeName, force: bool, wait: Duration) -> Result<Removal, Error> {
        self.foretell_removal(node, force, wait).await
    }

    async fn remove_node(self, _: Context, request: RemoveNodeRequest) -> Result<Progress<()>, Error> {
        self.remove_member(request).await
    }

    async fn check_stop(self, _: Context, node: NodeName, wait: Duration) -> Result<Health, Error> {
        self.why_not_stop(node, wait).await
    }

    async fn restore(self, _: Context, request: RestoreRequest) -> Result<(), Error> {
        self.take_over(request).await
    }

    async fn recovery(self, _: Context, wait: Duration) -> Result<Option<Recovery>, Error> {
        self.how_recovered(wait).await
    }

    async fn global(self, _: Context, wait: Duration) -> Result<GlobalStatus, Error> {
        self.global_status(wait).await
    }

    async fn resume(self, _: Context, wait: Duration) -> Result<(), Error> {
        self.end_recovery(wait).await
    }
}
