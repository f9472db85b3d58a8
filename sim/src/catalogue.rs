//! The catalogue in memory. It goes with the process; the node rebuilds it at its start.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cairn_node::catalogue::{Catalogue, Held};
use cairn_store::id::{CopyId, SegmentId};
use cairn_store::segment::Version;

type Key = (SegmentId, Version, CopyId);

/// What lies on one node.
#[derive(Debug, Default)]
pub struct MemCatalogue {
    all: Mutex<BTreeMap<Key, Held>>,
    scrubbed: Mutex<Option<Held>>,
}

impl MemCatalogue {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Held>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Catalogue for MemCatalogue {
    fn insert(&self, held: Held) -> io::Result<()> {
        self.lock().insert(held.key(), held);
        Ok(())
    }

    fn remove(&self, held: &Held) -> io::Result<()> {
        self.lock().remove(&held.key());
        Ok(())
    }

    fn find(&self, segment: SegmentId, version: Version) -> io::Result<Vec<Held>> {
        let all = self.lock();
        Ok(all.values().filter(|held| (held.segment, held.version) == (segment, version)).copied().collect())
    }

    fn page(&self, after: Option<&Held>, limit: usize) -> io::Result<Vec<Held>> {
        let from = after.map_or(Bound::Unbounded, |held| Bound::Excluded(held.key()));
        Ok(self.lock().range((from, Bound::Unbounded)).take(limit).map(|(_, held)| *held).collect())
    }

    fn scrubbed(&self) -> io::Result<Option<Held>> {
        Ok(*self.scrubbed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_scrubbed(&self, last: Option<&Held>) -> io::Result<()> {
        *self.scrubbed.lock().unwrap_or_else(PoisonError::into_inner) = last.copied();
        Ok(())
    }

    fn replace(&self, all: &[Held]) -> io::Result<()> {
        *self.lock() = all.iter().map(|held| (held.key(), *held)).collect();
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}
