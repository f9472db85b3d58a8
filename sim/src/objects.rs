//! An object store in memory: the global tier of a world. All its machines share it, and it fails as such stores do.
//!
//! - `fault`: what is wrong with it, for one machine or for all; - `shelf`: what lies there; - `mem`: the store as a node has it;
//! - `upload`: an object on its way.
//!
//! What was asked may be done though nobody is told, and may be done later than that: a request that its sender has given up
//! may still be on its way. All that is for the world goes past the faults.

mod fault;
mod mem;
mod shelf;
#[cfg(test)]
mod tests;
mod upload;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use cairn_node::env::{Listed, ObjectError};

pub use fault::Fault;
pub use mem::MemObjects;

use crate::rng::SplitMix;
use fault::Faults;
use shelf::{Shelf, Write};

/// The longest that a write is on its way after its sender was told that it failed, in milliseconds.
const LATE_MS_MAX: u64 = 20_000;
/// So many objects are listed at once: between two such answers others change what lies there.
const PAGE: usize = 7;

/// The store of a world. Clones are the same one.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    rng: SplitMix,
    compares: AtomicBool,
    /// Whether uploads that were broken off go on.
    resumes: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    shelf: Shelf,
    faults: Faults,
}

impl Store {
    /// An empty one. Whether it compares what arrives, and whether uploads that were broken off go on, the seed tells.
    pub fn new(seed: u64) -> Self {
        let rng = SplitMix::of(seed, "tier", 0);
        let (compares, resumes) = (AtomicBool::new(rng.below(2) == 0), rng.below(2) == 0);
        Self(Arc::new(Inner { rng, compares, resumes, state: Mutex::default() }))
    }

    /// The way to it of a node that starts now on this machine.
    pub fn open(&self, machine: &str) -> MemObjects {
        MemObjects::new(machine, self.clone())
    }

    /// Whether it compares what arrives with a checksum.
    pub fn compares(&self) -> bool {
        self.0.compares.load(Ordering::Relaxed)
    }

    /// From now on it does, or does not.
    pub fn set_compares(&self, compares: bool) {
        self.0.compares.store(compares, Ordering::Relaxed);
    }

    /// From now on this is wrong with it, for one machine or for all. What is wrong for a machine of its own comes first.
    pub fn fail(&self, machine: Option<&str>, fault: Fault) {
        self.lock().faults.set(machine, fault);
    }

    /// Nothing is wrong with it any more. What is on its way arrives all the same.
    pub fn mend(&self) {
        self.lock().faults = Faults::default();
    }

    /// All keys.
    pub fn keys(&self) -> Vec<String> {
        self.lock().shelf.keys().cloned().collect()
    }

    /// What lies there, as it is.
    pub fn bytes(&self, key: &str) -> Option<Bytes> {
        self.lock().shelf.get(key).cloned()
    }

    /// Flips every bit of one byte of an object where it lies.
    ///
    /// # Errors
    /// There is no such object, or no such byte.
    pub fn flip(&self, key: &str, offset: usize) -> anyhow::Result<()> {
        self.harm(key, |bytes| {
            let mut bytes = bytes.to_vec();
            *bytes.get_mut(offset)? ^= u8::MAX;
            Some(bytes.into())
        })
    }

    /// Leaves only the first bytes of an object.
    ///
    /// # Errors
    /// There is no such object, or it has no more.
    pub fn cut(&self, key: &str, length: usize) -> anyhow::Result<()> {
        self.harm(key, |bytes| (length < bytes.len()).then(|| bytes.slice(..length)))
    }

    /// Somebody removes an object by hand.
    ///
    /// # Errors
    /// There is no such object.
    pub fn remove(&self, key: &str) -> anyhow::Result<()> {
        self.lock().shelf.take_away(key).with_context(|| format!("there is no {key}"))
    }

    /// Whether somebody harmed it where it lay, and nobody has put it there again.
    pub fn is_harmed(&self, key: &str) -> bool {
        self.lock().shelf.is_harmed(key)
    }

    /// What nodes have removed since this was asked last.
    pub(crate) fn take_removed(&self) -> Vec<String> {
        self.lock().shelf.take_removed()
    }

    fn harm(&self, key: &str, change: impl FnOnce(&Bytes) -> Option<Bytes>) -> anyhow::Result<()> {
        let mut state = self.lock();
        let changed = change(state.shelf.get(key).with_context(|| format!("there is no {key}"))?);
        state.shelf.harm(key, changed.with_context(|| format!("{key} is shorter"))?);
        Ok(())
    }

    fn carry_out(&self, write: Write) -> bool {
        self.lock().shelf.carry_out(write)
    }

    /// It arrives at once, or after a while.
    fn carry_out_unheard(&self, write: Write) {
        let late = Duration::from_millis(self.0.rng.below(LATE_MS_MAX));
        if self.0.rng.below(2) == 0 {
            self.lock().shelf.carry_out(write);
        } else {
            self.lock().shelf.carry_out_at(now() + late, write);
        }
    }

    fn page(&self, prefix: &str, after: &str) -> Vec<Listed> {
        self.lock().shelf.page(prefix, after, PAGE)
    }

    /// All calls come through here: what has arrived by now is there.
    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.shelf.catch_up(now());
        state
    }
}

/// How old the world is; nothing between two steps, when nobody has anything to do there.
fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}

fn failed(why: &str) -> ObjectError {
    ObjectError::Failed(why.to_owned())
}
