//! One node's segment files.
//!
//! ```text
//! <dir>/node.toml                       the node's identity, written once
//! <dir>/log-begun                       whose Raft log was begun in `log/`: beside it, so that its loss is noticed
//! <dir>/removed                         that the node was removed from its cluster, and never starts again
//! <dir>/snapshots/state                 the newest durable snapshot of the replicated state
//! <dir>/spool/                          applications write here; `.node` in it names the node
//! <dir>/segments/00…ff/<copy-id>.seg    the plain bytes of a copy
//! <dir>/segments/00…ff/<copy-id>.toc    what they are: a copy exists only if this file does
//! <dir>/quarantine/                     copies that failed verification
//! <dir>/former/<cluster>/               what the node of a former cluster in this folder knew, laid aside
//! ```
//!
//! A copy comes into being in one order, and only in that: bytes into `.seg` ([`Disk::create`] or [`Disk::adopt`]),
//! fsync ([`SegmentWriter::sync`]), `.toc` written beside, fsynced, renamed, its folder fsynced ([`Disk::publish`]).
//! Whatever was begun and not published is removed at the next start.
//!
//! The order is [`FileDisk`]'s, the single steps are a [`FileSystem`]'s: the simulation brings one that forgets what was
//! not fsynced, and so runs the same order.
//!
//! Every function blocks. A full disk is `ErrorKind::StorageFull`; a lack of descriptors or of memory, which says
//! nothing about the disk, `ResourceBusy` or `OutOfMemory`. Any other error of a write or of an fsync is a local fault:
//! the caller stops the node and never tries again.

mod direct;
mod layout;
mod plain;
mod read;
mod real;
mod scan;
mod spool;
mod system;
mod table;
#[cfg(test)]
mod tests;
mod write;

use std::any::Any;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::PathBuf;

pub use direct::{DIRECT_BYTES_MIN, SequentialFile, direct_bytes};
pub use layout::{FORMER, FileDisk, SPOOL_MARK};
pub use plain::read_text;
pub use scan::Found;
pub use system::{FileSystem, Names, NewFile};
pub use table::{TOC_KIND, Toc};

use crate::id::{CopyId, Incarnation};

/// Bytes that can be read at any place: a spool file, or a copy.
///
/// `Any`, so that a file system knows its own files again.
pub trait ReadAt: Any + Send + Sync {
    /// The size when it was opened, in bytes.
    fn size(&self) -> u64;

    /// Fills `buffer` from `offset`; `UnexpectedEof` if the file is shorter.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Whether the file is as it was when it was opened (same size and time of change).
    fn unchanged(&self) -> io::Result<bool>;

    /// The file beneath, if there is one, for zero-copy sending.
    fn file(&self) -> Option<&File>;
}

/// A copy being written.
pub trait SegmentWriter: Send {
    /// Adds bytes at the end.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes the bytes durable. A copy that is dropped before is a half, for [`Disk::discard`].
    fn sync(self: Box<Self>) -> io::Result<()>;
}

/// Space under the node's folder, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Of the file system.
    pub total: u64,
    /// Left for us.
    pub free: u64,
}

/// One node's local storage.
pub trait Disk: Send + Sync {
    /// The folder in which applications write.
    fn spool(&self) -> PathBuf;

    /// Opens a regular file of the spool by its plain name; anything else (a path, a link, a FIFO) is `InvalidInput`.
    fn open_spool(&self, file: &str) -> io::Result<Box<dyn ReadAt>>;

    /// Makes the spool file the bytes of `copy` without copying them where the file system can; the spool keeps its
    /// name for the file, which is read-only from then on. Durable on return.
    fn adopt(&self, file: &str, source: &dyn ReadAt, copy: CopyId) -> io::Result<()>;

    /// Gives `copy` a name in the spool, for an application, without copying where the file system can.
    fn expose(&self, copy: CopyId, file: &str) -> io::Result<PathBuf>;

    /// Begins a new copy of `size` bytes. `AlreadyExists` if the id was used here; `StorageFull` if it will not fit.
    fn create(&self, copy: CopyId, size: u64) -> io::Result<Box<dyn SegmentWriter>>;

    /// Makes the copy exist. Durable on return.
    fn publish(&self, toc: &Toc) -> io::Result<()>;

    /// Removes what [`Disk::create`] or [`Disk::adopt`] left of a copy that was not published.
    fn discard(&self, copy: CopyId) -> io::Result<()>;

    /// Opens the bytes of a copy.
    fn open(&self, copy: CopyId) -> io::Result<Box<dyn ReadAt>>;

    /// Where the bytes of a copy lie.
    fn path(&self, copy: CopyId) -> PathBuf;

    /// What a copy is. `NotFound` if it does not exist, `InvalidData` if the `.toc` is damaged.
    fn read_toc(&self, copy: CopyId) -> io::Result<Toc>;

    /// Removes a copy: the `.toc` first, durably, so that no half is ever taken for a copy.
    fn unlink(&self, copy: CopyId) -> io::Result<()>;

    /// Moves a copy out of the way, to be looked at. One without bytes is removed.
    fn quarantine(&self, copy: CopyId) -> io::Result<()>;

    /// The copies in quarantine, whole or in part.
    fn quarantined(&self) -> io::Result<BTreeSet<CopyId>>;

    /// Whether the node of a former cluster was laid aside here: then copies may lie here that no state knows of.
    fn has_former(&self) -> io::Result<bool>;

    /// Removes a copy from quarantine.
    fn forget(&self, copy: CopyId) -> io::Result<()>;

    /// Every copy that exists. Removes halves, and moves copies whose `.toc` is damaged into quarantine.
    fn scan(&self) -> io::Result<Vec<Toc>>;

    /// The space left.
    fn space(&self) -> io::Result<Space>;

    /// Replaces the snapshot by `records`, atomically and durably.
    fn write_snapshot(&self, records: &mut dyn Iterator<Item = Vec<u8>>) -> io::Result<()>;

    /// The newest durable snapshot.
    fn read_snapshot(&self) -> io::Result<Option<Box<dyn io::Read + Send>>>;

    /// Whether the Raft log of this life was begun here. A damaged mark counts as one.
    fn log_was_begun(&self, life: Incarnation) -> io::Result<bool>;

    /// Marks that the Raft log of this life was begun here. Durable on return.
    fn mark_log_begun(&self, life: Incarnation) -> io::Result<()>;

    /// Whether this life was removed from its cluster, and has heard of it. A damaged mark, or another life's, says nothing.
    fn was_removed(&self, life: Incarnation) -> io::Result<bool>;

    /// Marks that this life was removed: it never starts again. Durable on return.
    fn mark_removed(&self, life: Incarnation) -> io::Result<()>;
}
