//! Writing, in the one order that makes a copy exist, and removing in the reverse order.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FallocateFlags};
use rustix::io::{Errno, retry_on_intr};

use super::direct::SequentialFile;
use super::layout::{FileDisk, SEG, TOC, at, remove, replace, sync_folder};
use super::{Disk, ReadAt, SegmentWriter, TOC_KIND, Toc, read};
use crate::digest::{BLOCK_BYTES, block_count, block_len};
use crate::id::CopyId;
use crate::record;

/// The buffer before a snapshot, in bytes.
const SNAPSHOT_BUFFER_BYTES: usize = 1 << 20;
/// The unit in which `stat` counts blocks, in bytes, whatever the file system's own is.
const STAT_BLOCK_BYTES: u64 = 512;
/// Copies are immutable, and an application may get a link to one.
const READ_ONLY: u32 = 0o444;

/// The one writer of a new `.seg`.
#[derive(Debug)]
pub(super) struct FileWriter {
    path: PathBuf,
    file: SequentialFile,
    size: u64,
    written: u64,
}

pub(super) fn create(disk: &FileDisk, copy: CopyId, size: u64) -> io::Result<FileWriter> {
    check_unused(disk, copy)?;
    let path = disk.seg(copy);
    let file = create_new(&path)?;
    or_remove(&path, reserve(&file, size))?;
    Ok(FileWriter { path, file: SequentialFile::new(file, size), size, written: 0 })
}

impl SegmentWriter for FileWriter {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let end = self.written.saturating_add(bytes.len() as u64);
        if end > self.size {
            let text = format!("{}: more than the {} bytes that were announced", self.path.display(), self.size);
            return Err(io::Error::new(ErrorKind::InvalidInput, text));
        }
        self.file.append(bytes).map_err(at(&self.path))?;
        self.written = end;
        Ok(())
    }

    fn sync(self: Box<Self>) -> io::Result<()> {
        // The space is reserved, so what was never written would read as zeros.
        if self.written != self.size {
            let text = format!("{}: {} of {} bytes were written", self.path.display(), self.written, self.size);
            return Err(io::Error::new(ErrorKind::UnexpectedEof, text));
        }
        let Self { path, file, .. } = *self;
        file.finish().and_then(|file| file.sync_all()).map_err(at(&path))
    }
}

pub(super) fn adopt(disk: &FileDisk, source: &dyn ReadAt, copy: CopyId) -> io::Result<()> {
    check_unused(disk, copy)?;
    let path = disk.seg(copy);
    match (share(source, &path)?, source.file()) {
        (Some(new), _) => new.sync_all().map_err(at(&path)),
        (None, Some(linked)) => linked.sync_all().map_err(at(&path)),
        (None, None) => Ok(()),
    }
}

pub(super) fn expose(disk: &FileDisk, copy: CopyId, file: &str) -> io::Result<PathBuf> {
    read::check_plain(file)?;
    let path = disk.spool().join(file);
    share(&read::open(&disk.seg(copy))?, &path)?;
    Ok(path)
}

pub(super) fn publish(disk: &FileDisk, toc: &Toc) -> io::Result<()> {
    let seg = disk.seg(toc.copy);
    fs::symlink_metadata(&seg).map_err(at(&seg))?;
    let bytes = record::encode(TOC_KIND, toc).map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
    replace(&disk.toc(toc.copy), &disk.draft(toc.copy), |mut file| file.write_all(&bytes))
}

pub(super) fn unlink(disk: &FileDisk, copy: CopyId) -> io::Result<()> {
    if remove(&disk.toc(copy))? {
        sync_folder(&disk.shard(copy))?;
    }
    remove(&disk.seg(copy)).map(drop)
}

pub(super) fn discard(disk: &FileDisk, copy: CopyId) -> io::Result<()> {
    let toc = disk.toc(copy);
    if toc.try_exists().map_err(at(&toc))? {
        let text = format!("{}: the copy is published, it cannot be discarded", toc.display());
        return Err(io::Error::new(ErrorKind::InvalidInput, text));
    }
    remove(&disk.seg(copy)).map(drop)
}

pub(super) fn write_snapshot(path: &Path, records: &mut dyn Iterator<Item = Vec<u8>>) -> io::Result<()> {
    replace(path, &path.with_extension("tmp"), |file| {
        let mut out = BufWriter::with_capacity(SNAPSHOT_BUFFER_BYTES, file);
        for record in records {
            out.write_all(&record)?;
        }
        out.flush()
    })
}

/// A copy id is used once: not while its copy exists, and not after it went into quarantine.
fn check_unused(disk: &FileDisk, copy: CopyId) -> io::Result<()> {
    for path in [disk.toc(copy), disk.in_quarantine(copy, TOC), disk.in_quarantine(copy, SEG)] {
        if path.try_exists().map_err(at(&path))? {
            let text = format!("{}: this copy id was used already", path.display());
            return Err(io::Error::new(ErrorKind::AlreadyExists, text));
        }
    }
    Ok(())
}

fn create_new(path: &Path) -> io::Result<File> {
    File::options().write(true).create_new(true).mode(READ_ONLY).open(path).map_err(at(path))
}

/// Removes what was begun if it failed: a full disk must not stay full of halves.
fn or_remove(path: &Path, done: io::Result<()>) -> io::Result<()> {
    done.map_err(|error| {
        let _ = remove(path);
        at(path)(error)
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

/// Gives the bytes of `source` another name, exclusively: as a hard link, else a clone, else a copy. Read-only, under
/// either name.
///
/// Returns the new file unless it is a link.
fn share(source: &dyn ReadAt, path: &Path) -> io::Result<Option<File>> {
    if let Some(file) = source.file()
        && link(file, path).map_err(at(path))?
    {
        // Another user's file stays as it is: then only a copy can be ours alone.
        if file.set_permissions(Permissions::from_mode(READ_ONLY)).is_ok() {
            return Ok(None);
        }
        remove(path)?;
    }
    let new = create_new(path)?;
    or_remove(path, duplicate(source, &new))?;
    Ok(Some(new))
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
