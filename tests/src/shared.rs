//! One cluster for the test functions of a file that leave its nodes alone.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::cluster::Cluster;

/// Starts a cluster for whoever comes first; it ends with the last test function that holds it.
pub struct Shared {
    start: Start,
    running: Mutex<Weak<Cluster>>,
    turn: Mutex<()>,
}

/// How it is started.
enum Start {
    /// With so many executors and storage-only nodes.
    Nodes(u32, u32),
    By(fn() -> Cluster),
}

/// The cluster, one test function at a time.
pub struct Alone<'a> {
    cluster: Arc<Cluster>,
    _turn: MutexGuard<'a, ()>,
}

impl Deref for Alone<'_> {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl Shared {
    /// Of so many executors and storage-only nodes. Nothing runs yet.
    pub const fn new(nodes: u32, storage: u32) -> Self {
        Self { start: Start::Nodes(nodes, storage), running: Mutex::new(Weak::new()), turn: Mutex::new(()) }
    }

    /// As `start` makes it. Nothing runs yet.
    pub const fn by(start: fn() -> Cluster) -> Self {
        Self { start: Start::By(start), running: Mutex::new(Weak::new()), turn: Mutex::new(()) }
    }

    /// The cluster.
    pub fn get(&self) -> Arc<Cluster> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.upgrade().unwrap_or_else(|| {
            let started = Arc::new(match self.start {
                Start::Nodes(nodes, storage) => Cluster::start(nodes, storage),
                Start::By(start) => start(),
            });
            *running = Arc::downgrade(&started);
            started
        })
    }

    /// The cluster for a test that must not see what others of its file do; those take it in this way too.
    pub fn alone(&self) -> Alone<'_> {
        // Whoever waits keeps the cluster for all.
        let cluster = self.get();
        Alone { cluster, _turn: self.turn.lock().unwrap_or_else(PoisonError::into_inner) }
    }
}
