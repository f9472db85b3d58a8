//! A file that is to be saved: opened once, refused if it is not a regular one, and watched for changes.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, copy_file_range, ioctl_ficlone};

use crate::fault::{Fault, FileFault};

/// How much is copied between two reports of progress, in bytes.
pub const CHUNK_BYTES: usize = 8 << 20;

/// What is told of a copy: the bytes so far. An error of it ends the copy.
pub(crate) type Report<'a> = dyn FnMut(u64) -> io::Result<()> + 'a;

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

    /// Whether `path` is this very file, in the state in which it was opened. A link to it is not.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        std::fs::symlink_metadata(path).is_ok_and(|metadata| Stamp::of(&metadata) == self.stamp)
    }

    /// Copies the bytes to `target`: shared blocks where the file system has them, else inside the kernel, else
    /// through a buffer. Fails if the file changed meanwhile.
    pub(crate) fn copy_to(&self, target: &File, target_path: &Path, report: &mut Report<'_>) -> Result<(), Fault> {
        if self.size() > 0 && ioctl_ficlone(target, &self.file).is_ok() {
            report(self.size()).map_err(|error| self.failed(&error))?;
        } else {
            let done = self.copy_in_kernel(target, target_path, report)?;
            self.copy_rest(target, target_path, done, report)?;
        }
        let length = target.metadata().map_err(|error| FileFault::new("write to", target_path, &error))?.len();
        let changed = length != self.size() || !self.unchanged().map_err(|error| self.failed(&error))?;
        if changed {
            let message = format!("{} changed while it was read", self.path.display());
            return Err(FileFault::other(message).hint("save it when nothing writes to it").into());
        }
        Ok(())
    }

    /// How far `copy_file_range` came; not at all where it is not supported.
    fn copy_in_kernel(&self, target: &File, target_path: &Path, report: &mut Report<'_>) -> Result<u64, Fault> {
        let (mut from, mut to) = (0, 0);
        while from < self.size() {
            match copy_file_range(&self.file, Some(&mut from), target, Some(&mut to), CHUNK_BYTES) {
                Ok(0) => break,
                Ok(_) => report(from).map_err(|error| self.failed(&error))?,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) if from == 0 => break,
                Err(error) => return Err(FileFault::new("write to", target_path, &error.into()).into()),
            }
        }
        Ok(from)
    }

    /// Copies from `done` to the end, which may have moved.
    fn copy_rest(
        &self,
        mut target: &File,
        target_path: &Path,
        done: u64,
        report: &mut Report<'_>,
    ) -> Result<(), Fault> {
        use std::io::{Seek, SeekFrom};
        let mut source = &self.file;
        source.seek(SeekFrom::Start(done)).map_err(|error| self.failed(&error))?;
        target.seek(SeekFrom::Start(done)).map_err(|error| FileFault::new("write to", target_path, &error))?;
        let (mut buffer, mut done) = (vec![0; 1 << 20], done);
        loop {
            let length = match source.read(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.failed(&error).into()),
            };
            let bytes = buffer.get(..length).unwrap_or_default();
            done = done.saturating_add(length as u64);
            // A file that grows without end must not fill the disk.
            if bytes.is_empty() || done > self.size() {
                return match bytes {
                    [] => Ok(()),
                    _ => target.write_all(bytes).map_err(|e| FileFault::new("write to", target_path, &e).into()),
                };
            }
            target.write_all(bytes).map_err(|error| FileFault::new("write to", target_path, &error))?;
            report(done).map_err(|error| self.failed(&error))?;
        }
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
