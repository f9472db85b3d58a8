//! What the leader asks of members for a repair, and a saver for the global tier. An errand is a job: it outlives the call, and is asked for again.

use std::sync::Arc;
use std::time::Duration;

use cairn_client::api::{Code, Error, POLL, Progress};
use cairn_store::archive::ObjectReceipt;
use cairn_store::id::{CopyId, NodeId, RequestId, SegmentId};
use cairn_store::segment::Version;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::core::Core;
use crate::fetch::{Fetch, From};
use crate::jobs::Meter;
use crate::raft::rpc;
use crate::tier::TierError;
use crate::tier::archive::archive;
use crate::tier::deposit::deposit;
use crate::work::verify::{Verdict, verify_slowly};

/// How long a member tries to learn what is agreed on, and to find a source.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a member that does not answer is asked again.
const TRIES: u32 = 3;
/// The pause before that.
const PAUSE: Duration = Duration::from_secs(1);

/// What is asked of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Errand {
    /// Bring a copy of this version into your local storage, and tell the cluster.
    Fetch {
        /// The segment.
        segment: SegmentId,
        /// The version.
        version: Version,
    },
    /// Read this copy of yours through.
    Verify {
        /// The copy.
        copy: CopyId,
    },
    /// Put the bytes of this copy of yours into the global tier.
    Deposit {
        /// The copy.
        copy: CopyId,
    },
    /// Have this version in the global tier, and tell the cluster.
    Archive {
        /// The segment.
        segment: SegmentId,
        /// The version.
        version: Version,
    },
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// A verified copy is there, and the cluster counts it.
    Fetched,
    /// So the copy was found.
    Verified(Verdict),
    /// The tier has confirmed it.
    Deposited(ObjectReceipt),
    /// The tier has it and says so.
    Archived,
}

impl Core {
    /// Does it here, or joins what goes on under this id.
    ///
    /// # Errors
    /// It could not be done; the error says whether it may be later.
    pub async fn run_errand(self: &Arc<Self>, id: RequestId, errand: Errand) -> Result<Progress<Report>, Error> {
        let core = self.clone();
        let begin = |meter: Arc<Meter>| async move {
            // What a save waits for does not stand behind repairs.
            let waited_for = matches!(errand, Errand::Deposit { .. } | Errand::Archive { .. });
            let turn = if waited_for { core.tier.waited.acquire() } else { core.repairing.acquire() };
            let _turn = meter.while_queued(&core.env, turn).await;
            let failed = |error: TierError| Error::unavailable(format!("the global tier: {error}"));
            match errand {
                Errand::Deposit { copy } => {
                    let done = deposit(&core, copy, core.limits.payload(), &meter).await;
                    done.map(Report::Deposited).map_err(failed)
                }
                Errand::Archive { segment, version } => {
                    let done = archive(&core, segment, version, core.limits.payload(), &meter).await;
                    done.map(|()| Report::Archived).map_err(failed)
                }
                Errand::Fetch { segment, version } => {
                    fetch(&core, id, segment, version, &meter).await.map(|_| Report::Fetched)
                }
                Errand::Verify { copy } => {
                    let verdict = verify_slowly(&core, copy, core.limits.repair_payload(), &meter).await;
                    core.lost(copy, verdict).await;
                    Ok(Report::Verified(verdict))
                }
            }
        };
        self.errands.run(&self.env, id, format!("{errand:?}"), begin).await
    }

    /// [`Core::send_on`] as a future of a known type: a member's errand may need another member's.
    pub fn send_on_boxed(
        self: &Arc<Self>,
        member: NodeId,
        errand: Errand,
    ) -> BoxFuture<'static, Result<Report, Error>> {
        let core = self.clone();
        Box::pin(async move { core.send_on(member, errand).await })
    }

    /// Has a member do it, and waits until it is done, for as long as it goes on.
    ///
    /// # Errors
    /// The member's own; or it does not answer, or nothing moves any more.
    pub async fn send_on(self: &Arc<Self>, member: NodeId, errand: Errand) -> Result<Report, Error> {
        let id = RequestId(self.env.uuid());
        let (mut steps, mut moved) = (0, self.env.clock.now());
        let mut tries = 0;
        loop {
            let answer = if member == self.me() {
                Ok(self.run_errand(id, errand).await)
            } else {
                let ask = |peer: rpc::PeerClient| async move { peer.errand(rpc::context(), id, errand).await };
                self.links.ask(member, POLL + self.limits.handshake, ask).await
            };
            let now = self.env.clock.now();
            match answer {
                Ok(Ok(Progress::Done(report))) => return Ok(report),
                Ok(Ok(Progress::Running { steps: seen, .. })) => {
                    if seen != steps {
                        (steps, moved) = (seen, now);
                    } else if now.saturating_sub(moved) > self.limits.idle + PATIENCE {
                        return Err(Error::unavailable(format!("{} does not get on", self.name_of(member))));
                    }
                    tries = 0;
                }
                Ok(Err(error)) => return Err(error),
                Err(error) => {
                    tries += 1;
                    if tries >= TRIES || self.stop.is_set() {
                        let name = self.name_of(member);
                        return Err(Error::unavailable(format!("node {name} did not answer: {error}")));
                    }
                    self.env.clock.sleep(PAUSE).await;
                }
            }
        }
    }
}

/// A copy of a version that is brought here for the global tier: as a future of a known type, for it may come from a member whose
/// errand needs another one's.
pub fn fetch_copy<'a>(
    core: &'a Arc<Core>,
    segment: SegmentId,
    version: Version,
    meter: &'a Arc<Meter>,
) -> BoxFuture<'a, Result<CopyId, Error>> {
    let request = RequestId(core.env.uuid());
    Box::pin(async move { fetch(core, request, segment, version, meter).await })
}

/// Brings a copy of a version here, and tells the cluster.
///
/// # Errors
/// Nobody has good bytes, or they could not be brought; the version is gone; the cluster does not count it.
async fn fetch(
    core: &Arc<Core>,
    request: RequestId,
    segment: SegmentId,
    version: Version,
    meter: &Arc<Meter>,
) -> Result<CopyId, Error> {
    let deadline = core.env.clock.now() + PATIENCE;
    let view = core.read(deadline).await?;
    let found = view.state.segments.get(&segment);
    let Some((segment, record)) = found.and_then(|segment| Some((segment, segment.versions.get(&version)?))) else {
        return Err(Error::new(Code::NotFound, "the version that was to be copied is gone"));
    };
    // An earlier leader may have asked for the same.
    if core.fetched.is_held(segment.id, version) {
        return Err(Error::unavailable("a copy of this version is being made here already"));
    }
    let _fetched = core.fetched.hold(segment.id, version);
    let _kept = core.storage.keep(segment.id, version).await;
    let (state, limits) = (&view.state, core.limits.repair_payload());
    let fetch = Fetch { core, request, state, segment, version, record, limits, counted: true, from: From::Anywhere };
    let obtained = fetch.obtain(deadline, meter).await?;
    let copy = obtained.copy;
    if let Some(receipt) = obtained.receipt {
        fetch.confirm(receipt).await?;
        let now = core.read(core.env.clock.now() + PATIENCE).await?.state;
        let record = now.segments.get(&segment.id).and_then(|segment| segment.versions.get(&version));
        if !record.is_some_and(|record| record.durable().any(|copy| copy.node == core.me())) {
            return Err(Error::unavailable("the copy was made, and the cluster does not count it"));
        }
    }
    tracing::info!(name = %segment.name, %version, %request, %copy, "a copy was made again");
    Ok(copy)
}
