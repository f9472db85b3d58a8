//! The short requests, one method each. All are retried until answered or until the client's time is over.

use std::time::Duration;

use cairn_store::id::{Incarnation, NodeId, RequestId};
use cairn_store::meta::RestoreStep;
use cairn_store::name::Name;
use cairn_store::node::{NodeName, Profile};
use cairn_store::segment::{Epoch, Version};
use tokio::time::{Instant, sleep};

use crate::api::{
    ClusterStatus, Drain, Error, GlobalStatus, Health, Hello, JoinRequest, Joined, ListRequest, NodeInfo, PAGE_MAX,
    PeerInfo, PinRequest, Progress, Recovery, ReleaseRequest, Removal, RemoveNodeRequest, RemoveRequest,
    RenewRequest, Repairs, RestoreRequest, SegmentDetail, SegmentSummary, UnpinRequest,
};
use crate::dial::{Client, Session};
use crate::request;
use crate::retry::{Failure, PAUSE_MIN, Retry};
use crate::save::ANSWER_MAX;

/// The least time that a node gets to tell of the cluster's health: it waits for a quorum first.
const HEALTH_MIN: Duration = Duration::from_secs(4);

impl Client {
    /// Who the node is that answers.
    pub async fn hello(&self) -> Result<Hello, Error> {
        self.call(false, |client, context| async move { client.hello(context).await.map(Ok) }).await
    }

    /// One page of the segments.
    pub async fn list(&self, request: ListRequest) -> Result<Vec<SegmentSummary>, Error> {
        self.call(false, |client, context| {
            let request = request.clone();
            async move { client.list(context, request).await }
        })
        .await
    }

    /// All segments whose name starts with `prefix`, page by page, in the order of their names.
    pub async fn list_all(&self, prefix: &str, owner: Option<NodeName>) -> Result<Vec<SegmentSummary>, Error> {
        let mut all: Vec<SegmentSummary> = Vec::new();
        loop {
            let after = all.last().map(|s| s.name.clone());
            let request = ListRequest {
                prefix: prefix.into(),
                owner: owner.clone(),
                after: after.clone(),
                limit: PAGE_MAX,
                wait: self.wait(),
            };
            let page = self.list(request).await?;
            let more = page.len() >= PAGE_MAX as usize;
            all.extend(page);
            // A node that repeats itself must not keep us here for ever.
            if !more || all.last().map(|s| &s.name) <= after.as_ref() {
                return Ok(all);
            }
        }
    }

    /// Everything about one segment.
    pub async fn show(&self, name: &Name) -> Result<SegmentDetail, Error> {
        self.call(false, |client, context| {
            let (name, wait) = (name.clone(), self.wait());
            async move { client.show(context, name, wait).await }
        })
        .await
    }

    /// Takes a segment, or one version, away.
    pub async fn remove(&self, request: RequestId, name: &Name, version: Option<Version>) -> Result<(), Error> {
        let wait = self.wait_in_all();
        self.removal(RemoveRequest { request, wait, name: name.clone(), version, dry_run: false }).await
    }

    /// Whether [`Client::remove`] would be refused now. Takes nothing away.
    pub async fn check_remove(&self, name: &Name, version: Option<Version>) -> Result<(), Error> {
        let (request, wait) = (request::new_id(), self.wait());
        self.removal(RemoveRequest { request, wait, name: name.clone(), version, dry_run: true }).await
    }

    async fn removal(&self, request: RemoveRequest) -> Result<(), Error> {
        self.call(!request.dry_run, |client, context| {
            let request = request.clone();
            async move { client.remove(context, request).await }
        })
        .await
    }

    /// Keeps a version whatever comes after it.
    pub async fn pin(&self, request: RequestId, name: &Name, version: Version) -> Result<(), Error> {
        let request = PinRequest { request, wait: self.wait_in_all(), name: name.clone(), version };
        self.call(true, |client, context| {
            let request = request.clone();
            async move { client.pin(context, request).await }
        })
        .await
    }

    /// Ends the pin of a version, or all of a segment. What only a pin held goes at once.
    pub async fn unpin(&self, request: RequestId, name: &Name, version: Option<Version>) -> Result<(), Error> {
        let request = UnpinRequest { request, wait: self.wait_in_all(), name: name.clone(), version };
        self.call(true, |client, context| {
            let request = request.clone();
            async move { client.unpin(context, request).await }
        })
        .await
    }

    /// Who the node at the other end of this connection is.
    pub(crate) async fn greet(&self, session: &Session, retry: &Retry) -> Result<Hello, Failure> {
        let hello = self
            .ask(session, ANSWER_MAX.min(retry.left()), |client, context| async move {
                client.hello(context).await.map(Ok)
            })
            .await;
        // Nothing of the request itself was sent yet.
        hello.map_err(|failure| Failure { sent: false, ..failure })
    }

    /// The owner's lease begins anew. Each renewal has a request of its own. Tells how long the lease lasts: the holder counts from
    /// before it asked, and must have ended its work before that is over.
    pub async fn renew(&self, request: RequestId, name: &Name, epoch: Epoch) -> Result<Duration, Error> {
        let request = RenewRequest { request, wait: self.wait_in_all(), name: name.clone(), epoch };
        self.call(true, |client, context| {
            let request = request.clone();
            async move { client.renew(context, request).await }
        })
        .await
    }

    /// Gives ownership up.
    pub async fn release(&self, request: RequestId, name: &Name, epoch: Epoch) -> Result<(), Error> {
        let request = ReleaseRequest { request, wait: self.wait_in_all(), name: name.clone(), epoch };
        self.call(true, |client, context| {
            let request = request.clone();
            async move { client.release(context, request).await }
        })
        .await
    }

    /// The members.
    pub async fn nodes(&self) -> Result<Vec<NodeInfo>, Error> {
        let wait = self.wait();
        self.call(false, |client, context| async move { client.nodes(context, wait).await }).await
    }

    /// The cluster in a few numbers.
    pub async fn status(&self) -> Result<ClusterStatus, Error> {
        let wait = self.wait();
        self.call(false, |client, context| async move { client.status(context, wait).await }).await
    }

    /// What is being done, and is to be done, so that every version has its copies.
    pub async fn repairs(&self) -> Result<Repairs, Error> {
        let wait = self.wait();
        self.call(false, |client, context| async move { client.repairs(context, wait).await }).await
    }

    /// Why the cluster is not healthy, by what the node that answers knows.
    pub async fn health(&self) -> Result<Health, Error> {
        let limit = self.share().max(HEALTH_MIN).min(self.timeout());
        self.call_within(limit, false, |client, context| async move { client.health(context).await.map(Ok) }).await
    }

    /// Which members the node that answers reaches itself.
    pub async fn peers(&self) -> Result<Vec<PeerInfo>, Error> {
        let wait = self.wait();
        self.call(false, |client, context| async move { client.peers(context, wait).await.map(Ok) }).await
    }

    /// Makes a node a member. Idempotent by its incarnation.
    pub async fn join(&self, incarnation: Incarnation, profile: Profile) -> Result<Joined, Error> {
        let request = JoinRequest { incarnation, profile, wait: self.wait_in_all() };
        self.call(true, |client, context| {
            let request = request.clone();
            async move { client.join(context, request).await }
        })
        .await
    }

    /// Starts or stops emptying a node.
    pub async fn drain(&self, node: &NodeName, draining: bool) -> Result<(), Error> {
        let wait = self.wait_in_all();
        self.call(true, |client, context| {
            let node = node.clone();
            async move { client.drain(context, node, draining, wait).await }
        })
        .await
    }

    /// How far a node is emptied; if `foretell`, what would be to do if that began now.
    pub async fn drained(&self, node: &NodeName, foretell: bool) -> Result<Drain, Error> {
        let wait = self.wait();
        self.call(false, |client, context| {
            let node = node.clone();
            async move { client.drained(context, node, foretell, wait).await }
        })
        .await
    }

    /// What [`Client::remove_node`] would come to. Changes nothing.
    pub async fn check_remove_node(&self, node: &NodeName, force: bool) -> Result<Removal, Error> {
        let wait = self.wait();
        self.call(false, |client, context| {
            let node = node.clone();
            async move { client.removal(context, node, force, wait).await }
        })
        .await
    }

    /// Ends a node's membership, by the id that [`Client::check_remove_node`] tells. Lasts as long as it goes on.
    pub async fn remove_node(&self, node: NodeId, force: bool) -> Result<(), Error> {
        let mut request = RemoveNodeRequest { node, force, begun: false, wait: self.wait() };
        let mut left = u64::MAX;
        let mut still = Instant::now();
        loop {
            let asked = self.call(true, |client, context| {
                let request = request.clone();
                async move { client.remove_node(context, request).await }
            });
            let progress = asked.await?;
            request.begun = true;
            match progress {
                Progress::Done(()) => return Ok(()),
                Progress::Running { total, .. } if total < left => (left, still) = (total, Instant::now()),
                Progress::Running { .. } if still.elapsed() < self.timeout() => sleep(PAUSE_MIN).await,
                Progress::Running { .. } => {
                    let message = format!("the removal of node {node} does not go on");
                    return Err(Error::unavailable(message).unknown().hint("ask again: what was done stays done"));
                }
            }
        }
    }

    /// Takes one step of taking over what another cluster knew.
    pub async fn restore_step(&self, step: RestoreStep) -> Result<(), Error> {
        let request = RestoreRequest { step, wait: self.wait_in_all() };
        self.call(true, |client, context| {
            let request = request.clone();
            async move { client.restore(context, request).await }
        })
        .await
    }

    /// Where the cluster comes from, and what it still misses; none if it began with nothing.
    pub async fn recovery(&self) -> Result<Option<Recovery>, Error> {
        let wait = self.wait();
        self.call(false, |client, context| async move { client.recovery(context, wait).await }).await
    }

    /// The global tier: who reaches it, what lies there, what waits.
    pub async fn global(&self) -> Result<GlobalStatus, Error> {
        let wait = self.wait();
        self.call(false, |client, context| async move { client.global(context, wait).await }).await
    }

    /// Ends the recovery: nodes delete and repair again.
    pub async fn resume(&self) -> Result<(), Error> {
        let wait = self.wait_in_all();
        self.call(true, |client, context| async move { client.resume(context, wait).await }).await
    }

    /// Why a node should not be stopped now; it may be if nothing is listed.
    pub async fn check_stop(&self, node: &NodeName) -> Result<Health, Error> {
        let wait = self.wait();
        self.call(false, |client, context| {
            let node = node.clone();
            async move { client.check_stop(context, node, wait).await }
        })
        .await
    }
}
