//! A machine: its disks stay when the power goes, its node does not.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use cairn_node::core::Core;
use cairn_node::raft::View;
use cairn_node::raft::types::Vote;
use cairn_node::work::leave::{REMOVED, STILL_VOTES};
use cairn_store::id::{ClusterId, CopyId, Incarnation};
use cairn_store::node::{NodeName, Profile, Role};
use futures::future::LocalBoxFuture;
use openraft::async_runtime::WatchReceiver as _;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::Spec;
use crate::clock::Skew;
use crate::disk::{Failure, MemDisk};
use crate::files::Loss;
use crate::log::LogStore;
use crate::net::Recorder;
use crate::rng::SplitMix;

/// Where a node's service listens.
const RPC_PORT: u16 = 7420;
/// Where its data plane listens.
const DATA_PORT: u16 = 7421;

/// The machine that founds the first cluster.
const FOUNDER: &str = "n1";

/// Errands that wait for a machine.
const ERRANDS_MAX: usize = 64;

/// One machine.
pub struct Machine {
    /// Its host name; that of its first node too.
    pub name: String,
    /// What its node may be asked to do.
    pub role: Role,
    /// Local storage.
    pub disk: MemDisk,
    /// The log's own device.
    pub log: LogStore,
    /// What is wrong with its clocks.
    pub skew: Skew,
    /// What it sent.
    pub sent: Recorder,
    seed: u64,
    zone: String,
    capacity: u64,
    /// How often its disks were replaced by empty ones, or its node was laid aside.
    life: Cell<u32>,
    /// Whether the node of this life founds a cluster.
    founds: Cell<bool>,
    /// Whether its node has a global tier.
    tier: Cell<bool>,
    boots: Cell<u64>,
    on: Cell<bool>,
    lost: Cell<bool>,
    stopped: RefCell<Option<Result<String, String>>>,
    parting: RefCell<Option<View>>,
    /// When a fault touched a copy last.
    harmed: RefCell<BTreeMap<CopyId, Duration>>,
    losses: Cell<Loss>,
    /// How often its disks had failed, or run full, when the power went.
    failures: Cell<u32>,
    node: RefCell<Option<Running>>,
}

/// A node that runs.
struct Running {
    core: Arc<Core>,
    errands: mpsc::Sender<Errand>,
}

/// Something to be done on a machine, with its own clocks.
pub(super) type Errand = Box<dyn FnOnce(Arc<Core>) -> LocalBoxFuture<'static, ()>>;

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Machine {
    pub(super) fn new(name: &str, role: Role, zone: String, spec: &Spec, seed: u64) -> Self {
        Self {
            name: name.to_owned(),
            role,
            disk: MemDisk::new(name, spec.disk_bytes),
            log: LogStore::default(),
            skew: Skew::default(),
            sent: Recorder::default(),
            seed,
            zone,
            capacity: spec.disk_bytes,
            life: Cell::new(0),
            founds: Cell::new(name == FOUNDER),
            tier: Cell::new(false),
            boots: Cell::new(0),
            on: Cell::new(true),
            lost: Cell::new(false),
            stopped: RefCell::default(),
            parting: RefCell::default(),
            harmed: RefCell::default(),
            losses: Cell::default(),
            failures: Cell::default(),
            node: RefCell::default(),
        }
    }

    /// `HOST:PORT` of its service.
    pub fn rpc(&self) -> String {
        format!("{}:{RPC_PORT}", self.name)
    }

    /// `HOST:PORT` of its data plane.
    pub fn data(&self) -> String {
        format!("{}:{DATA_PORT}", self.name)
    }

    /// The name of its node. A node that lost its folder is another one, with another name.
    pub fn node_name(&self) -> anyhow::Result<NodeName> {
        let life = self.life.get();
        let name = if life == 0 { self.name.clone() } else { format!("{}-{life}", self.name) };
        Ok(name.parse()?)
    }

    /// What its node says of itself.
    pub fn profile(&self) -> anyhow::Result<Profile> {
        Ok(Profile {
            name: self.node_name()?,
            role: self.role,
            zone: self.zone.clone(),
            rpc: self.rpc(),
            data: self.data(),
            http: String::new(),
            capacity: self.capacity,
        })
    }

    /// The life of its folder.
    pub fn incarnation(&self) -> Incarnation {
        Incarnation(random_uuid(&SplitMix::of(self.seed, &self.name, u64::MAX - u64::from(self.life.get()))))
    }

    /// The cluster that its node founds; none if it joins one.
    pub(super) fn founded(&self) -> Option<ClusterId> {
        let cluster = || ClusterId(random_uuid(&SplitMix::of(self.seed, "cluster", u64::from(self.life.get()))));
        self.founds.get().then(cluster)
    }

    /// Whether its node has a global tier.
    pub fn has_tier(&self) -> bool {
        self.tier.get()
    }

    /// From its next start on its node has one, or has none.
    pub fn set_tier(&self, has: bool) {
        self.tier.set(has);
    }

    /// Whether it has power.
    pub fn is_on(&self) -> bool {
        self.on.get()
    }

    /// Whether it will never come back.
    pub fn is_lost(&self) -> bool {
        self.lost.get()
    }

    /// It will never come back.
    pub fn lose(&self) {
        self.lost.set(true);
    }

    /// Has something done on this machine, by its node, and waits for the result; none if the node ends before. Whoever
    /// called one of its functions from elsewhere would hand it the clocks of another machine.
    pub async fn send<T: 'static, F>(&self, errand: impl FnOnce(Arc<Core>) -> F + 'static) -> Option<T>
    where
        F: Future<Output = T> + 'static,
    {
        let (tell, told) = oneshot::channel();
        let errand: Errand = Box::new(move |core| {
            Box::pin(async move {
                // Nobody may be waiting any more.
                let _ = tell.send(errand(core).await);
            })
        });
        let errands = self.node.borrow().as_ref()?.errands.clone();
        errands.send(errand).await.ok()?;
        told.await.ok()
    }

    /// What its node has applied; none while no node runs.
    pub fn view(&self) -> Option<View> {
        self.node.borrow().as_ref().map(|node| node.core.now())
    }

    /// The revision that its node has applied; none while no node runs.
    pub fn revision(&self) -> Option<u64> {
        self.node.borrow().as_ref().map(|node| node.core.view.borrow().state.revision)
    }

    /// The name of the node that it takes for the leader.
    pub fn leader(&self) -> Option<String> {
        let node = self.node.borrow();
        let core = &node.as_ref()?.core;
        core.leader().map(|leader| core.name_of(leader))
    }

    /// The term in which its own node leads.
    pub fn leads(&self) -> Option<u64> {
        self.node.borrow().as_ref()?.core.leading()
    }

    /// Whether its node runs, and nobody has told it anything yet since it joined.
    pub fn knows_nobody(&self) -> bool {
        let node = self.node.borrow();
        node.as_ref().is_some_and(|node| {
            let metrics = node.core.metrics.borrow_watched();
            metrics.last_log_index.is_none() && metrics.snapshot.is_none() && metrics.vote.leader_id.term == 0
        })
    }

    /// Its node's vote, as it keeps it; none while no node runs, or before it has read it.
    pub fn vote(&self) -> Option<Vote> {
        let vote = self.node.borrow().as_ref()?.core.metrics.borrow_watched().vote;
        (vote.leader_id.term > 0).then_some(vote)
    }

    /// How often it was switched on.
    pub fn boots(&self) -> u64 {
        self.boots.get()
    }

    /// Whether the power went in the middle of a write.
    pub fn is_dead(&self) -> bool {
        self.disk.failed() == Some(Failure::PowerOff)
    }

    /// Its disk and its log take so many times as long as usual.
    pub fn slow_disk(&self, factor: u32) {
        self.disk.slow(factor);
        self.log.slow(factor);
    }

    /// How often its disk or its log failed, or ran full.
    pub fn failures(&self) -> u32 {
        let now = [self.disk.failed().is_some(), self.log.failed(), self.disk.ran_full()];
        self.failures.get() + now.map(u32::from).iter().sum::<u32>()
    }

    /// What its crashes lost and tore.
    pub fn losses(&self) -> Loss {
        self.losses.get()
    }

    /// A fault took a copy away, or may have: nothing is asked of it any more.
    pub fn harm(&self, copy: CopyId) {
        self.harmed.borrow_mut().insert(copy, turmoil::sim_elapsed().unwrap_or_default());
    }

    /// Whether a fault took this copy away, or may have.
    pub fn is_harmed(&self, copy: CopyId) -> bool {
        self.harmed.borrow().contains_key(&copy)
    }

    /// Whether one touched it since this moment of the world.
    pub fn is_harmed_since(&self, copy: CopyId, since: Duration) -> bool {
        self.harmed.borrow().get(&copy).is_some_and(|at| *at >= since)
    }

    /// The number of this boot.
    pub(super) fn next_boot(&self) -> u64 {
        self.boots.replace(self.boots.get() + 1)
    }

    /// A node runs. Errands for it come through the channel.
    pub(super) fn keep_node(&self, core: Arc<Core>) -> mpsc::Receiver<Errand> {
        let (errands, inbox) = mpsc::channel(ERRANDS_MAX);
        self.node.replace(Some(Running { core, errands }));
        inbox
    }

    pub(super) fn forget_node(&self) {
        self.node.take();
    }

    /// Its node stopped by itself.
    pub(super) fn note_stop(&self, why: String) {
        self.parting.replace(self.view());
        self.forget_node();
        let full = self.disk.ran_full() && why.contains(&ErrorKind::StorageFull.to_string());
        let removed = why.contains(REMOVED) || why.contains(STILL_VOTES);
        let excused = full || removed || self.disk.failed().is_some() || self.log.failed();
        self.stopped.replace(Some(if excused { Ok(why) } else { Err(why) }));
    }

    /// What its node had applied when it stopped by itself. It may have answered by it in the very step in which it stopped.
    pub(super) fn take_parting(&self) -> Option<View> {
        self.parting.take()
    }

    /// Why its node stopped by itself, since this was asked last; an error if nothing excused it.
    pub(super) fn take_stop(&self) -> anyhow::Result<Option<String>> {
        let stopped = self.stopped.take().transpose();
        stopped.map_err(|why| anyhow::anyhow!("{} stopped: {why}", self.name))
    }

    pub(super) fn switch_on(&self) {
        self.on.set(true);
    }

    pub(super) fn switch_off(&self) {
        self.on.set(false);
    }

    /// The power goes.
    pub(super) fn crash(&self, power: &SplitMix) {
        self.on.set(false);
        self.failures.set(self.failures());
        for Loss { lost, torn } in [self.disk.crash(power), self.log.crash(power)] {
            let sum = self.losses.get();
            self.losses.set(Loss { lost: sum.lost + lost, torn: sum.torn + torn });
        }
    }

    /// Its node goes, and leaves its copies behind. It must be off.
    pub(super) fn lay_aside(&self, founds: bool) {
        self.life.set(self.life.get() + 1);
        self.founds.set(founds);
        self.disk.lay_aside();
        self.log.wipe();
    }

    /// Its node founds a cluster when it starts. It must be off, and its disks empty.
    pub(super) fn found(&self) {
        self.founds.set(true);
    }

    /// Its disks are replaced by empty ones. It must be off.
    pub(super) fn wipe(&self) {
        self.life.set(self.life.get() + 1);
        self.founds.set(false);
        self.disk.wipe();
        self.log.wipe();
    }
}

/// An id that no other part of the world makes.
pub(super) fn random_uuid(rng: &SplitMix) -> Uuid {
    uuid::Builder::from_random_bytes(rng.bytes(16).try_into().unwrap_or_default()).into_uuid()
}
