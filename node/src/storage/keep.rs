//! Versions whose copies stay on this node because a load is about to tell of them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_store::id::SegmentId;
use cairn_store::segment::Version;

/// The versions that are kept, and by how many loads.
#[derive(Clone, Debug, Default)]
pub(super) struct Keeps {
    loads: Arc<Mutex<BTreeMap<(SegmentId, Version), usize>>>,
}

impl Keeps {
    pub(super) fn keep(&self, segment: SegmentId, version: Version) -> Kept {
        let what = (segment, version);
        *self.lock().entry(what).or_default() += 1;
        Kept { what, keeps: self.clone() }
    }

    pub(super) fn holds(&self, segment: SegmentId, version: Version) -> bool {
        self.lock().contains_key(&(segment, version))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(SegmentId, Version), usize>> {
        self.loads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Copies of one version stay on this node until this is dropped, whatever becomes of their time.
#[derive(Debug)]
pub struct Kept {
    what: (SegmentId, Version),
    keeps: Keeps,
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut loads = self.keeps.lock();
        if let Entry::Occupied(mut entry) = loads.entry(self.what) {
            match entry.get() {
                1 => drop(entry.remove()),
                _ => *entry.get_mut() -= 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_version_is_kept_as_long_as_one_load_wants_it() {
        let (keeps, segment) = (Keeps::default(), SegmentId(Uuid::nil()));
        let (first, second) = (keeps.keep(segment, Version(1)), keeps.keep(segment, Version(1)));
        drop(first);
        assert!(keeps.holds(segment, Version(1)));
        assert!(!keeps.holds(segment, Version(2)));
        drop(second);
        assert!(!keeps.holds(segment, Version(1)));
    }
}
