//! One at a time for each key: saves of one name wait for each other, in order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use cairn_store::name::Name;
use tokio::sync::OwnedMutexGuard;

/// The keys that somebody holds or waits for.
#[derive(Debug, Default)]
pub struct Turns(Arc<Mutex<BTreeMap<Name, Arc<tokio::sync::Mutex<()>>>>>);

/// One's turn; ends when dropped.
#[derive(Debug)]
pub struct Turn {
    turns: Arc<Mutex<BTreeMap<Name, Arc<tokio::sync::Mutex<()>>>>>,
    name: Name,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits for one's turn.
    pub async fn wait(&self, name: &Name) -> Turn {
        let mutex = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            turns.entry(name.clone()).or_default().clone()
        };
        let guard = Some(mutex.lock_owned().await);
        Turn { turns: self.0.clone(), name: name.clone(), guard }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        self.guard = None;
        // Nobody else holds or waits: only the map knows the lock.
        if turns.get(&self.name).is_some_and(|mutex| Arc::strong_count(mutex) == 1) {
            turns.remove(&self.name);
        }
    }
}
