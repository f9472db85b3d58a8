//! A save: name, targets, bytes, receipts, commit — in this order, and nothing is acknowledged before the last.
//!
//! - `transfer`: the copies on their way, and what replaces a target that fails;
//! - `own`: the owner's own copy;
//! - `global`: a save that waits for the global tier;
//! - `settled`: what became of the request before, and that a refusal is its last word.

mod global;
mod own;
mod settled;
mod transfer;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use cairn_client::api::{self, Code, Error, Progress, SaveRequest, Saved};
use cairn_store::archive::Policy;
use cairn_store::crash_point;
use cairn_store::id::{RequestId, SegmentId};
use cairn_store::meta::state::REGISTRATION_TTL;
use cairn_store::meta::{Command, Commit, Outcome, Request, Scope, State};
use cairn_store::node::Role;
use cairn_store::plan::place::{Candidate, Unable, Wish, place, unable};
use cairn_store::segment::{
    Ack, Epoch, KEEP_MAX, LABEL_BYTES_MAX, LABELS_MAX, REPLICAS_MAX, SIZE_MAX, Segment, Version,
};

use tokio::sync::OwnedSemaphorePermit;

use super::answer::unexpected;
use super::{Service, WAIT_MAX};
use crate::core::Core;
use crate::env::ReadAt;
use crate::jobs::Meter;
use transfer::{Order, Source, Transfer};

impl Service {
    pub(super) async fn save_here(&self, request: SaveRequest) -> Result<Progress<Saved>, Error> {
        check(&request)?;
        let request = SaveRequest { wait: request.wait.min(WAIT_MAX), ..request };
        // What a retry may say differently: where in the spool the bytes lie, and how long it waits.
        let asked = SaveRequest { file: String::new(), wait: Duration::ZERO, ..request.clone() };
        let (core, id) = (self.core.clone(), asked.request);
        let begin = |meter| async move {
            let begun = core.env.clock.now();
            let saved = Save { core: core.clone(), request: request.into(), meter }.run().await;
            if saved.is_ok() {
                core.counts.saved(core.env.clock.now().saturating_sub(begun));
            }
            saved
        };
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
    Err(Error::new(Code::Invalid, wrong).hint("see `cairn save --help`"))
}

/// The segment that a save goes to, and whether this save made it.
#[derive(Clone, Copy)]
struct Target {
    segment: SegmentId,
    /// The request that registered it.
    registered: RequestId,
    epoch: Epoch,
    head: Version,
    new: bool,
}

/// How long a failed save tries to free the name that it took.
const UNREGISTER_PATIENCE: Duration = Duration::from_secs(5);
/// How often a first save that lasts says that its registration is not forgotten: a third of the time after which one
/// without a version expires.
const KEEP_NAME: Duration = Duration::from_secs(REGISTRATION_TTL.as_secs() / 3);

/// How often one request may take its name anew, after it was freed.
const REGISTERS_MAX: u32 = 64;

/// One save.
struct Save {
    core: Arc<Core>,
    request: Arc<SaveRequest>,
    meter: Arc<Meter>,
}

impl Save {
    async fn run(&self) -> Result<Saved, Error> {
        let Self { core, request, meter } = self;
        if core.profile.role == Role::Storage {
            let message = format!("{} is a storage-only node: it owns nothing", core.profile.name);
            return Err(
                Error::new(Code::Conflict, message).hint("save through an executor node; see `cairn node ls`")
            );
        }
        let _turn = meter.while_queued(&core.env, core.names.wait(&request.name)).await;
        let place = meter.while_queued(&core.env, core.saving.clone().acquire_owned()).await;
        let place = place.map_err(|_| Error::unavailable("the node is stopping"))?;
        let deadline = self.deadline();
        let state = core.read(deadline).await?.state;
        if let Some(done) = self.committed(&state) {
            return self.archived(done).await;
        }
        if let Some(refusal) = self.refused(&state) {
            return Err(refusal);
        }
        let checked = match state.by_name(&request.name) {
            Some(segment) => check_segment(core, &state, segment, request),
            None => check_new(request),
        };
        let checked = checked.and_then(|()| check_tier(core, &state, request));
        // It stays refused, though what it lacks may come.
        if let Err(error) = checked {
            return self.rule_out(error).await;
        }
        match self.attempt(&state, deadline, place).await {
            Err(error) if !error.retryable && error.outcome == api::Outcome::None => self.rule_out(error).await,
            result => result,
        }
    }

    async fn attempt(&self, state: &State, deadline: Duration, place: OwnedSemaphorePermit) -> Result<Saved, Error> {
        let Self { core, request, meter } = self;
        crash_point!("save.begin");
        let source = self.open().await?;
        let wish = self.plan(state, source.opened.size())?;
        let target = match state.by_name(&request.name) {
            Some(segment) => {
                // An earlier try of this very request may have taken the name.
                let own = (0..REGISTERS_MAX).any(|nth| segment.registered.0 == self.register_step(nth));
                let new = own && segment.head == Version::NONE;
                let (id, registered) = (segment.id, segment.registered.0);
                Target { segment: id, registered, epoch: segment.epoch, head: segment.head, new }
            }
            None => self.register(self.next_register(state), deadline).await?,
        };
        crash_point!("save.registered");
        let size = source.opened.size();
        tracing::info!(name = %request.name, request = %request.request, size, "save begins");
        let order = Order::new(core, request, target, source, meter);
        let transfer = Transfer::begin(order, wish, place);
        let result = tokio::select! {
            biased;
            result = self.commit(target, transfer) => result,
            never = self.keep_name(target) => match never {},
        };
        match &result {
            Ok(saved) => {
                tracing::info!(name = %request.name, request = %request.request, version = %saved.version, "save committed");
            }
            Err(error) => {
                tracing::warn!(name = %request.name, request = %request.request, %error, "save failed");
                if target.new && error.outcome == api::Outcome::None {
                    self.free_name(target).await;
                }
            }
        }
        result
    }

    /// From now on, as long as the client goes on asking.
    fn deadline(&self) -> Duration {
        self.core.env.clock.now() + self.request.wait
    }

    fn step(&self, step: &str) -> RequestId {
        self.request.request.step(step)
    }

    async fn open(&self) -> Result<Source, Error> {
        let (core, file) = (&self.core, self.request.file.clone());
        let (disk, name) = (core.env.disk.clone(), file.clone());
        let opened: Arc<dyn ReadAt> = match core.env.blocking(move || disk.open_spool(&name)).await {
            Ok(Ok(opened)) => opened.into(),
            Ok(Err(e)) | Err(e) => {
                return Err(Error::new(Code::Invalid, format!("the file {file:?} of the spool cannot be used: {e}"))
                    .hint("write a regular file into the node's spool first"));
            }
        };
        if opened.size() > SIZE_MAX {
            return Err(Error::new(Code::Invalid, format!("a segment has at most {SIZE_MAX} bytes"))
                .hint("save it in parts, under several names"));
        }
        // Its bytes lie on the disk already; where they cannot be linked the copy itself finds out.
        if !core.has_room(opened.size(), 0).await {
            return Err(Error::new(Code::Unavailable, "this node's storage has no room for its own copy")
                .hint("free space, or remove segments with `cairn rm`"));
        }
        Ok(Source { file, opened })
    }

    /// What is to be placed; an error if there can never be enough.
    fn plan(&self, state: &State, size: u64) -> Result<Wish, Error> {
        let Self { core, request, .. } = self;
        let wish = Wish {
            owner: Some(core.me()),
            count: usize::from(request.replicas),
            size,
            without: Default::default(),
            beside: Default::default(),
            tie: core.env.rng.next(),
        };
        let nodes = candidates(state);
        let live = place(&nodes, &wish).len();
        let need = usize::from(request.ack.needed(request.replicas));
        if live >= need {
            return Ok(wish);
        }
        let message = format!(
            "durability not reached: {} needs durable copies on {need} other nodes, and only {live} can take one{}",
            request.name,
            who_cannot(&unable(&nodes, &wish))
        );
        let up = state.members.values().filter(|m| m.up && m.id != core.me()).count();
        Err(Error::new(Code::Durability, message).hint(format!(
            "{up} other nodes are up; see `cairn node ls`, add nodes, or ask for fewer with --replicas"
        )))
    }

    fn register_step(&self, nth: u32) -> RequestId {
        self.step(&format!("register {nth}"))
    }

    /// The step that registers. What an earlier try registered and freed again stays remembered, and is no answer.
    fn next_register(&self, state: &State) -> RequestId {
        let usable = |id: &RequestId| match state.answer(*id) {
            Some(Ok(Outcome::Registered { segment, .. })) => state.segments.contains_key(segment),
            _ => true,
        };
        let mut steps = (0..REGISTERS_MAX).map(|nth| self.register_step(nth));
        steps.find(usable).unwrap_or_else(|| self.register_step(0))
    }

    async fn register(&self, step: RequestId, deadline: Duration) -> Result<Target, Error> {
        let Self { core, request, .. } = self;
        let command = Command::Register {
            request: until(core, step, deadline),
            name: request.name.clone(),
            segment: SegmentId(core.env.uuid()),
            owner: core.me(),
            kind: request.kind,
        };
        let reply = core.propose(command, deadline).await?;
        match core.answer(&request.name, reply)? {
            Outcome::Registered { segment, epoch } => {
                Ok(Target { segment, registered: step, epoch, head: Version::NONE, new: true })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Registers again and again, which says that the first version is still on its way.
    async fn keep_name(&self, target: Target) -> Infallible {
        loop {
            self.core.env.clock.sleep(KEEP_NAME).await;
            // A name that was removed meanwhile is not taken again.
            if target.new && self.core.now().state.segments.contains_key(&target.segment) {
                // If it fails, the next one comes in time.
                if let Ok(taken) = self.register(target.registered, self.deadline()).await
                    && taken.segment != target.segment
                {
                    self.free_name(taken).await;
                }
            }
        }
    }

    async fn commit(&self, target: Target, mut transfer: Transfer) -> Result<Saved, Error> {
        let Self { core, request, meter } = self;
        transfer.until_enough().await?;
        let object = self.deposit(&mut transfer).await?;
        // Again: that may have lasted, and words for copies run out.
        let table = transfer.until_enough().await?;
        crash_point!("save.enough");
        // The transfer had as long as it moved; the commit gets the client's time anew.
        let deadline = self.deadline();
        let commit = Commit {
            segment: target.segment,
            owner: core.me(),
            epoch: target.epoch,
            after: target.head,
            size: table.size(),
            digest: table.digest(),
            receipts: transfer.receipts(),
            wanted: request.replicas,
            ack: request.ack,
            keep: request.keep,
            labels: request.labels.clone(),
        };
        let command = self.command(until(core, self.step("commit"), deadline), commit, object, &core.now().state);
        let reply = core.propose(command, deadline).await?;
        crash_point!("save.committed");
        let (version, epoch, digest) = match core.answer(&request.name, reply)? {
            Outcome::Committed { version, epoch, digest, .. } => (version, epoch, digest),
            other => return Err(unexpected(&other)),
        };
        let replicas = transfer.replicas();
        transfer.go_on(version);
        self.archived(Saved {
            name: request.name.clone(),
            segment: target.segment,
            kind: request.kind,
            version,
            epoch,
            size: table.size(),
            digest,
            owner: Some(core.profile.name.clone()),
            replicas,
            ack: request.ack,
            bytes_sent: meter.done(),
            archived: false,
        })
        .await
    }

    /// The name was this save's own: it is free again. The copies are collected.
    async fn free_name(&self, target: Target) {
        let core = &self.core;
        let deadline = self.deadline().max(core.env.clock.now() + UNREGISTER_PATIENCE);
        let request = until(core, self.step(&format!("unregister {}", target.segment)), deadline);
        let command = Command::Unregister { request, segment: target.segment, scope: Scope::IfEmpty };
        // If no leader hears it, the registration expires.
        let _ = core.propose(command, deadline).await;
    }
}

fn check_segment(core: &Core, state: &State, segment: &Segment, request: &SaveRequest) -> Result<(), Error> {
    use cairn_store::meta::Rejection;
    let name = &segment.name;
    let refuse =
        |rejection| Err(core.answer(name, Err(rejection)).err().unwrap_or_else(|| unexpected(&Outcome::Done)));
    if segment.owner != Some(core.me()) {
        let refused = refuse(Rejection::NotOwner { owner: segment.owner });
        // Nothing is there to be taken over.
        return match segment.head {
            Version::NONE => refused.map_err(|error| error.hint(super::answer::without_version(name))),
            _ => refused,
        };
    }
    if request.epoch.is_none() && state.lease(segment.id).is_some() {
        let message = format!("{name} is leased: a save has to tell its epoch, {} now", segment.epoch);
        let error = Error::new(Code::Conflict, message);
        return Err(
            error.hint("pass --epoch E (CAIRN_EPOCH), as the claim told it: whoever lost the lease must not save")
        );
    }
    if request.epoch.is_some_and(|epoch| epoch != segment.epoch) {
        return refuse(Rejection::StaleEpoch { current: segment.epoch });
    }
    if request.if_version.is_some_and(|version| version != segment.head) {
        return refuse(Rejection::HeadMoved { head: segment.head });
    }
    if request.kind != segment.kind {
        let message = format!("{name} is a {}, not a {}", segment.kind, request.kind);
        return Err(Error::new(Code::Conflict, message).hint("save it under another name"));
    }
    Ok(())
}

/// Who asks for the tier is told at once if nobody has one.
fn check_tier(core: &Core, state: &State, request: &SaveRequest) -> Result<(), Error> {
    let asks = request.ack == Ack::Global || request.archive.is_some_and(|policy| policy != Policy::Never);
    // This node may not have said so yet.
    if !asks || !state.tiers.is_empty() || core.tier.objects().is_some() {
        return Ok(());
    }
    let message = match request.ack {
        Ack::Global => format!(
            "durability not reached: no node of this cluster has a global tier, so {} was not saved",
            request.name
        ),
        _ => "no node of this cluster has a global tier".to_owned(),
    };
    let code = if request.ack == Ack::Global { Code::Durability } else { Code::Invalid };
    Err(Error::new(code, message)
        .hint("set global.url on a node, or leave --archive and --ack global away (docs/global.md)"))
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
pub fn candidates(state: &State) -> Vec<Candidate> {
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

/// Why others cannot take a copy, in parentheses; nothing if all can.
pub(super) fn who_cannot(unable: &Unable) -> String {
    let Unable { down, draining, full } = *unable;
    let reasons = [(down, "down"), (draining, "being emptied"), (full, "without room")];
    let told: Vec<String> =
        reasons.iter().filter(|(count, _)| *count > 0).map(|(count, why)| format!("{count} {why}")).collect();
    if told.is_empty() { String::new() } else { format!(" ({})", told.join(", ")) }
}

/// A step of a request, as the state machine knows it.
pub(super) fn until(core: &Core, id: RequestId, deadline: Duration) -> Request {
    let left = deadline.saturating_sub(core.env.clock.now());
    Request { id, until: core.view.borrow().state.time.after(left + ANSWER_MARGIN) }
}

/// For how much longer than a client waits its answers are kept, in log time.
const ANSWER_MARGIN: Duration = Duration::from_secs(30);
