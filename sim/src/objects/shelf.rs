//! What lies in the store, and what is on its way there though nobody waits for it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;
use cairn_node::env::Listed;

use crate::rng::SplitMix;

/// A change.
#[derive(Clone, Debug)]
pub(super) enum Write {
    /// A new object, and never in the place of one.
    Create(String, Bytes),
    /// An object, whatever lay there.
    Put(String, Bytes),
    /// An end of one.
    Delete(String),
}

impl Write {
    pub(super) fn key(&self) -> &str {
        match self {
            Self::Create(key, _) | Self::Put(key, _) | Self::Delete(key) => key,
        }
    }

    pub(super) fn what(&self) -> &'static str {
        match self {
            Self::Create(..) => "create",
            Self::Put(..) => "put",
            Self::Delete(_) => "delete",
        }
    }

    /// The same with one byte that was not sent; none if it carries none.
    pub(super) fn altered(&self, rng: &SplitMix) -> Option<Self> {
        let alter = |bytes: &Bytes| {
            let mut bytes = bytes.to_vec();
            let place = rng.index(bytes.len());
            *bytes.get_mut(place)? ^= 1;
            Some(Bytes::from(bytes))
        };
        match self {
            Self::Create(key, bytes) => Some(Self::Create(key.clone(), alter(bytes)?)),
            Self::Put(key, bytes) => Some(Self::Put(key.clone(), alter(bytes)?)),
            Self::Delete(_) => None,
        }
    }
}

/// What lies there.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    objects: BTreeMap<String, Bytes>,
    /// When they arrive.
    late: Vec<(Duration, Write)>,
    /// What somebody altered or took away where it lay.
    harmed: BTreeSet<String>,
    /// What nodes removed, until somebody asks.
    removed: Vec<String>,
}

impl Shelf {
    pub(super) fn keys(&self) -> impl Iterator<Item = &String> {
        self.objects.keys()
    }

    pub(super) fn get(&self, key: &str) -> Option<&Bytes> {
        self.objects.get(key)
    }

    /// The next objects whose keys begin with this.
    pub(super) fn page(&self, prefix: &str, after: &str, most: usize) -> Vec<Listed> {
        let from = if after.is_empty() { Bound::Included(prefix) } else { Bound::Excluded(after) };
        let found = self.objects.range::<str, _>((from, Bound::Unbounded));
        let found = found.take_while(|(key, _)| key.starts_with(prefix)).take(most);
        found.map(|(key, bytes)| Listed { key: key.clone(), size: bytes.len() as u64 }).collect()
    }

    /// Whether it changed what was to be changed: not if there is an object already that was to be a new one.
    pub(super) fn carry_out(&mut self, write: Write) -> bool {
        tracing::trace!(target: "cairn_sim::objects", what = write.what(), key = write.key(), "it is done");
        match write {
            Write::Create(key, bytes) => {
                let Entry::Vacant(free) = self.objects.entry(key.clone()) else { return false };
                free.insert(bytes);
                self.harmed.remove(&key);
            }
            Write::Put(key, bytes) => {
                self.harmed.remove(&key);
                self.objects.insert(key, bytes);
            }
            Write::Delete(key) => {
                if self.objects.remove(&key).is_some() {
                    self.removed.push(key);
                }
            }
        }
        true
    }

    pub(super) fn carry_out_at(&mut self, at: Duration, write: Write) {
        self.late.push((at, write));
    }

    /// Does what has arrived by now, in its order.
    pub(super) fn catch_up(&mut self, now: Duration) {
        while let Some(next) = self.next_late(now) {
            let (_, write) = self.late.remove(next);
            self.carry_out(write);
        }
    }

    fn next_late(&self, now: Duration) -> Option<usize> {
        let arrived = self.late.iter().enumerate().filter(|(_, (at, _))| *at <= now);
        // Of equals the first.
        arrived.min_by_key(|(_, (at, _))| *at).map(|(place, _)| place)
    }

    pub(super) fn harm(&mut self, key: &str, bytes: Bytes) {
        self.harmed.insert(key.to_owned());
        self.objects.insert(key.to_owned(), bytes);
    }

    pub(super) fn take_away(&mut self, key: &str) -> Option<()> {
        self.objects.remove(key)?;
        self.harmed.insert(key.to_owned());
        Some(())
    }

    pub(super) fn is_harmed(&self, key: &str) -> bool {
        self.harmed.contains(key)
    }

    pub(super) fn take_removed(&mut self) -> Vec<String> {
        std::mem::take(&mut self.removed)
    }
}
