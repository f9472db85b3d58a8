//! A file that is to be saved: opened once, refused if it is not a regular one, and watched for changes.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use cairn_store::digest::Digest;
use cairn_store::disk::SequentialFile;
use rustix::fs::{OFlags, ioctl_ficlone};

use crate::fault::{Fault, FileFault};

/// How much is copied at once, in bytes.
pub const BUFFER_BYTES: usize = 1 << 20;

/// What is told of a copy: the bytes so far. An error of it ends the copy.
pub type Report<'a> = dyn FnMut(u64) -> io::Result<()> + 'a;

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// A regular file, open for reading.
#[derive(Debug)]
pub struct SourceFile {
    path: PathBuf,
    file: File,
    stamp: Stamp,
}

impl SourceFile {
    /// Opens a regular file. Never waits: a FIFO is refused, not read.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        let fault = |error| FileFault::new("read", path, &error);
        // A socket cannot be opened at all: name it before the system's puzzling "no such device" does.
        let seen = std::fs::metadata(path).map_err(fault)?;
        regular(path, &seen)?;
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(fault)?;
        // What is open now counts, whatever was there a moment ago.
        let opened = file.metadata().map_err(fault)?;
        regular(path, &opened)?;
        Ok(Self { path: path.into(), file, stamp: Stamp::of(&opened) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The size when it was opened, in bytes.
    pub fn size(&self) -> u64 {
        self.stamp.size
    }

    /// Whether the open file is as it was when it was opened.
    pub fn unchanged(&self) -> io::Result<bool> {
        Ok(Stamp::of(&self.file.metadata()?) == self.stamp)
    }

    /// Whether `path` names this very file, in whatever state. A link to it does not.
    pub(crate) fn is_named(&self, path: &Path) -> bool {
        let same = |there: Stamp| (there.device, there.inode) == (self.stamp.device, self.stamp.inode);
        std::fs::symlink_metadata(path).is_ok_and(|metadata| same(Stamp::of(&metadata)))
    }

    /// Whether `path` is this very file, in the state in which it was opened. A link to it is not.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        std::fs::symlink_metadata(path).is_ok_and(|metadata| Stamp::of(&metadata) == self.stamp)
    }

    /// Copies the bytes to `target`: shared blocks where the file system has them, else
    /// through a buffer. Fails if the file changed meanwhile.
    pub(crate) fn copy_to(&self, target: &File, target_path: &Path, report: &mut Report<'_>) -> Result<(), Fault> {
        if self.size() > 0 && ioctl_ficlone(target, &self.file).is_ok() {
            report(self.size()).map_err(|error| self.failed(&error))?;
        } else {
            self.copy_bytes(target, target_path, report)?;
        }
        let length = target.metadata().map_err(|error| FileFault::new("write to", target_path, &error))?.len();
        if length == self.size() && self.unchanged().map_err(|error| self.failed(&error))? {
            return Ok(());
        }
        Err(self.changed().into())
    }

    /// BLAKE3 of the bytes. Fails if the file changed since it was opened.
    pub(crate) fn digest(&self) -> Result<Digest, FileFault> {
        let mut hasher = blake3::Hasher::new();
        self.read_all(|bytes| {
            hasher.update(bytes);
            Ok(())
        })?;
        if self.unchanged().map_err(|error| self.failed(&error))? {
            return Ok(Digest(hasher.finalize().into()));
        }
        Err(self.changed())
    }

    /// Copies through a buffer, as far as the size at the opening: a file that grows without end must not fill the
    /// disk.
    fn copy_bytes(&self, target: &File, target_path: &Path, report: &mut Report<'_>) -> Result<(), Fault> {
        let write = |error: io::Error| FileFault::new("write to", target_path, &error);
        let mut out = SequentialFile::new(target.try_clone().map_err(write)?, self.size());
        let mut done = 0;
        self.read_all(|bytes| {
            out.append(bytes).map_err(write)?;
            done += bytes.len() as u64;
            report(done).map_err(|error| self.failed(&error))
        })?;
        out.finish().map_err(write)?;
        Ok(())
    }

    /// Hands on the bytes up to the size at the opening, always from the first one: a file may be read twice.
    fn read_all(&self, mut take: impl FnMut(&[u8]) -> Result<(), FileFault>) -> Result<(), FileFault> {
        let (mut buffer, mut at) = (vec![0; BUFFER_BYTES], 0);
        while at < self.size() {
            let length = match self.file.read_at(&mut buffer, at) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.failed(&error)),
            };
            let left = usize::try_from(self.size() - at).unwrap_or(usize::MAX);
            let bytes = buffer.get(..length.min(left)).unwrap_or_default();
            take(bytes)?;
            at += bytes.len() as u64;
        }
        Ok(())
    }

    fn changed(&self) -> FileFault {
        let message = format!("{} changed while it was read", self.path.display());
        FileFault::other(message).hint("save it when nothing writes to it")
    }

    fn failed(&self, error: &io::Error) -> FileFault {
        FileFault::new("read", &self.path, error)
    }
}

fn regular(path: &Path, metadata: &Metadata) -> Result<(), Fault> {
    let kind = metadata.file_type();
    let what = match kind {
        _ if kind.is_file() => return Ok(()),
        _ if kind.is_dir() => "a directory",
        _ if kind.is_fifo() => "a pipe",
        _ if kind.is_socket() => "a socket",
        _ => "a device",
    };
    Err(Fault::invalid(format!("{} is {what}: only regular files can be saved", path.display()), "name a file"))
}
