//! Versions with which something goes on: each is held by a guard, or by several.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_store::id::SegmentId;
use cairn_store::segment::Version;

/// Some versions, and by how many guards each is held.
#[derive(Clone, Debug, Default)]
pub struct Versions {
    held: Arc<Mutex<BTreeMap<(SegmentId, Version), usize>>>,
}

impl Versions {
    /// Holds a version until the guard is dropped.
    pub fn hold(&self, segment: SegmentId, version: Version) -> Hold {
        let what = (segment, version);
        *self.lock().entry(what).or_default() += 1;
        Hold { what, versions: self.clone() }
    }

    /// Whether somebody holds it.
    pub fn is_held(&self, segment: SegmentId, version: Version) -> bool {
        self.lock().contains_key(&(segment, version))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(SegmentId, Version), usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Holds one version until it is dropped.
#[derive(Debug)]
pub struct Hold {
    what: (SegmentId, Version),
    versions: Versions,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = self.versions.lock();
        if let Entry::Occupied(mut entry) = held.entry(self.what) {
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
    fn a_version_is_held_until_the_last_guard_is_dropped() {
        let (versions, segment) = (Versions::default(), SegmentId(Uuid::nil()));
        let (first, second) = (versions.hold(segment, Version(1)), versions.hold(segment, Version(1)));
        drop(first);
        assert!(versions.is_held(segment, Version(1)));
        assert!(!versions.is_held(segment, Version(2)));
        drop(second);
        assert!(!versions.is_held(segment, Version(1)));
    }
}
