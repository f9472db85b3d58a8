//! The crash points at the change from one chunk to the next, which raft-log makes within an append.

use raft_log::RaftLog;

use super::types::Wal;

/// Sees whether an append closed a chunk. Nothing in a build without crash points.
pub(super) struct Rotation {
    #[cfg(all(feature = "crash-points", debug_assertions))]
    closed: usize,
}

#[cfg(all(feature = "crash-points", debug_assertions))]
static ROTATED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

#[cfg(all(feature = "crash-points", debug_assertions))]
impl Rotation {
    pub(super) fn watch(log: &RaftLog<Wal>) -> Self {
        Self { closed: log.stat().closed_chunks.len() }
    }

    /// The new chunk's file is there, and nothing in it is durable.
    pub(super) fn pass(self, log: &RaftLog<Wal>) {
        if log.stat().closed_chunks.len() != self.closed {
            ROTATED.store(true, std::sync::atomic::Ordering::SeqCst);
            cairn_store::crash_point!("log.rotated");
        }
    }
}

#[cfg(not(all(feature = "crash-points", debug_assertions)))]
impl Rotation {
    pub(super) fn watch(_: &RaftLog<Wal>) -> Self {
        Self {}
    }

    pub(super) fn pass(self, _: &RaftLog<Wal>) {}
}

/// The first write after the change is durable.
pub(super) fn durable() {
    #[cfg(all(feature = "crash-points", debug_assertions))]
    if ROTATED.swap(false, std::sync::atomic::Ordering::SeqCst) {
        cairn_store::crash_point!("log.rotated-durable");
    }
}
