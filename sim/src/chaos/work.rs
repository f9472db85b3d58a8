//! Clients at work: each does its steps one after the other, and everything that it was told goes into the history.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use cairn_client::api::{
    ClaimRequest, Code, Error, LoadRequest, Loaded, PinRequest, Progress, ReleaseRequest, RemoveRequest, SaveRequest,
    UnpinRequest, WatchRequest,
};
use cairn_client::dial::Client;
use cairn_store::digest::Digest;
use cairn_store::id::RequestId;
use cairn_store::name::Name;
use cairn_store::node::{NodeName, Role};
use cairn_store::segment::{Ack, Epoch, Kind, Version};
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, sleep};

use super::plan::{Act, Step};
use super::{Tally, probe};
use crate::cluster::Cluster;
use crate::history::{Ask, Call, History, Told};
use crate::rng::SplitMix;
use crate::world::Machine;

/// How long a client goes on with one call.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long it goes on with one save or load.
const JOB_MAX: Duration = Duration::from_secs(9);
/// The most bytes of what makes no sense.
const GARBAGE_BYTES_MAX: u64 = 4_000;

/// What clients share.
pub(super) struct Desk {
    pub(super) cluster: Cluster,
    pub(super) history: RefCell<History>,
    pub(super) tally: Tally,
    /// Machines on which a save goes on.
    pub(super) saving: RefCell<BTreeMap<String, u32>>,
    /// Only one fault of the network at a time: its end mends all links.
    pub(super) network: tokio::sync::Mutex<()>,
    /// Clients that still work.
    pub(super) busy: Cell<usize>,
    known: RefCell<BTreeMap<Name, Known>>,
    calm: Cell<bool>,
}

/// What clients believe of a name.
#[derive(Clone, Debug, Default)]
struct Known {
    owner: Option<NodeName>,
    epoch: Epoch,
    head: Version,
}

impl Desk {
    pub(super) fn new(cluster: &Cluster, tally: &Tally) -> Rc<Self> {
        Rc::new(Self {
            cluster: cluster.clone(),
            history: RefCell::default(),
            tally: tally.clone(),
            saving: RefCell::default(),
            network: tokio::sync::Mutex::default(),
            busy: Cell::new(0),
            known: RefCell::default(),
            calm: Cell::new(false),
        })
    }

    /// From now on nothing goes wrong any more.
    pub(super) fn be_calm(&self) {
        self.calm.set(true);
    }

    fn known(&self, name: &Name) -> Known {
        self.known.borrow().get(name).cloned().unwrap_or_default()
    }

    fn learn(&self, name: &Name, told: &Told) {
        let mut all = self.known.borrow_mut();
        let known = all.entry(name.clone()).or_default();
        match told {
            Told::Saved { version, epoch, owner, .. } => {
                *known = Known { owner: Some(owner.clone()), epoch: *epoch, head: *version };
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
        let told = match self.carry_out(to, request, name, ask).await? {
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

    async fn carry_out(&self, to: &Machine, request: RequestId, name: &Name, ask: Ask) -> anyhow::Result<Told> {
        let patience = if self.calm.get() { PATIENCE * 4 } else { PATIENCE };
        let client = self.cluster.client_for(&to.name, patience)?;
        let (wait, name) = (client.wait_in_all(), name.clone());
        let done = |answer: Result<(), Error>| answer.map_or_else(|error| Told::error(&error), |()| Told::Done);
        Ok(match ask {
            Ask::Save { digest: _, replicas, ack, keep, if_version, epoch } => {
                let (file, kind, labels) = (file_of(request), Kind::File, BTreeMap::new());
                let save =
                    SaveRequest { request, wait, name, file, kind, replicas, ack, keep, if_version, epoch, labels };
                let _saving = Saving::begin(self, &to.name);
                self.save(&client, save, patience).await
            }
            Ask::Load { version, claim, stale } => {
                let load = LoadRequest { request, wait, name, version, on: None, claim, stale };
                self.load(&client, load, patience).await?
            }
            Ask::Claim => {
                let answer = client.call(true, |rpc, context| {
                    let claim = ClaimRequest { request, wait, name: name.clone() };
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
        let deadline = Instant::now() + JOB_MAX.max(patience);
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
        let deadline = Instant::now() + JOB_MAX.max(patience);
        let loaded = loop {
            let asked = client.call(true, |rpc, context| {
                let load = load.clone();
                async move { rpc.load(context, load).await }
            });
            match asked.await {
                Ok(Progress::Running { .. }) if Instant::now() < deadline => {}
                Ok(Progress::Running { .. }) => return Ok(Told::Unknown),
                Ok(Progress::Done(loaded)) => break loaded,
                // A load changes nothing but what a claim does.
                Err(error) if !load.claim && error.code == Code::NotFound => return Ok(Told::Absent),
                Err(error) if !load.claim => return Ok(Told::Refused(error.code)),
                Err(error) => return Ok(Told::error(&error)),
            }
        };
        let machine = self.cluster.machine_of(&loaded.node)?;
        let read = match machine.disk.read(&loaded.path) {
            Ok(bytes) => Digest::of(&bytes),
            // Its power went, a fault took the copy, or newer versions took its place, between the answer and our look.
            Err(_) if !machine.is_on() || machine.is_harmed(loaded.copy) || is_gone(machine, &loaded) => {
                return Ok(Told::Unknown);
            }
            Err(error) => anyhow::bail!("E: what was loaded of {} is gone at once: {error}", loaded.name),
        };
        // It may have turned since it was verified.
        if read != loaded.digest && machine.is_harmed(loaded.copy) {
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

fn file_of(request: RequestId) -> String {
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

/// One client does its steps.
pub(super) async fn client(desk: &Rc<Desk>, steps: &[Step]) -> anyhow::Result<()> {
    desk.busy.set(desk.busy.get() + 1);
    for step in steps {
        sleep(step.pause).await;
        Worker { desk, step, rng: SplitMix::new(step.luck) }.work().await?;
    }
    desk.busy.set(desk.busy.get() - 1);
    Ok(())
}

/// One step at work.
struct Worker<'a> {
    desk: &'a Desk,
    step: &'a Step,
    rng: SplitMix,
}

impl Worker<'_> {
    async fn work(&self) -> anyhow::Result<()> {
        let name: Name = self.step.name.parse()?;
        let known = self.desk.known(&name);
        let version = || Some(Version(1 + self.rng.below(known.head.0.max(1))));
        let some_version = version().unwrap_or(Version::NONE);
        match self.step.act {
            Act::Save => self.save(&name, &known, false).await,
            Act::SaveGuarded => self.save(&name, &known, true).await,
            Act::Load => self.ask(&name, Ask::Load { version: None, claim: false, stale: false }).await,
            Act::LoadAndClaim => self.ask(&name, Ask::Load { version: None, claim: true, stale: false }).await,
            Act::LoadStale => self.ask(&name, Ask::Load { version: None, claim: false, stale: true }).await,
            Act::LoadVersion => self.ask(&name, Ask::Load { version: version(), claim: false, stale: false }).await,
            Act::Claim => self.ask(&name, Ask::Claim).await,
            Act::Release => self.ask(&name, Ask::Release { epoch: known.epoch }).await,
            Act::Remove => self.ask(&name, Ask::Remove { version: None }).await,
            Act::RemoveVersion => self.ask(&name, Ask::Remove { version: Some(some_version) }).await,
            Act::Pin => self.ask(&name, Ask::Pin { version: some_version }).await,
            Act::Unpin => {
                let version = Some(some_version).filter(|_| self.rng.below(2) == 0);
                self.ask(&name, Ask::Unpin { version }).await
            }
            Act::Watch => self.watch().await,
            Act::Look => self.look().await,
            Act::Drain => self.drain().await,
            Act::Probe => probe::probe(self.desk, &name, &self.rng).await,
            Act::Garbage => self.send_garbage().await,
        }
    }

    /// A machine that may own; the owner's, mostly.
    fn executor(&self, likely: Option<&NodeName>) -> Option<Rc<Machine>> {
        let machines = self.desk.cluster.machines();
        let owner = likely.and_then(|owner| self.desk.cluster.machine_of(owner).ok());
        if let Some(owner) = owner.filter(|_| self.rng.below(10) < 8) {
            return Some(owner.clone());
        }
        let executors: Vec<_> = machines.iter().filter(|m| m.role == Role::Executor && !m.is_lost()).collect();
        executors.get(self.rng.index(executors.len())).map(|machine| (*machine).clone())
    }

    async fn save(&self, name: &Name, known: &Known, guarded: bool) -> anyhow::Result<()> {
        let Some(machine) = self.executor(known.owner.as_ref()) else { return Ok(()) };
        let request = self.desk.cluster.new_request();
        let bytes = self.bytes(request);
        // Where no machine runs, no application does.
        if !machine.is_on() || machine.disk.write_spool(&file_of(request), &bytes).is_err() {
            return Ok(());
        }
        let ack = self.rng.one_of([Ack::All, Ack::All, Ack::All, Ack::Quorum, Ack::One, Ack::Local]);
        let ask = Ask::Save {
            digest: Digest::of(&bytes),
            replicas: [2, 2, 1, 1, 0, 3].get(self.rng.index(6)).copied().unwrap_or(2),
            ack,
            keep: 1 + u32::try_from(self.rng.below(4))?,
            if_version: Some(known.head).filter(|_| guarded && self.rng.below(2) == 0),
            epoch: Some(known.epoch).filter(|epoch| guarded && *epoch != Epoch::default()),
        };
        let told = self.repeat(&machine, request, name, ask).await?;
        if told != Told::Unknown {
            machine.disk.remove_spool(&file_of(request));
        }
        Ok(())
    }

    /// Bytes that no other save has.
    fn bytes(&self, request: RequestId) -> Vec<u8> {
        let length = match self.rng.below(100) {
            0..70 => self.rng.below(4_000),
            70..94 => self.rng.below(60_000),
            94..99 => self.rng.below(300_000),
            _ => 1_000_000 + self.rng.below(1_500_000),
        };
        let mut bytes = request.0.into_bytes().to_vec();
        bytes.extend(self.rng.bytes(usize::try_from(length).unwrap_or(0)));
        bytes
    }

    async fn ask(&self, name: &Name, ask: Ask) -> anyhow::Result<()> {
        let Some(machine) = self.executor(None) else { return Ok(()) };
        let request = self.desk.cluster.new_request();
        self.repeat(&machine, request, name, ask).await.map(drop)
    }

    /// Asks; sometimes again after no answer, and sometimes again after one.
    async fn repeat(&self, machine: &Machine, request: RequestId, name: &Name, ask: Ask) -> anyhow::Result<Told> {
        let node = machine.node_name()?;
        let mut told = self.desk.call(machine, request, name, ask.clone()).await?;
        for _ in 0..2 {
            // What was refused is another request when it is tried again.
            let again = match &told {
                Told::Unknown => self.rng.below(2) == 0,
                told => told.is_success() && self.rng.below(12) == 0,
            };
            if !again || !changes(&ask) {
                break;
            }
            sleep(Duration::from_millis(self.rng.below(1_500))).await;
            // On another node's disk there is another node.
            if machine.node_name()? != node {
                break;
            }
            let next = self.desk.call(machine, request, name, ask.clone()).await?;
            if next != Told::Unknown {
                told = next;
            }
        }
        Ok(told)
    }

    /// Changes come in order, and none is left out, whichever node tells them; or it says that some are gone (R15).
    async fn watch(&self) -> anyhow::Result<()> {
        let Some(machine) = self.executor(None) else { return Ok(()) };
        let client = self.desk.cluster.client_for(&machine.name, PATIENCE)?;
        let from = 1 + self.rng.below(self.desk.cluster.moment().revision + 2);
        let asked = client.call(false, |rpc, context| {
            let request = WatchRequest { prefix: String::new(), from: Some(from), cluster: None, wait: PATIENCE / 3 };
            async move { rpc.watch(context, request).await }
        });
        let Ok(watched) = asked.await else { return Ok(()) };
        self.desk.tally.call(format!("watch {}", if watched.relist { "relist" } else { "done" }));
        if watched.relist {
            return Ok(());
        }
        let told = watched.events.iter().map(|e| (e.revision, e.change, &e.name, e.version, e.epoch));
        let oracle = self.desk.cluster.oracle.borrow();
        let known = oracle.chronicle.events().filter(|event| (from..watched.next).contains(&event.revision));
        let known = known.map(|e| (e.revision, e.change, &e.name, e.version, e.epoch));
        let node = machine.node_name()?;
        anyhow::ensure!(told.eq(known), "{node} tells other changes from revision {from} on than were committed");
        Ok(())
    }

    async fn look(&self) -> anyhow::Result<()> {
        let Some(machine) = self.executor(None) else { return Ok(()) };
        let client = self.desk.cluster.client_for(&machine.name, PATIENCE)?;
        if let Ok(all) = client.list_all("", None).await {
            let names: BTreeSet<&Name> = all.iter().map(|segment| &segment.name).collect();
            anyhow::ensure!(names.len() == all.len(), "a list has a name twice");
            if let Some(segment) = all.get(self.rng.index(all.len())) {
                // It may be gone by now.
                let _ = client.show(&segment.name).await;
            }
        }
        let _ = futures::join!(client.nodes(), client.status(), client.peers());
        self.desk.tally.call("look".into());
        Ok(())
    }

    async fn drain(&self) -> anyhow::Result<()> {
        let Some(machine) = self.executor(None) else { return Ok(()) };
        let client = self.desk.cluster.client_for(&machine.name, PATIENCE)?;
        let node = machine.node_name()?;
        let drained = client.drain(&node, true).await.is_ok();
        sleep(Duration::from_millis(self.rng.below(3_000))).await;
        let ended = client.drain(&node, false).await.is_ok();
        self.desk.tally.call(format!("drain {}", if drained && ended { "done" } else { "unknown" }));
        Ok(())
    }

    /// H: whatever comes in, the node stays up, and the connection ends.
    async fn send_garbage(&self) -> anyhow::Result<()> {
        let machines = self.desk.cluster.machines();
        let Some(machine) = machines.get(self.rng.index(machines.len())) else { return Ok(()) };
        let address = if self.rng.below(2) == 0 { machine.rpc() } else { machine.data() };
        let count = usize::try_from(self.rng.below(GARBAGE_BYTES_MAX))?;
        let connected = tokio::time::timeout(PATIENCE, turmoil::net::TcpStream::connect(address)).await;
        if let Ok(Ok(mut stream)) = connected {
            let _ = stream.write_all(&self.rng.bytes(count)).await;
            sleep(Duration::from_millis(self.rng.below(500))).await;
        }
        self.desk.tally.call("garbage".into());
        Ok(())
    }
}

/// Whether the same request may be asked again: a read is another one each time.
fn changes(ask: &Ask) -> bool {
    !matches!(ask, Ask::Load { claim: false, .. })
}
