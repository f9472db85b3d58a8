//! Names in use, and what their clients know of them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use cairn_sim::history::Ask;
use cairn_store::id::RequestId;
use cairn_store::name::Name;
use cairn_store::segment::{Epoch, Version};

use super::Wish;
use crate::chance::Chance;

/// How many calls a name gets: fewer than the search for an order takes.
const CALLS: usize = 32;
/// How many calls without an answer end a name sooner.
const OPEN: usize = 5;
/// Requests that may be asked again.
const REMEMBERED: usize = 4;
/// How many versions small segments keep: all of them.
pub const KEEP_SMALL: u32 = 64;
/// How many versions large ones keep.
pub const KEEP_LARGE: u32 = 3;

/// What the names of large segments begin with.
const LARGE: &str = "large/";

/// A request that was made, to be made again.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) node: usize,
    pub(super) request: RequestId,
    pub(super) ask: Ask,
    /// What tells the bytes of a save.
    pub(super) bytes: Option<(u64, usize)>,
}

/// One name.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) name: Name,
    pub(super) large: bool,
    pub(super) owner: usize,
    pub(super) head: Option<Version>,
    pub(super) epoch: Option<Epoch>,
    pub(super) asked: Vec<Asked>,
    calls: usize,
    open: usize,
}

/// All names of a load.
pub(super) struct Names(Mutex<Inner>);

struct Inner {
    slots: Vec<Slot>,
    made: u64,
    done: Vec<Name>,
}

impl Names {
    pub(super) fn new(wish: Wish) -> Self {
        let mut inner = Inner { slots: Vec::new(), made: 0, done: Vec::new() };
        for index in 0..wish.names {
            let slot = inner.make(index < wish.large);
            inner.slots.push(slot);
        }
        Self(Mutex::new(inner))
    }

    /// One to make the next call about.
    pub(super) fn draw(&self, chance: &mut Chance) -> Slot {
        let mut inner = self.lock();
        let index = usize::try_from(chance.below(inner.slots.len() as u64)).expect("an index");
        if inner.slots[index].calls >= CALLS || inner.slots[index].open >= OPEN {
            let large = inner.slots[index].large;
            let next = inner.make(large);
            let old = std::mem::replace(&mut inner.slots[index], next);
            inner.done.push(old.name);
        }
        inner.slots[index].calls += 1;
        // Until it is answered it is open.
        inner.slots[index].open += 1;
        inner.slots[index].clone()
    }

    /// What became of a call, if its name is still in use.
    pub(super) fn learn(&self, name: &Name, learn: impl FnOnce(&mut Slot)) {
        let mut inner = self.lock();
        if let Some(slot) = inner.slots.iter_mut().find(|slot| slot.name == *name) {
            learn(slot);
        }
    }

    pub(super) fn take_done(&self) -> Vec<Name> {
        std::mem::take(&mut self.lock().done)
    }

    pub(super) fn active(&self) -> Vec<Name> {
        self.lock().slots.iter().map(|slot| slot.name.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn make(&mut self, large: bool) -> Slot {
        self.made += 1;
        let text = format!("{}{}", if large { LARGE } else { "small/" }, self.made);
        let name = text.parse().expect("a name");
        let (owner, calls, open) = (0, 0, 0);
        Slot { name, large, owner, head: None, epoch: None, asked: Vec::new(), calls, open }
    }
}

impl Slot {
    /// A call was answered.
    pub(super) fn answered(&mut self) {
        self.open = self.open.saturating_sub(1);
    }

    /// A request that may be asked again.
    pub(super) fn remember(&mut self, asked: Asked) {
        self.asked.retain(|known| known.request != asked.request);
        self.asked.push(asked);
        if self.asked.len() > REMEMBERED {
            self.asked.remove(0);
        }
    }
}
