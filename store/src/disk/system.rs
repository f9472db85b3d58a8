//! The file system beneath a node's folder: the steps out of which everything else here is made.
//!
//! The order of the steps is the disk's, and the same over any of these: the simulation runs it over a file system that
//! forgets what was not fsynced. An error is the system's own; the disk adds the path.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::Path;

use super::{ReadAt, Space};

/// The names in a folder, in any order.
pub type Names = Box<dyn Iterator<Item = io::Result<OsString>>>;

/// A file system.
pub trait FileSystem: fmt::Debug + Send + Sync {
    /// Whether there is anything under a name.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// What lies in a folder.
    fn list(&self, folder: &Path) -> io::Result<Names>;

    /// Opens a regular file; `InvalidInput` for anything else.
    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadAt>>;

    /// The first `bytes_max` bytes of a regular file; `InvalidInput` for anything else.
    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>>;

    /// Reads a file of any length, from its start to its end.
    fn stream(&self, path: &Path) -> io::Result<Box<dyn io::Read + Send>>;

    /// Makes a file that `size` bytes will be written to, exclusively, read-only under its name, and takes the space at
    /// once where that is possible. If it fails nothing is left.
    fn create(&self, path: &Path, size: u64) -> io::Result<Box<dyn NewFile>>;

    /// Makes a small file of any size, exclusively, which is to be renamed.
    fn draft(&self, path: &Path) -> io::Result<Box<dyn NewFile>>;

    /// Gives the bytes of `source` another name, exclusively: as a hard link, else a clone, else a copy. Read-only, under
    /// either name. Returns the new file unless it is a link; if it fails nothing is left.
    fn share(&self, source: &dyn ReadAt, path: &Path) -> io::Result<Option<Box<dyn NewFile>>>;

    /// Makes the bytes of an opened file durable.
    fn sync(&self, opened: &dyn ReadAt) -> io::Result<()>;

    /// Gives a file another name, in place of what had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Takes a name away; `NotFound` if there is none.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// The space left.
    fn space(&self, folder: &Path) -> io::Result<Space>;
}

/// A file being written, from its start to its end.
pub trait NewFile: Send {
    /// Adds bytes at the end.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes the bytes durable; its name is not.
    fn sync(self: Box<Self>) -> io::Result<()>;
}
