//! A scenario's hands. What a save promised is remembered, and [`Cluster::settle`] holds the cluster to it.

mod promise;
mod settle;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use cairn_client::api::{Error, LoadRequest, Loaded, Progress, SaveRequest, Saved, SegmentDetail};
use cairn_client::dial::Client;
use cairn_store::digest::Digest;
use cairn_store::id::RequestId;
use cairn_store::name::Name;
use cairn_store::node::{NodeName, Role};
use cairn_store::segment::{Ack, Kind, Version};
use tokio::time::{Instant, sleep};

use crate::history::Moment;
use crate::net::SimNet;
use crate::objects::Store;
use crate::rng::SplitMix;
use crate::world::{Action, Control, Machine, Oracle, Spec};
use promise::Promises;

/// How long a client goes on with one request.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a client goes on with one save or load.
const JOB_MAX: Duration = Duration::from_secs(40);
/// How long the cluster may take to be whole again.
const RECOVERY_MAX: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const GLANCE: Duration = Duration::from_millis(20);

/// A cluster, for a scenario. Clones are the same one.
#[derive(Clone)]
pub struct Cluster {
    machines: Rc<[Rc<Machine>]>,
    control: Rc<Control>,
    /// What is seen from outside the world.
    pub oracle: Rc<RefCell<Oracle>>,
    /// The object store that is the global tier of those machines that have one.
    pub objects: Store,
    /// What it consists of.
    pub spec: Rc<Spec>,
    /// The scenario's own randomness.
    pub rng: Rc<SplitMix>,
    promises: Rc<RefCell<Promises>>,
    pace: u32,
}

impl Cluster {
    pub(crate) fn new(
        machines: Vec<Rc<Machine>>,
        control: Rc<Control>,
        oracle: Rc<RefCell<Oracle>>,
        objects: Store,
        rng: SplitMix,
        spec: Rc<Spec>,
    ) -> Self {
        let (machines, pace, rng) = (machines.into(), spec.pace, Rc::new(rng));
        Self { machines, control, oracle, objects, spec, rng, promises: Rc::default(), pace }
    }

    /// All machines.
    pub fn machines(&self) -> &[Rc<Machine>] {
        &self.machines
    }

    /// The machine of this name.
    pub fn machine(&self, name: &str) -> anyhow::Result<&Rc<Machine>> {
        self.machines.iter().find(|m| m.name == name).with_context(|| format!("no machine is called {name}"))
    }

    /// The machine on which this node runs.
    pub fn machine_of(&self, node: &NodeName) -> anyhow::Result<&Rc<Machine>> {
        let runs = |machine: &&Rc<Machine>| machine.node_name().is_ok_and(|name| name == *node);
        self.machines.iter().find(runs).with_context(|| format!("no machine runs {node}"))
    }

    /// A client of the node on this machine.
    pub fn client(&self, machine: &str) -> anyhow::Result<Client> {
        self.client_for(machine, PATIENCE * self.pace)
    }

    /// The same, with its patience.
    pub fn client_for(&self, machine: &str, patience: Duration) -> anyhow::Result<Client> {
        Ok(Client::with_connect(Arc::new(SimNet::default()), vec![self.machine(machine)?.rpc()], patience))
    }

    /// Now.
    pub fn moment(&self) -> Moment {
        let at = turmoil::sim_elapsed().unwrap_or_default();
        let leapt = self.machines().iter().map(|machine| machine.skew.leapt()).sum();
        Moment { at, leapt, revision: self.oracle.borrow().chronicle.newest() }
    }

    /// Has the world do something, and waits until it is done.
    pub async fn act(&self, action: Action) {
        self.control.ask(action).await;
    }

    /// A request id that was never used.
    pub fn new_request(&self) -> RequestId {
        RequestId(uuid::Builder::from_random_bytes(self.rng.bytes(16).try_into().unwrap_or_default()).into_uuid())
    }

    /// A save of `name`, to two other nodes unless changed.
    pub fn save_request(&self, name: &str) -> anyhow::Result<SaveRequest> {
        let request = self.new_request();
        Ok(SaveRequest {
            request,
            wait: PATIENCE * self.pace,
            name: name.parse()?,
            file: format!("file-{request}"),
            kind: Kind::File,
            replicas: 2,
            ack: Ack::All,
            keep: 2,
            if_version: None,
            epoch: None,
            labels: Default::default(),
            archive: None,
        })
    }

    /// An application on `node` writes the bytes into the spool and saves them.
    pub async fn save(&self, node: &str, name: &str, bytes: &[u8]) -> anyhow::Result<Saved> {
        let request = self.save_request(name)?;
        self.save_with(node, &request, bytes).await?.with_context(|| format!("save of {name} on {node}"))
    }

    /// The same with a request of one's own; the inner error is the cluster's.
    pub async fn save_with(
        &self,
        node: &str,
        request: &SaveRequest,
        bytes: &[u8],
    ) -> anyhow::Result<Result<Saved, Error>> {
        let disk = &self.machine(node)?.disk;
        disk.write_spool(&request.file, bytes)?;
        let client = self.client(node)?;
        let deadline = Instant::now() + JOB_MAX * self.pace;
        let answer = loop {
            let asked = client.call(true, |rpc, context| {
                let request = request.clone();
                async move { rpc.save(context, request).await }
            });
            match asked.await {
                Ok(Progress::Running { .. }) if Instant::now() < deadline => {}
                Ok(Progress::Running { .. }) => break Err(Error::unavailable("it takes too long").unknown()),
                Ok(Progress::Done(saved)) => break Ok(saved),
                Err(e) => break Err(e),
            }
        };
        tracing::info!(node, name = %request.name, outcome = ?answer.as_ref().map(|s| s.version), "a save ended");
        if let Ok(saved) = &answer {
            ensure!(saved.digest == Digest::of(bytes), "the save of {} has another digest", request.name);
            ensure!(saved.size == bytes.len() as u64, "the save of {} has another size", request.name);
            self.promises.borrow_mut().saved(saved, bytes)?;
        }
        Ok(answer)
    }

    /// An application on `node` loads the newest version, and reads it.
    pub async fn load(&self, node: &str, name: &str, claim: bool) -> anyhow::Result<(Loaded, Vec<u8>)> {
        self.try_load(node, name, claim).await?.with_context(|| format!("load of {name} on {node}"))
    }

    /// The same; the inner error is the cluster's.
    pub async fn try_load(
        &self,
        node: &str,
        name: &str,
        claim: bool,
    ) -> anyhow::Result<Result<(Loaded, Vec<u8>), Error>> {
        self.load_with(node, &LoadRequest { claim, ..self.load_request(name)? }).await
    }

    /// A load of the newest version of `name`.
    pub fn load_request(&self, name: &str) -> anyhow::Result<LoadRequest> {
        Ok(LoadRequest {
            request: self.new_request(),
            wait: PATIENCE * self.pace,
            name: name.parse()?,
            version: None,
            on: None,
            claim: false,
            lease: None,
            stale: false,
            from_tier: false,
        })
    }

    /// The same with a request of one's own, asked of `node`; the bytes are read where the cluster says that they lie.
    pub async fn load_with(
        &self,
        node: &str,
        request: &LoadRequest,
    ) -> anyhow::Result<Result<(Loaded, Vec<u8>), Error>> {
        let client = self.client(node)?;
        let deadline = Instant::now() + JOB_MAX * self.pace;
        loop {
            let asked = client.call(true, |rpc, context| {
                let request = request.clone();
                async move { rpc.load(context, request).await }
            });
            match asked.await {
                Ok(Progress::Running { .. }) if Instant::now() < deadline => {}
                Ok(Progress::Running { .. }) => return Ok(Err(Error::unavailable("it takes too long").unknown())),
                Ok(Progress::Done(loaded)) => {
                    let bytes = self.machine_of(&loaded.node)?.disk.read(&loaded.path)?;
                    let name = &loaded.name;
                    ensure!(Digest::of(&bytes) == loaded.digest, "what was loaded of {name} has another digest");
                    self.promises.borrow().check(&loaded, &bytes, request.version.is_none())?;
                    tracing::info!(node = %loaded.node, %name, version = %loaded.version, "a load ended");
                    return Ok(Ok((loaded, bytes)));
                }
                Err(e) => return Ok(Err(e)),
            }
        }
    }

    /// The story lets go of what was promised of a name: of all after this version, or of everything.
    pub fn give_up(&self, name: &Name, after: Option<Version>) {
        self.promises.borrow_mut().give_up(name, after);
    }

    /// Everything about a segment, as one node tells it.
    pub async fn show(&self, node: &str, name: &str) -> anyhow::Result<SegmentDetail> {
        Ok(self.client(node)?.show(&name.parse()?).await?)
    }

    /// The power of these machines goes, at one moment.
    pub async fn crash(&self, names: &[&str]) {
        self.control.ask(Action::Crash(owned(names))).await;
    }

    /// The power of these machines comes again.
    pub async fn start(&self, names: &[&str]) {
        self.control.ask(Action::Start(owned(names))).await;
    }

    /// Cuts these machines off from all other machines; the client still reaches them. Messages are lost, or held
    /// back until [`Cluster::heal`], as the seed has it.
    pub async fn isolate(&self, names: &[&str]) {
        let others = self.machines.iter().map(|m| m.name.clone()).filter(|n| !names.contains(&n.as_str()));
        let (these, others) = (owned(names), others.collect());
        let lost = self.rng.below(2) == 0;
        let action = if lost { Action::Partition(these, others) } else { Action::Hold(these, others) };
        self.control.ask(action).await;
    }

    /// Holds back all messages between two machines, until [`Cluster::heal`].
    pub async fn hold(&self, one: &str, other: &str) {
        self.control.ask(Action::Hold(owned(&[one]), owned(&[other]))).await;
    }

    /// All machines reach each other again.
    pub async fn heal(&self) {
        let all: Vec<String> = self.machines.iter().map(|m| m.name.clone()).collect();
        self.control.ask(Action::Heal(all.clone(), all)).await;
    }

    /// The node that leads: in the newest term, and by its own word.
    pub async fn leader(&self) -> anyhow::Result<String> {
        self.until("a leader", || {
            let leaders = self.machines.iter().filter_map(|m| Some((m.leads()?, m.name.clone())));
            leaders.max().map(|(_, name)| name)
        })
        .await
    }

    /// Executors, in the order of their names, without these.
    pub fn executors_without(&self, names: &[&str]) -> Vec<String> {
        let executors = self.machines.iter().filter(|m| m.role == Role::Executor);
        executors.map(|m| m.name.clone()).filter(|n| !names.contains(&n.as_str())).collect()
    }

    /// The nodes on which a segment's newest version lies.
    pub async fn holders(&self, node: &str, name: &str) -> anyhow::Result<Vec<NodeName>> {
        let detail = self.show(node, name).await?;
        let head = detail.versions.last().context("no version")?;
        Ok(head.holders.iter().map(|holder| holder.node.clone()).collect())
    }

    /// Looks again and again.
    pub async fn until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
        let deadline = Instant::now() + RECOVERY_MAX * self.pace;
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                bail!("no sign of {what} within {:?}", RECOVERY_MAX * self.pace);
            }
            sleep(GLANCE * self.pace).await;
        }
    }
}

pub(crate) fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
