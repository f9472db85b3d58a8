//! Crash points: places at which a test lets the process end, as a power cut or a SIGKILL would, to see what is left.
//!
//! [`crash_point!`](crate::crash_point) marks one. It is nothing at all unless the feature `crash-points` is on *and* the
//! build has debug assertions: no release build has any. Which point is armed, and what happens there, is decided by the
//! daemon's main.

#[cfg(all(feature = "crash-points", debug_assertions))]
#[doc(hidden)]
pub use fail;

/// Ends the process here, if a test wants that.
#[cfg(all(feature = "crash-points", debug_assertions))]
#[macro_export]
macro_rules! crash_point {
    ($name:expr) => {
        $crate::crash::fail::fail_point!($name)
    };
}

/// Ends the process here, if a test wants that; nothing in this build.
#[cfg(not(all(feature = "crash-points", debug_assertions)))]
#[macro_export]
macro_rules! crash_point {
    ($name:expr) => {};
}

/// What a test must do to a cluster so that a node comes by a point.
#[cfg(all(feature = "crash-points", debug_assertions))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Nothing but load.
    Load,
    /// The node must become the leader.
    Lead,
    /// Another node must be elected, or stand for it.
    Elect,
    /// The node must start.
    Start,
    /// The node must be behind by more than the log holds.
    Behind,
    /// The node must end as it is asked to.
    End,
    /// The node must bring copies into a cluster that recovers.
    Recover,
}

/// Every point there is, by its name, with the way to it. A test compares this with the sources.
#[cfg(all(feature = "crash-points", debug_assertions))]
pub const POINTS: &[(&str, Way)] = &[
    // A save, at its owner.
    ("save.begin", Way::Load),
    ("save.registered", Way::Load),
    ("save.enough", Way::Load),
    ("save.committed", Way::Load),
    ("own.adopted", Way::Load),
    ("own.published", Way::Load),
    ("push.begin", Way::Load),
    ("push.sent", Way::Load),
    ("push.receipt", Way::Load),
    // At a holder.
    ("receive.begin", Way::Load),
    ("receive.arrived", Way::Load),
    ("receive.synced", Way::Load),
    ("receive.published", Way::Load),
    ("receive.told", Way::Load),
    // The files of a copy.
    ("seg.create", Way::Load),
    ("seg.append", Way::Load),
    ("seg.sync", Way::Load),
    ("seg.synced", Way::Load),
    ("adopt.shared", Way::Load),
    ("toc.draft", Way::Load),
    ("toc.filled", Way::Load),
    ("toc.synced", Way::Load),
    ("toc.renamed", Way::Load),
    ("toc.durable", Way::Load),
    ("copy.listed", Way::Load),
    // A load, and ownership.
    ("load.begin", Way::Load),
    ("load.pulled", Way::Load),
    ("load.synced", Way::Load),
    ("load.published", Way::Load),
    ("load.confirmed", Way::Load),
    ("serve.begin", Way::Load),
    ("serve.sent", Way::Load),
    ("claim.begin", Way::Load),
    ("claim.done", Way::Load),
    // A copy goes.
    ("retire.decided", Way::Load),
    ("retire.toc-removed", Way::Load),
    ("retire.toc-durable", Way::Load),
    ("retire.removed", Way::Load),
    ("retire.unlisted", Way::Load),
    // The global tier.
    ("deposit.bytes", Way::Load),
    ("archive.deposited", Way::Load),
    ("archive.published", Way::Load),
    ("sweep.decided", Way::Load),
    ("sweep.removed", Way::Load),
    ("backup.sent", Way::Load),
    // A copy of a former cluster is taken over.
    ("adopt.verified", Way::Recover),
    ("adopt.published", Way::Recover),
    // Raft.
    ("commit.begin", Way::Lead),
    ("commit.done", Way::Lead),
    ("log.append", Way::Load),
    ("log.buffered", Way::Load),
    ("log.queued", Way::Load),
    ("log.durable", Way::Load),
    ("log.rotated", Way::Load),
    ("log.rotated-durable", Way::Load),
    ("log.purge", Way::Load),
    ("log.purged", Way::Load),
    ("vote.save", Way::Elect),
    ("vote.durable", Way::Elect),
    ("apply.begin", Way::Load),
    ("apply.done", Way::Load),
    ("apply.shown", Way::Load),
    ("reply.begin", Way::Lead),
    ("reply.done", Way::Lead),
    // A snapshot.
    ("snapshot.begin", Way::Load),
    ("snapshot.draft", Way::Load),
    ("snapshot.filled", Way::Load),
    ("snapshot.synced", Way::Load),
    ("snapshot.renamed", Way::Load),
    ("snapshot.durable", Way::Load),
    ("snapshot.done", Way::Load),
    ("snapshot.install", Way::Behind),
    ("snapshot.installed", Way::Behind),
    // The catalogue.
    ("sled.replace", Way::Start),
    ("sled.flush", Way::Start),
    ("sled.flushed", Way::Start),
    ("sled.durable", Way::Start),
    ("sled.mark", Way::Start),
    ("sled.marked", Way::Start),
    ("sled.close", Way::End),
    ("sled.closed", Way::End),
];

/// The point of a file that is put in place of another: `toc.renamed`, `snapshot.renamed`.
#[cfg(all(feature = "crash-points", debug_assertions))]
pub(crate) fn of_file(path: &std::path::Path, step: &str) -> String {
    let what = match path.extension() {
        Some(_) if path.ends_with("node.toml") => "identity",
        Some(_) => "toc",
        None => "snapshot",
    };
    format!("{what}.{step}")
}
