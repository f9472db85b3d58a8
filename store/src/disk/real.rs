//! The kernel's file system.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FallocateFlags, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::direct::SequentialFile;
use super::system::{FileSystem, Names, NewFile};
use super::{ReadAt, Space, plain};
use crate::digest::{BLOCK_BYTES, block_count, block_len};

/// The unit in which `stat` counts blocks, in bytes, whatever the file system's own is.
const STAT_BLOCK_BYTES: u64 = 512;
/// Copies are immutable, and an application may get a link to one.
const READ_ONLY: u32 = 0o444;

/// The file system that the node's folder is on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RealFileSystem;

impl FileSystem for RealFileSystem {
    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn list(&self, folder: &Path) -> io::Result<Names> {
        Ok(Box::new(fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.file_name()))))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadAt>> {
        let file = plain::try_open(path, OFlags::RDONLY)?;
        let seen = Stamp::of(&file.metadata()?);
        Ok(Box::new(OpenFile { file, seen }))
    }

    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        plain::try_open(path, OFlags::RDONLY)?.take(bytes_max).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn stream(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(BufReader::new(File::open(path)?)))
    }

    fn create(&self, path: &Path, size: u64) -> io::Result<Box<dyn NewFile>> {
        let file = create_new(path)?;
        or_remove(path, reserve(&file, size))?;
        Ok(Box::new(SequentialFile::new(file, size)))
    }

    fn draft(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        Ok(Box::new(SequentialFile::new(File::create_new(path)?, 0)))
    }

    fn share(&self, source: &dyn ReadAt, path: &Path) -> io::Result<Option<Box<dyn NewFile>>> {
        if let Some(file) = source.file()
            && link(file, path)?
        {
            // Another user's file stays as it is: then only a copy can be ours alone.
            if file.set_permissions(Permissions::from_mode(READ_ONLY)).is_ok() {
                return Ok(None);
            }
            match fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let new = create_new(path)?;
        or_remove(path, duplicate(source, &new))?;
        Ok(Some(Box::new(SequentialFile::new(new, 0))))
    }

    fn sync(&self, opened: &dyn ReadAt) -> io::Result<()> {
        opened.file().map_or(Ok(()), File::sync_all)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn space(&self, folder: &Path) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(folder)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Space { total: bytes(stat.f_blocks), free: bytes(stat.f_bavail) })
    }
}

impl NewFile for SequentialFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        Self::append(self, bytes)
    }

    fn sync(self: Box<Self>) -> io::Result<()> {
        self.finish()?.sync_all()
    }
}

/// A regular file, opened once. The name may go; the bytes stay as long as this is held.
#[derive(Debug)]
struct OpenFile {
    file: File,
    seen: Stamp,
}

/// What tells that a file was written to. Not the ctime: a new hard link changes it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    size: u64,
    modified: (i64, i64),
    inode: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        Self { size: metadata.size(), modified, inode: metadata.ino() }
    }
}

impl ReadAt for OpenFile {
    fn size(&self) -> u64 {
        self.seen.size
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn unchanged(&self) -> io::Result<bool> {
        Ok(Stamp::of(&self.file.metadata()?) == self.seen)
    }

    fn file(&self) -> Option<&File> {
        Some(&self.file)
    }
}

fn create_new(path: &Path) -> io::Result<File> {
    File::options().write(true).create_new(true).mode(READ_ONLY).open(path)
}

/// Removes what was begun if it failed: a full disk must not stay full of halves.
fn or_remove(path: &Path, done: io::Result<()>) -> io::Result<()> {
    done.inspect_err(|_| {
        let _ = fs::remove_file(path);
    })
}

/// Takes the space at once, so that a full disk shows before the first byte travels. Not all file systems can.
fn reserve(file: &File, size: u64) -> io::Result<()> {
    if size > 0 {
        allocate(file, size)?;
    }
    Ok(())
}

/// Tells whether the file system can reserve space.
fn allocate(file: &File, bytes: u64) -> io::Result<bool> {
    // Asked first, because ext4 takes all that is left before it fails: for a moment the disk would be full for all.
    let stat = rustix::fs::fstatvfs(file)?;
    let missing = bytes.saturating_sub(file.metadata()?.blocks().saturating_mul(STAT_BLOCK_BYTES));
    if stat.f_blocks > 0 && missing > stat.f_bavail.saturating_mul(stat.f_frsize) {
        return Err(ErrorKind::StorageFull.into());
    }
    match retry_on_intr(|| rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes)) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Links the opened inode, whatever its old name stands for by now. `false` if this cannot be linked.
fn link(file: &File, path: &Path) -> io::Result<bool> {
    let opened = format!("/proc/self/fd/{}", file.as_raw_fd());
    match rustix::fs::linkat(CWD, opened, CWD, path, AtFlags::SYMLINK_FOLLOW) {
        Ok(()) => Ok(true),
        // Another file system; another's file; the most links; no name left, or no /proc; no links at all.
        Err(Errno::XDEV | Errno::PERM | Errno::ACCESS | Errno::MLINK | Errno::NOENT | Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn duplicate(source: &dyn ReadAt, new: &File) -> io::Result<()> {
    match source.file().map(|file| rustix::fs::ioctl_ficlone(new, file)) {
        Some(Ok(())) => Ok(()),
        None => copy_bytes(source, new),
        // What the kernel says when it cannot clone, here or at all. Anything else is a fault of the disk.
        Some(Err(
            Errno::OPNOTSUPP | Errno::NOTTY | Errno::NOSYS | Errno::XDEV | Errno::INVAL | Errno::PERM | Errno::TXTBSY,
        )) => copy_bytes(source, new),
        Some(Err(error)) => Err(error.into()),
    }
}

fn copy_bytes(source: &dyn ReadAt, mut new: &File) -> io::Result<()> {
    let size = source.size();
    reserve(new, size)?;
    let mut buffer = vec![0; BLOCK_BYTES];
    let mut offset = 0;
    for index in 0..block_count(size) {
        buffer.truncate(block_len(size, index));
        source.read_exact_at(&mut buffer, offset)?;
        new.write_all(&buffer)?;
        offset += buffer.len() as u64;
    }
    Ok(())
}
