//! A machine: its disks stay when the power goes, its node does not.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;

use cairn_node::core::Core;
use cairn_node::raft::View;
use cairn_store::id::Incarnation;
use cairn_store::node::{Profile, Role};
use uuid::Uuid;

use super::Spec;
use crate::disk::MemDisk;
use crate::log::LogStore;
use crate::rng::SplitMix;

/// Where a node's service listens.
const RPC_PORT: u16 = 7420;
/// Where its data plane listens.
const DATA_PORT: u16 = 7421;

/// One machine.
pub struct Machine {
    /// Its name: its host name and its node's name.
    pub name: String,
    /// What its node may be asked to do.
    pub role: Role,
    /// Local storage.
    pub disk: MemDisk,
    /// The log's own device.
    pub(super) log: LogStore,
    /// The life of its folder.
    pub(super) incarnation: Incarnation,
    capacity: u64,
    boots: Cell<u64>,
    on: Cell<bool>,
    core: RefCell<Option<Arc<Core>>>,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Machine {
    pub(super) fn new(name: &str, role: Role, spec: &Spec, seed: u64) -> Self {
        let life = SplitMix::of(seed, name, u64::MAX);
        let bytes: [u8; 16] = life.bytes(16).try_into().unwrap_or_default();
        Self {
            name: name.to_owned(),
            role,
            disk: MemDisk::new(name, spec.disk_bytes),
            log: LogStore::default(),
            incarnation: Incarnation(uuid::Builder::from_random_bytes(bytes).into_uuid()),
            capacity: spec.disk_bytes,
            boots: Cell::new(0),
            on: Cell::new(true),
            core: RefCell::default(),
        }
    }

    /// `HOST:PORT` of its service.
    pub fn rpc(&self) -> String {
        format!("{}:{RPC_PORT}", self.name)
    }

    /// What its node says of itself.
    pub fn profile(&self) -> anyhow::Result<Profile> {
        Ok(Profile {
            name: self.name.parse()?,
            role: self.role,
            zone: format!("zone-{}", self.name),
            rpc: self.rpc(),
            data: format!("{}:{DATA_PORT}", self.name),
            http: String::new(),
            capacity: self.capacity,
        })
    }

    /// Whether it has power.
    pub fn is_on(&self) -> bool {
        self.on.get()
    }

    /// What its node has applied; none while no node runs.
    pub fn view(&self) -> Option<View> {
        self.core.borrow().as_ref().map(|core| core.now())
    }

    /// The name of the node that it takes for the leader.
    pub fn leader(&self) -> Option<String> {
        let core = self.core.borrow();
        let core = core.as_ref()?;
        core.leader().map(|leader| core.name_of(leader))
    }

    /// The term in which its own node leads.
    pub fn leads(&self) -> Option<u64> {
        self.core.borrow().as_ref()?.leading()
    }

    /// The number of this boot.
    pub(super) fn next_boot(&self) -> u64 {
        self.boots.replace(self.boots.get() + 1)
    }

    pub(super) fn keep_node(&self, core: Arc<Core>) {
        self.core.replace(Some(core));
    }

    pub(super) fn forget_node(&self) {
        self.core.take();
    }

    pub(super) fn switch_on(&self) {
        self.on.set(true);
    }

    pub(super) fn crash(&self, power: &SplitMix) {
        self.on.set(false);
        self.disk.crash(power);
        self.log.crash(power);
    }
}

/// An id that no other part of the world makes.
pub(super) fn random_uuid(rng: &SplitMix) -> Uuid {
    uuid::Builder::from_random_bytes(rng.bytes(16).try_into().unwrap_or_default()).into_uuid()
}
