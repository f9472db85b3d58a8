//! What clients share: one call, from its question to what the history says of it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use cairn_client::api::{
    ClaimRequest, Code, Error, LoadRequest, Loaded, PinRequest, Progress, ReleaseRequest, RemoveRequest, SaveRequest,
    UnpinRequest,
};
use cairn_client::dial::Client;
use cairn_store::digest::Digest;
use cairn_store::id::RequestId;
use cairn_store::name::Name;
use cairn_store::node::NodeName;
use cairn_store::segment::{Epoch, Kind, Standing, Version};
use tokio::time::Instant;

use super::Tally;
use crate::cluster::Cluster;
use crate::history::{Ask, Call, Drained, History, Told};
use crate::world::Machine;

/// How long a client goes on with one call.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// The same when nothing goes wrong any more.
pub(super) const CALM_PATIENCE: Duration = Duration::from_secs(12);
/// So many times as long it goes on with one save or load.
const JOB_TIMES: u32 = 3;

/// What clients share.
pub(super) struct Desk {
    pub(super) cluster: Cluster,
    pub(super) history: RefCell<History>,
    pub(super) tally: Tally,
    /// Machines on which a save goes on.
    pub(super) saving: RefCell<BTreeMap<String, u32>>,
    /// Only one fault of the network at a time: its end mends all links.
    pub(super) network: tokio::sync::Mutex<()>,
    /// Only one machine at a time goes for good, by a fault or by a removal.
    pub(super) members: tokio::sync::Mutex<()>,
    /// Clients that still work.
    pub(super) busy: Cell<usize>,
    known: RefCell<BTreeMap<Name, Known>>,
    calm: Cell<bool>,
    /// Whether anything that a node sent came twice.
    echoed: Cell<bool>,
}

/// What clients believe of a name.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) owner: Option<NodeName>,
    pub(super) epoch: Epoch,
    pub(super) head: Version,
}

impl Desk {
    pub(super) fn new(cluster: &Cluster, tally: &Tally) -> Rc<Self> {
        Rc::new(Self {
            cluster: cluster.clone(),
            history: RefCell::default(),
            tally: tally.clone(),
            saving: RefCell::default(),
            network: tokio::sync::Mutex::default(),
            members: tokio::sync::Mutex::default(),
            busy: Cell::new(0),
            known: RefCell::default(),
            calm: Cell::new(false),
            echoed: Cell::new(false),
        })
    }

    /// From now on nothing goes wrong any more.
    pub(super) fn be_calm(&self) {
        self.calm.set(true);
    }

    /// A node is about to be emptied; tells the place of that.
    pub(super) fn begin_drain(&self, node: &NodeName) -> usize {
        let drains = &mut self.history.borrow_mut().drains;
        drains.push(Drained { node: node.clone(), from: self.cluster.moment(), to: None });
        drains.len() - 1
    }

    /// It is not emptied any more.
    pub(super) fn end_drain(&self, place: usize) {
        let ended = Some(self.cluster.moment()).filter(|_| !self.echoed.get());
        if let Some(drain) = self.history.borrow_mut().drains.get_mut(place) {
            drain.to = ended;
        }
    }

    /// Whether a node may have been emptied at any time since then.
    fn was_emptied(&self, node: &NodeName, since: Duration) -> bool {
        let history = self.history.borrow();
        history.drains.iter().any(|drain| drain.node == *node && drain.to.is_none_or(|to| to.at >= since))
    }

    /// What a node sent comes once more, whenever that arrives: an order to empty a node, perhaps, after that had ended. No end of
    /// a drain is certain any more.
    pub(super) fn may_drain_again(&self) {
        self.echoed.set(true);
        self.history.borrow_mut().drains.iter_mut().for_each(|drain| drain.to = None);
    }

    pub(super) fn known(&self, name: &Name) -> Known {
        self.known.borrow().get(name).cloned().unwrap_or_default()
    }

    fn learn(&self, name: &Name, told: &Told) {
        let mut all = self.known.borrow_mut();
        let known = all.entry(name.clone()).or_default();
        match told {
            Told::Saved { version, epoch, owner, .. } => {
                *known = Known { owner: owner.clone(), epoch: *epoch, head: *version };
            }
            Told::Loaded { version, epoch, owner, .. } => {
                *known = Known { owner: owner.clone(), epoch: *epoch, head: *version };
            }
            Told::Claimed { epoch, head, owner } => {
                let head = head.unwrap_or(Version::NONE);
                *known = Known { owner: Some(owner.clone()), epoch: *epoch, head };
            }
            Told::Absent => *known = Known::default(),
            Told::Done | Told::Refused(_) | Told::Unknown => {}
        }
    }

    /// Makes a call once, and writes down what came of it.
    pub(super) async fn call(&self, to: &Machine, request: RequestId, name: &Name, ask: Ask) -> anyhow::Result<Told> {
        let patience = if self.calm.get() { CALM_PATIENCE } else { PATIENCE };
        self.call_for(patience, to, request, name, ask).await
    }

    /// The same, with its patience.
    pub(super) async fn call_for(
        &self,
        patience: Duration,
        to: &Machine,
        request: RequestId,
        name: &Name,
        ask: Ask,
    ) -> anyhow::Result<Told> {
        let node = to.node_name()?;
        let what = kind_of(&ask);
        let call = Call {
            node: node.clone(),
            request,
            name: name.clone(),
            ask: ask.clone(),
            asked: self.cluster.moment(),
            told: None,
        };
        let place = self.history.borrow_mut().ask(call);
        let told = match self.carry_out(patience, to, request, name, ask).await? {
            // This attempt came to nothing; an earlier one of the same request may have happened.
            Told::Refused(Code::Unavailable) if self.is_open(request) => Told::Unknown,
            told => told,
        };
        self.history.borrow_mut().tell(place, self.cluster.moment(), told.clone());
        self.tally.call(format!("{what} {}", ending_of(&told)));
        tracing::info!(%node, %request, %name, what, ?told, "a call ended");
        self.learn(name, &told);
        Ok(told)
    }

    /// Whether an earlier call of this request had no answer.
    fn is_open(&self, request: RequestId) -> bool {
        self.history
            .borrow()
            .calls
            .iter()
            .any(|call| call.request == request && call.told.as_ref().is_some_and(|(_, told)| *told == Told::Unknown))
    }

    async fn carry_out(
        &self,
        patience: Duration,
        to: &Machine,
        request: RequestId,
        name: &Name,
        ask: Ask,
    ) -> anyhow::Result<Told> {
        let client = self.cluster.client_for(&to.name, patience)?;
        let (wait, name) = (client.wait_in_all(), name.clone());
        let done = |answer: Result<(), Error>| answer.map_or_else(|error| Told::error(&error), |()| Told::Done);
        Ok(match ask {
            Ask::Save { digest: _, replicas, ack, keep, if_version, epoch } => {
                let (file, kind, labels) = (file_of(request), Kind::File, BTreeMap::new());
                let save = SaveRequest {
                    request,
                    wait,
                    name,
                    file,
                    kind,
                    replicas,
                    ack,
                    keep,
                    if_version,
                    epoch,
                    labels,
                    archive: None,
                };
                let _saving = Saving::begin(self, &to.name);
                self.save(&client, save, patience).await
            }
            Ask::Load { version, claim, stale } => {
                let load = LoadRequest {
                    request,
                    wait,
                    name,
                    version,
                    on: None,
                    claim,
                    lease: lease_of(request),
                    stale,
                    from_tier: false,
                };
                self.load(&client, load, patience).await?
            }
            Ask::Claim => {
                let answer = client.call(true, |rpc, context| {
                    let (lease, name) = (lease_of(request), name.clone());
                    let claim = ClaimRequest { request, wait, name, lease, if_epoch: None, create: None };
                    async move { rpc.claim(context, claim).await }
                });
                match answer.await {
                    Ok(claimed) => Told::Claimed { epoch: claimed.epoch, head: claimed.head, owner: claimed.owner },
                    Err(error) => Told::error(&error),
                }
            }
            Ask::Release { epoch } => done(
                client
                    .call(true, |rpc, context| {
                        let release = ReleaseRequest { request, wait, name: name.clone(), epoch };
                        async move { rpc.release(context, release).await }
                    })
                    .await,
            ),
            Ask::Remove { version } => done(
                client
                    .call(true, |rpc, context| {
                        let remove = RemoveRequest { request, wait, name: name.clone(), version, dry_run: false };
                        async move { rpc.remove(context, remove).await }
                    })
                    .await,
            ),
            Ask::Pin { version } => done(
                client
                    .call(true, |rpc, context| {
                        let pin = PinRequest { request, wait, name: name.clone(), version };
                        async move { rpc.pin(context, pin).await }
                    })
                    .await,
            ),
            Ask::Unpin { version } => done(
                client
                    .call(true, |rpc, context| {
                        let unpin = UnpinRequest { request, wait, name: name.clone(), version };
                        async move { rpc.unpin(context, unpin).await }
                    })
                    .await,
            ),
        })
    }

    async fn save(&self, client: &Client, save: SaveRequest, patience: Duration) -> Told {
        let deadline = Instant::now() + patience * JOB_TIMES;
        loop {
            let asked = client.call(true, |rpc, context| {
                let save = save.clone();
                async move { rpc.save(context, save).await }
            });
            match asked.await {
                Ok(Progress::Running { .. }) if Instant::now() < deadline => {}
                Ok(Progress::Running { .. }) => return Told::Unknown,
                Ok(Progress::Done(saved)) => {
                    return Told::Saved {
                        segment: saved.segment,
                        version: saved.version,
                        epoch: saved.epoch,
                        digest: saved.digest,
                        owner: saved.owner,
                    };
                }
                Err(error) => return Told::error(&error),
            }
        }
    }

    async fn load(&self, client: &Client, load: LoadRequest, patience: Duration) -> anyhow::Result<Told> {
        // Asked again, it is answered as before: its bytes were verified then.
        let first =
            self.history.borrow().calls.iter().find(|call| call.request == load.request).map(|call| call.asked);
        let asked = first.unwrap_or_else(|| self.cluster.moment()).at;
        let deadline = Instant::now() + patience * JOB_TIMES;
        let (loaded, leapt) = loop {
            let leapt = self.cluster.moment().leapt;
            let asked = client.call(true, |rpc, context| {
                let load = load.clone();
                async move { rpc.load(context, load).await }
            });
            match asked.await {
                Ok(Progress::Running { .. }) if Instant::now() < deadline => {}
                Ok(Progress::Running { .. }) => return Ok(Told::Unknown),
                Ok(Progress::Done(loaded)) => break (loaded, leapt),
                // A load changes nothing but what a claim does.
                Err(error) if !load.claim && error.code == Code::NotFound => return Ok(Told::Absent),
                Err(error) if !load.claim => return Ok(Told::Refused(error.code)),
                Err(error) => return Ok(Told::error(&error)),
            }
        };
        // Its disks may have been replaced since it answered.
        let Ok(machine) = self.cluster.machine_of(&loaded.node) else { return Ok(Told::Unknown) };
        let found = machine.disk.read(&loaded.path);
        // A stale load's file is the client's to take away.
        if let Some(file) = loaded.path.file_name().and_then(|file| file.to_str()).filter(|_| load.stale) {
            machine.disk.remove_spool(file);
        }
        let read = match found {
            Ok(bytes) => Digest::of(&bytes),
            // Its power went, a fault took the copy, newer versions took its place, a repair let go of what is no owner's, or hours
            // passed for a copy that nothing refers to, between the answer and our look.
            Err(_)
                if !machine.is_on()
                    || machine.is_harmed(loaded.copy)
                    || is_gone(machine, &loaded)
                    || is_let_go(machine, &loaded, self.was_emptied(&loaded.node, asked))
                    || (self.cluster.moment().leapt > leapt && !is_referenced(machine, &loaded)) =>
            {
                return Ok(Told::Unknown);
            }
            Err(error) => anyhow::bail!("E: what was loaded of {} is gone at once: {error}", loaded.name),
        };
        // It may have turned since it was verified.
        if read != loaded.digest && machine.is_harmed_since(loaded.copy, asked) {
            return Ok(Told::Unknown);
        }
        Ok(Told::Loaded {
            version: loaded.version,
            epoch: loaded.epoch,
            digest: loaded.digest,
            read,
            owner: loaded.owner,
            claimed: loaded.claimed,
        })
    }
}

/// Whether a machine's node knows that the version which was loaded there is gone.
fn is_gone(machine: &Machine, loaded: &Loaded) -> bool {
    machine.view().is_some_and(|view| {
        let segment = view.state.by_name(&loaded.name);
        let record = segment.and_then(|segment| segment.versions.get(&loaded.version));
        record.is_none_or(|record| record.digest != loaded.digest)
    })
}

/// Whether a machine's node knows that the copy which was loaded there was let go of. Never an owner's own, unless its node was emptied
/// meanwhile.
fn is_let_go(machine: &Machine, loaded: &Loaded, emptied: bool) -> bool {
    machine.view().is_some_and(|view| {
        let Some(segment) = view.state.by_name(&loaded.name) else { return false };
        let ended = view.state.standing(segment.id, loaded.version, loaded.copy) == Standing::Ended;
        ended && (emptied || !(loaded.claimed && segment.owner.is_some() && segment.epoch == loaded.epoch))
    })
}

/// Whether a machine's node knows that the cluster refers to the copy that was loaded there.
fn is_referenced(machine: &Machine, loaded: &Loaded) -> bool {
    machine.view().is_some_and(|view| {
        let segment = view.state.by_name(&loaded.name);
        let record = segment.and_then(|segment| segment.versions.get(&loaded.version));
        record.is_some_and(|record| record.refers_to(loaded.copy))
    })
}

/// A machine on which a save goes on.
struct Saving<'a> {
    desk: &'a Desk,
    machine: String,
}

impl<'a> Saving<'a> {
    fn begin(desk: &'a Desk, machine: &str) -> Self {
        *desk.saving.borrow_mut().entry(machine.to_owned()).or_default() += 1;
        Self { desk, machine: machine.to_owned() }
    }
}

impl Drop for Saving<'_> {
    fn drop(&mut self) {
        let mut saving = self.desk.saving.borrow_mut();
        if let Some(count) = saving.get_mut(&self.machine) {
            *count -= 1;
            if *count == 0 {
                saving.remove(&self.machine);
            }
        }
    }
}

/// One claim in four is for a lease of some seconds; the same at every retry.
fn lease_of(request: RequestId) -> Option<Duration> {
    let drawn = request.0.as_u128();
    drawn
        .is_multiple_of(4)
        .then(|| Duration::from_millis(1_000 + u64::try_from(drawn / 4 % 3_000).unwrap_or_default()))
}

pub(super) fn file_of(request: RequestId) -> String {
    format!("file-{request}")
}

fn kind_of(ask: &Ask) -> &'static str {
    match ask {
        Ask::Save { .. } => "save",
        Ask::Load { claim: true, .. } => "load --claim",
        Ask::Load { stale: true, .. } => "load --stale",
        Ask::Load { .. } => "load",
        Ask::Claim => "claim",
        Ask::Release { .. } => "release",
        Ask::Remove { .. } => "rm",
        Ask::Pin { .. } => "pin",
        Ask::Unpin { .. } => "unpin",
    }
}

fn ending_of(told: &Told) -> String {
    match told {
        Told::Saved { .. } | Told::Loaded { .. } | Told::Claimed { .. } | Told::Done => "done".into(),
        Told::Absent => "absent".into(),
        Told::Refused(code) => format!("refused: {code}"),
        Told::Unknown => "unknown".into(),
    }
}
