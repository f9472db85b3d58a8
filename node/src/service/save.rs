//! A save: name, targets, bytes, receipts, commit — in this order, and nothing is acknowledged before the last.

mod transfer;

use std::sync::Arc;
use std::time::Duration;

use cairn_client::api::{Code, Error, Progress, Replica, SaveRequest, Saved};
use cairn_store::id::{RequestId, SegmentId};
use cairn_store::meta::{Command, Commit, Outcome, Request, Scope, State};
use cairn_store::node::Role;
use cairn_store::plan::place::{Candidate, Wish, place};
use cairn_store::segment::{Epoch, KEEP_MAX, LABEL_BYTES_MAX, LABELS_MAX, REPLICAS_MAX, Segment, Version};

use super::answer::unexpected;
use super::{Service, WAIT_MAX};
use crate::core::Core;
use crate::jobs::Meter;
use transfer::Transfer;

impl Service {
    pub(super) async fn save_here(&self, request: SaveRequest) -> Result<Progress<Saved>, Error> {
        check(&request)?;
        let request = SaveRequest { wait: request.wait.min(WAIT_MAX), ..request };
        let core = self.core.clone();
        // What a retry may say differently: where in the spool the bytes lie, and how long it waits.
        let asked = SaveRequest { file: String::new(), wait: Duration::ZERO, ..request.clone() };
        let deadline = self.deadline(request.wait);
        let begin = |meter| async move { run(&core, request, deadline, meter).await };
        let id = asked.request;
        self.core.saves.run(&self.core.env, id, format!("{asked:?}"), begin).await
    }
}

fn check(request: &SaveRequest) -> Result<(), Error> {
    let long = |text: &String| text.is_empty() || text.len() > LABEL_BYTES_MAX;
    let wrong = if request.replicas > REPLICAS_MAX {
        format!("--replicas goes up to {REPLICAS_MAX}")
    } else if !(1..=KEEP_MAX).contains(&request.keep) {
        format!("--keep goes from 1 to {KEEP_MAX}")
    } else if request.labels.len() > LABELS_MAX
        || request.labels.keys().any(long)
        || request.labels.values().any(|value| value.len() > LABEL_BYTES_MAX)
    {
        format!("at most {LABELS_MAX} labels, with keys of 1 to {LABEL_BYTES_MAX} bytes")
    } else {
        return Ok(());
    };
    Err(Error::new(Code::Invalid, wrong))
}

/// The segment that a save goes to, and whether this save made it.
struct Target {
    segment: SegmentId,
    epoch: Epoch,
    head: Version,
    new: bool,
}

async fn run(core: &Arc<Core>, request: SaveRequest, deadline: Duration, meter: Arc<Meter>) -> Result<Saved, Error> {
    if core.profile.role == Role::Storage {
        return Err(Error::new(
            Code::Conflict,
            format!("{} is a storage-only node: it owns nothing", core.profile.name),
        )
        .hint("save through an executor node; see `cairn node ls`"));
    }
    let commit_id = request.request.step("commit");
    let _turn = core.names.wait(&request.name).await;
    let state = core.read(deadline).await?.state;
    let known = state.by_name(&request.name);
    if let Some(done) = known.and_then(|segment| committed(core, &state, segment, commit_id, &request)) {
        return Ok(done);
    }
    if let Some(segment) = known {
        check_segment(core, segment, &request)?;
    } else {
        check_new(&request)?;
    }
    let source = Transfer::open(core, &request).await?;
    let placed = plan_targets(core, &state, &request, source.size())?;
    let target = match known {
        Some(segment) => {
            // An earlier try of this very request may have taken the name.
            let own = segment.registered.0 == request.request.step("register");
            let new = own && segment.head == Version::NONE;
            Target { segment: segment.id, epoch: segment.epoch, head: segment.head, new }
        }
        None => register(core, &request, deadline).await?,
    };
    tracing::info!(name = %request.name, request = %request.request, size = source.size(), "save begins");

    let result = transfer_and_commit(core, &request, &target, source, placed, deadline, &meter, commit_id).await;
    match &result {
        Ok(saved) => {
            tracing::info!(name = %request.name, request = %request.request, version = %saved.version, "save committed");
        }
        Err(e) => {
            tracing::warn!(name = %request.name, request = %request.request, error = %e, "save failed");
            if target.new && e.outcome == cairn_client::api::Outcome::None {
                // The name was this save's own: it is free again. The copies are collected.
                let request = until(core, request.request.step("unregister"), deadline);
                let command = Command::Unregister { request, segment: target.segment, scope: Scope::IfEmpty };
                let _ = core.propose(command, deadline.max(core.env.clock.now() + UNREGISTER_PATIENCE)).await;
            }
        }
    }
    result
}

/// How long a failed save tries to free the name that it took.
const UNREGISTER_PATIENCE: Duration = Duration::from_secs(5);

/// A late retry of a save that was committed gets its own result (R6).
fn committed(
    core: &Core,
    state: &State,
    segment: &Segment,
    commit: RequestId,
    request: &SaveRequest,
) -> Option<Saved> {
    let (version, record) = segment.versions.iter().find(|(_, v)| v.request == commit)?;
    let others = record.copies.iter().filter(|c| c.node != core.me());
    let replica = |c: &cairn_store::segment::Copy| {
        let member = state.members.get(&c.node)?;
        Some(Replica { node: member.profile.name.clone(), state: c.state })
    };
    Some(Saved {
        name: segment.name.clone(),
        segment: segment.id,
        kind: segment.kind,
        version: *version,
        epoch: record.epoch,
        size: record.size,
        digest: record.digest,
        owner: core.profile.name.clone(),
        replicas: others.filter_map(replica).collect(),
        ack: request.ack,
        bytes_sent: 0,
    })
}

fn check_segment(core: &Core, segment: &Segment, request: &SaveRequest) -> Result<(), Error> {
    use cairn_store::meta::Rejection;
    let name = &segment.name;
    let refuse =
        |rejection| Err(core.answer(name, Err(rejection)).err().unwrap_or_else(|| unexpected(&Outcome::Done)));
    if segment.owner != Some(core.me()) {
        return refuse(Rejection::NotOwner { owner: segment.owner });
    }
    if request.epoch.is_some_and(|epoch| epoch != segment.epoch) {
        return refuse(Rejection::StaleEpoch { current: segment.epoch });
    }
    if request.if_version.is_some_and(|version| version != segment.head) {
        return refuse(Rejection::HeadMoved { head: segment.head });
    }
    if request.kind != segment.kind {
        return Err(Error::new(Code::Conflict, format!("{name} is a {:?}, not a {:?}", segment.kind, request.kind)));
    }
    Ok(())
}

fn check_new(request: &SaveRequest) -> Result<(), Error> {
    let name = &request.name;
    if request.if_version.is_some_and(|version| version != Version::NONE) {
        let error = Error::new(Code::Conflict, format!("{name} has no version yet"));
        return Err(error.hint("leave --if-version away, or give 0"));
    }
    if request.epoch.is_some() {
        let error = Error::new(Code::Conflict, format!("{name} is not registered, so no epoch of it is current"));
        return Err(error.hint("it was removed, or never saved; leave --epoch (CAIRN_EPOCH) away to register it"));
    }
    Ok(())
}

/// The nodes as placement sees them.
pub(super) fn candidates(state: &State) -> Vec<Candidate> {
    let candidate = |m: &Arc<cairn_store::node::Member>| Candidate {
        node: m.id,
        zone: m.profile.zone.clone(),
        up: m.up,
        draining: m.draining,
        bytes: state.usage_of(m.id).bytes,
        capacity: m.profile.capacity,
    };
    state.members.values().map(candidate).collect()
}

/// What the save needs placed.
fn wish(core: &Core, request: &SaveRequest, size: u64) -> Wish {
    Wish {
        owner: core.me(),
        count: usize::from(request.replicas),
        size,
        without: Default::default(),
        beside: Default::default(),
        tie: core.env.rng.next(),
    }
}

/// The first targets; an error if there can never be enough.
fn plan_targets(core: &Core, state: &State, request: &SaveRequest, size: u64) -> Result<Wish, Error> {
    let wish = wish(core, request, size);
    let live = place(&candidates(state), &wish).len();
    let need = usize::from(request.ack.needed(request.replicas));
    if live >= need {
        return Ok(wish);
    }
    let message = format!(
        "durability not reached: {} needs durable copies on {need} other nodes, and only {live} of them can take one",
        request.name
    );
    let up = state.members.values().filter(|m| m.up && m.id != core.me()).count();
    Err(Error::new(Code::Durability, message)
        .hint(format!("{up} other nodes are up; see `cairn node ls`, add nodes, or ask for fewer with --replicas")))
}

async fn register(core: &Core, request: &SaveRequest, deadline: Duration) -> Result<Target, Error> {
    let command = Command::Register {
        request: until(core, request.request.step("register"), deadline),
        name: request.name.clone(),
        segment: SegmentId(core.env.uuid()),
        owner: core.me(),
        kind: request.kind,
    };
    let reply = core.propose(command, deadline).await?;
    match core.answer(&request.name, reply)? {
        Outcome::Registered { segment, epoch } => Ok(Target { segment, epoch, head: Version::NONE, new: true }),
        other => Err(unexpected(&other)),
    }
}

/// A step of a request, as the state machine knows it.
pub(super) fn until(core: &Core, id: RequestId, deadline: Duration) -> Request {
    let left = deadline.saturating_sub(core.env.clock.now());
    Request { id, until: core.view.borrow().state.time.after(left + ANSWER_MARGIN) }
}

/// For how much longer than a client waits its answers are kept, in log time.
const ANSWER_MARGIN: Duration = Duration::from_secs(30);

#[expect(clippy::too_many_arguments, reason = "the steps of one save")]
async fn transfer_and_commit(
    core: &Arc<Core>,
    request: &SaveRequest,
    target: &Target,
    source: Transfer,
    placed: Wish,
    deadline: Duration,
    meter: &Arc<Meter>,
    commit_id: RequestId,
) -> Result<Saved, Error> {
    let stored = source.run(core, request, target, placed, meter).await?;
    // The transfer had as long as it moved; the commit gets the client's time anew.
    let deadline = deadline.max(core.env.clock.now() + request.wait);
    let (table, receipts) = (stored.table.clone(), stored.receipts.clone());
    let commit = Commit {
        segment: target.segment,
        owner: core.me(),
        epoch: target.epoch,
        after: target.head,
        size: table.size(),
        digest: table.digest(),
        receipts,
        wanted: request.replicas,
        ack: request.ack,
        keep: request.keep,
        labels: request.labels.clone(),
    };
    let command = Command::Commit { request: until(core, commit_id, deadline), commit };
    let reply = core.propose(command, deadline).await?;
    let Outcome::Committed { version, epoch, digest } = core.answer(&request.name, reply)? else {
        return Err(Error::new(Code::Internal, "the cluster answered a commit with something else"));
    };
    let replicas = stored.replicas(core);
    stored.confirm_late(core, target.segment, version);
    Ok(Saved {
        name: request.name.clone(),
        segment: target.segment,
        kind: request.kind,
        version,
        epoch,
        size: table.size(),
        digest,
        owner: core.profile.name.clone(),
        replicas,
        ack: request.ack,
        bytes_sent: meter.done(),
    })
}
