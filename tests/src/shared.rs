//! One cluster for the test functions of a file that leave its nodes alone.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::cluster::Cluster;

/// Starts a cluster for whoever comes first; it ends with the last test function that holds it.
pub struct Shared {
    nodes: u32,
    storage: u32,
    running: Mutex<Weak<Cluster>>,
}

impl Shared {
    /// Of so many executors and storage-only nodes. Nothing runs yet.
    pub const fn new(nodes: u32, storage: u32) -> Self {
        Self { nodes, storage, running: Mutex::new(Weak::new()) }
    }

    /// The cluster.
    pub fn get(&self) -> Arc<Cluster> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.upgrade().unwrap_or_else(|| {
            let started = Arc::new(Cluster::start(self.nodes, self.storage));
            *running = Arc::downgrade(&started);
            started
        })
    }
}
