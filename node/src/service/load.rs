//! A load: look up, obtain a verified copy in local storage, claim if asked.

use std::sync::Arc;
use std::time::Duration;

use cairn_client::api::{self, Code, Error, LoadRequest, Loaded, POLL, Progress, Source};
use cairn_store::crash_point;
use cairn_store::id::{CopyId, NodeId, RequestId};
use cairn_store::meta::{Outcome, Rejection};
use cairn_store::node::Role;
use cairn_store::segment::{CopyState, Epoch, Segment, Standing, Version, VersionRecord};

use super::answer::{no_such_name, no_such_node, unexpected, without_version};
use super::names::claim_of;
use super::save::until;
use super::{Service, WAIT_MAX};
use crate::core::Core;
use crate::fetch::{Fetch, From, Given, Obtained};
use crate::jobs::Meter;
use crate::links::AskError;
use crate::raft::rpc;
use crate::storage::RENEW_BEFORE;

/// After so many heads that moved away, claim first and load second (R3).
const CLAIM_TRIES: u32 = 3;

impl Service {
    /// Loads here, or has the node that was named do it.
    pub(super) async fn load_anywhere(&self, request: LoadRequest) -> Result<Progress<Loaded>, Error> {
        let Some(name) = &request.on else { return self.load_here(request).await };
        if *name == self.core.profile.name {
            return self.load_here(request).await;
        }
        let state = match request.stale {
            true => self.core.now().state,
            false => self.core.read(self.deadline(request.wait)).await?.state,
        };
        let member = state.node_named(name).ok_or_else(|| no_such_node(name))?;
        let name = name.clone();
        let away = |e: AskError| Error::unavailable(format!("node {name} did not answer: {e}"));
        // It answers within POLL, with a result or without.
        let limit = POLL + self.core.limits.handshake;
        let ask = |peer: rpc::PeerClient| async move { peer.load(rpc::context(), request).await };
        match self.core.links.ask(member.id, limit, ask).await {
            Ok(answer) => answer,
            Err(e @ AskError::Link(_)) => Err(away(e)),
            Err(e) => Err(away(e).unknown()),
        }
    }

    /// Loads into this node's local storage.
    pub async fn load_here(&self, request: LoadRequest) -> Result<Progress<Loaded>, Error> {
        let core = self.core.clone();
        let request = LoadRequest { wait: request.wait.min(WAIT_MAX), ..request };
        let asked = LoadRequest { wait: Duration::ZERO, on: None, ..request.clone() };
        let begin = |meter| async move {
            let begun = core.env.clock.now();
            let (name, id) = (request.name.clone(), request.request);
            let loaded = match run(&core, &request, meter).await {
                Err(error) if request.claim => Err(owned_or(&core, &request, error).await),
                loaded => loaded,
            };
            match &loaded {
                Ok(loaded) => tracing::info!(%name, request = %id, version = %loaded.version, "loaded"),
                Err(error) => tracing::warn!(%name, request = %id, %error, "load failed"),
            }
            if loaded.is_ok() {
                core.counts.loaded(core.env.clock.now().saturating_sub(begun));
            }
            loaded
        };
        let id = asked.request;
        self.core.loads.run(&self.core.env, id, format!("{asked:?}"), begin).await
    }
}

/// The error of a load that takes over: its outcome is unknown if an earlier try took over, whatever is in the way now.
async fn owned_or(core: &Core, request: &LoadRequest, error: Error) -> Error {
    if error.retryable || error.outcome != api::Outcome::None {
        return error;
    }
    let deadline = core.env.clock.now() + request.wait;
    let Ok(view) = core.read(deadline).await else { return error.unknown() };
    let took = |attempt| {
        let answer = view.state.answer(claim_step(request, attempt));
        matches!(answer, Some(Ok(Outcome::Claimed { .. })))
    };
    if (1..=ATTEMPTS_MAX).any(took) { error.unknown() } else { error }
}

/// Each attempt is a request of its own: a refusal is remembered as well. A retry goes through the same ones.
fn claim_step(request: &LoadRequest, attempt: u32) -> RequestId {
    request.request.step(&format!("claim {attempt}"))
}

async fn run(core: &Arc<Core>, request: &LoadRequest, meter: Arc<Meter>) -> Result<Loaded, Error> {
    check(core, request)?;
    let _place = meter.while_queued(&core.env, core.loading.acquire()).await;
    let deadline = core.env.clock.now() + request.wait;
    for attempt in 1..=ATTEMPTS_MAX {
        let view = if request.stale { core.now() } else { core.read(deadline).await? };
        let segment = view.state.by_name(&request.name).ok_or_else(|| no_such_name(&request.name))?;
        let (version, record) = wanted(segment, request)?;
        crash_point!("load.begin");
        let limits = core.limits.payload();
        let from = if request.from_tier { From::Tier } else { From::Anywhere };
        let (request_id, state) = (request.request, &view.state);
        let fetch =
            Fetch { core, request: request_id, state, segment, version, record, limits, counted: false, from };
        let loading = Loading { request, fetch };
        // Until the answer: what is brought here may lie here for hours before a quorum knows of it.
        let _kept = core.storage.keep(segment.id, version).await;
        // The head keeps moving: own it first, then nobody moves it any more.
        if request.claim && attempt > CLAIM_TRIES {
            let Some(epoch) = loading.claim(attempt, deadline).await? else { continue };
            // It is the owner now, whatever becomes of the bytes.
            let obtained = loading.fetch.obtain(deadline, &meter).await.map_err(Error::unknown)?;
            return loading.finish(obtained, Some(epoch)).await.map_err(Error::unknown);
        }
        let obtained = match loading.fetch.obtain(deadline, &meter).await {
            Ok(obtained) => obtained,
            // The version was retired while it was looked for: look up the head again (R13).
            Err(e) if loading.fetch.is_gone() && attempt < ATTEMPTS_MAX && request.version.is_none() => {
                tracing::info!(name = %request.name, error = %e, "the version was retired meanwhile");
                continue;
            }
            Err(e) => return Err(e),
        };
        if !request.claim {
            return loading.finish(obtained, None).await;
        }
        if let Some(epoch) = loading.claim(attempt, deadline).await? {
            let obtained = loading.or_again(obtained, deadline, &meter).await.map_err(Error::unknown)?;
            return loading.finish(obtained, Some(epoch)).await.map_err(Error::unknown);
        }
    }
    Err(busy(request))
}

/// How often a head that moves or is retired again and again is looked up.
const ATTEMPTS_MAX: u32 = 8;

fn busy(request: &LoadRequest) -> Error {
    Error::unavailable(format!("{} changes faster than it can be loaded", request.name))
        .hint("try again, or stop its owner first")
}

fn check(core: &Core, request: &LoadRequest) -> Result<(), Error> {
    if core.profile.role == Role::Storage {
        let message = format!("{} is a storage-only node: nothing is loaded there", core.profile.name);
        return Err(Error::new(Code::Conflict, message).hint("load on an executor node; see `cairn node ls`"));
    }
    if request.claim && request.stale {
        return Err(Error::new(Code::Invalid, "--stale gives no ownership").hint("leave --stale or --claim away"));
    }
    if request.from_tier && request.stale {
        return Err(
            Error::new(Code::Invalid, "--from global asks the cluster where it lies").hint("leave --stale away")
        );
    }
    Ok(())
}

fn wanted<'a>(segment: &'a Segment, request: &LoadRequest) -> Result<(Version, &'a VersionRecord), Error> {
    let name = &request.name;
    if segment.head == Version::NONE {
        return Err(Error::new(Code::NotFound, format!("{name} has no version yet")).hint(without_version(name)));
    }
    let version = request.version.unwrap_or(segment.head);
    let Some(record) = segment.versions.get(&version) else {
        return Err(Error::new(Code::NotFound, format!("{name} has no version {version}"))
            .hint(format!("see `cairn history {name}`")));
    };
    if request.claim && version != segment.head {
        return Err(Error::new(
            Code::Conflict,
            format!("only the newest version of {name} can be claimed, {}", segment.head),
        )
        .hint("leave --version away"));
    }
    Ok((version, record))
}

/// One attempt at a load.
struct Loading<'a> {
    request: &'a LoadRequest,
    fetch: Fetch<'a>,
}

impl Loading<'_> {
    /// Becomes the owner of the head that was loaded; none if it moved meanwhile.
    async fn claim(&self, attempt: u32, deadline: Duration) -> Result<Option<Epoch>, Error> {
        let Fetch { core, segment, .. } = self.fetch;
        let Segment { name, epoch, .. } = segment;
        let step = claim_step(self.request, attempt);
        let deadline = deadline.max(core.env.clock.now() + self.request.wait);
        let command = claim_of(until(core, step, deadline), segment, *epoch, core.me(), self.request.lease);
        crash_point!("claim.begin");
        let reply = core.propose_and_see(command, deadline).await?;
        crash_point!("claim.done");
        match reply {
            Err(Rejection::HeadMoved { .. }) => Ok(None),
            // An earlier try meant a registration that is gone, and perhaps it took that over.
            Err(Rejection::RequestMismatch) => {
                let message = format!("{name} was removed, and registered anew, since this request was first made");
                Err(Error::new(Code::Conflict, message).hint("load it with a new request").unknown())
            }
            reply => match core.answer(name, reply)? {
                // The answer to an earlier try: it says nothing of the bytes that were loaded now.
                Outcome::Claimed { epoch: taken, .. } if taken < *epoch => {
                    let message =
                        format!("{name} was taken over since this request did so in epoch {taken}: it is {epoch}");
                    Err(Error::new(Code::Conflict, message).hint("load it with a new request").unknown())
                }
                Outcome::Claimed { epoch, .. } => Ok(Some(epoch)),
                other => Err(unexpected(&other)),
            },
        }
    }

    /// What was obtained; or, if it was let go of as one copy too many just before this node became the owner, another one: that
    /// file goes at once, and an owner's stays.
    async fn or_again(&self, obtained: Obtained, deadline: Duration, meter: &Arc<Meter>) -> Result<Obtained, Error> {
        let Fetch { core, segment, version, .. } = self.fetch;
        let state = core.now().state;
        let ended = state.standing(segment.id, version, obtained.copy) == Standing::Ended;
        let now = state.segments.get(&segment.id);
        match now.and_then(|now| Some((now, now.versions.get(&version)?))) {
            Some((segment, record)) if ended => {
                Fetch { state: &state, segment, record, ..self.fetch }.obtain(deadline, meter).await
            }
            _ => Ok(obtained),
        }
    }

    async fn finish(&self, obtained: Obtained, claimed: Option<Epoch>) -> Result<Loaded, Error> {
        let Self { request, fetch } = self;
        let Fetch { core, state, segment, version, record, .. } = *fetch;
        // A stale load asks nobody, and gives its copy a name of its own.
        if let Some(mut receipt) = obtained.receipt.filter(|_| !request.stale) {
            // A good copy takes the place of a bad one on the same node.
            let lost = record.copies.iter().any(|c| c.node == core.me() && c.state != CopyState::Durable);
            let recalled = obtained.sources.iter().any(|(node, _)| node.is_none());
            let wanted = claimed.is_some()
                || recalled
                || lost
                || obtained.replaces
                || state.missing_copies(segment, record) > 0;
            if wanted {
                receipt = fetch.confirm(receipt).await?;
                crash_point!("load.confirmed");
            }
            // What nothing refers to stays for a while at least, so that the application can use it.
            let time = core.now().state.time;
            if receipt.until < time.after(RENEW_BEFORE) && !fetch.is_referenced(receipt.copy) {
                fetch.renewed(receipt, time).await?;
            }
        }
        let owner = if claimed.is_some() { Some(core.me()) } else { segment.owner };
        let name = |node: NodeId| state.members.get(&node).map(|m| m.profile.name.clone());
        let source = |(node, bytes): Given| match node {
            Some(node) => Some(Source { node: Some(name(node)?), bytes }),
            None => Some(Source { node: None, bytes }),
        };
        Ok(Loaded {
            name: segment.name.clone(),
            kind: segment.kind,
            version,
            epoch: claimed.unwrap_or(segment.epoch),
            size: record.size,
            digest: record.digest,
            owner: owner.and_then(name),
            claimed: claimed.is_some(),
            stale: request.stale,
            sources: obtained.sources.into_iter().filter_map(source).collect(),
            node: core.profile.name.clone(),
            incarnation: core.identity.incarnation,
            data: core.profile.data.clone(),
            copy: obtained.copy,
            path: self.path(obtained.copy).await?,
        })
    }

    /// The file for the application. A stale load gives it a name in the spool: no reference will ever hold the copy.
    async fn path(&self, copy: CopyId) -> Result<std::path::PathBuf, Error> {
        let core = self.fetch.core;
        let disk = core.env.disk.clone();
        if !self.request.stale {
            return Ok(disk.path(copy));
        }
        // Each load's own, which its caller removes: the same copy may be exposed already.
        let file = format!("stale-{}", core.env.uuid());
        let exposed = core.env.blocking(move || disk.expose(copy, &file)).await;
        exposed
            .and_then(|done| done)
            .map_err(|e| Error::new(Code::Internal, format!("the spool cannot be written: {e}")))
    }
}
