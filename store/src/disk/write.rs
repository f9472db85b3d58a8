//! Writing, in the one order that makes a copy exist, and removing in the reverse order.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::layout::{FileDisk, SEG, TOC, at};
use super::system::NewFile;
use super::{Disk, ReadAt, SegmentWriter, TOC_KIND, Toc, read};
use crate::id::CopyId;
use crate::record;

/// The buffer before a snapshot, in bytes.
const SNAPSHOT_BUFFER_BYTES: usize = 1 << 20;
/// The one writer of a new `.seg`.
pub(super) struct FileWriter {
    path: PathBuf,
    file: Box<dyn NewFile>,
    size: u64,
    written: u64,
}

pub(super) fn create(disk: &FileDisk, copy: CopyId, size: u64) -> io::Result<FileWriter> {
    check_unused(disk, copy)?;
    let path = disk.seg(copy);
    let file = disk.files.create(&path, size).map_err(at(&path))?;
    Ok(FileWriter { path, file, size, written: 0 })
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
        file.sync().map_err(at(&path))
    }
}

pub(super) fn adopt(disk: &FileDisk, source: &dyn ReadAt, copy: CopyId) -> io::Result<()> {
    check_unused(disk, copy)?;
    let path = disk.seg(copy);
    match disk.files.share(source, &path).map_err(at(&path))? {
        Some(new) => new.sync().map_err(at(&path)),
        None => disk.files.sync(source).map_err(at(&path)),
    }
}

pub(super) fn expose(disk: &FileDisk, copy: CopyId, file: &str) -> io::Result<PathBuf> {
    read::check_plain(file)?;
    let path = disk.spool().join(file);
    let source = read::open(disk, &disk.seg(copy))?;
    disk.files.share(source.as_ref(), &path).map_err(at(&path))?;
    Ok(path)
}

pub(super) fn publish(disk: &FileDisk, toc: &Toc) -> io::Result<()> {
    let seg = disk.seg(toc.copy);
    if !disk.exists(&seg)? {
        return Err(at(&seg)(Errno::NOENT.into()));
    }
    let bytes = record::encode(TOC_KIND, toc).map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
    disk.replace(&disk.toc(toc.copy), &disk.draft(toc.copy), |file| file.append(&bytes))
}

pub(super) fn unlink(disk: &FileDisk, copy: CopyId) -> io::Result<()> {
    if disk.remove(&disk.toc(copy))? {
        disk.sync_folder(&disk.shard(copy))?;
    }
    disk.remove(&disk.seg(copy)).map(drop)
}

pub(super) fn discard(disk: &FileDisk, copy: CopyId) -> io::Result<()> {
    let toc = disk.toc(copy);
    if disk.exists(&toc)? {
        let text = format!("{}: the copy is published, it cannot be discarded", toc.display());
        return Err(io::Error::new(ErrorKind::InvalidInput, text));
    }
    disk.remove(&disk.seg(copy)).map(drop)
}

pub(super) fn write_snapshot(
    disk: &FileDisk,
    path: &Path,
    records: &mut dyn Iterator<Item = Vec<u8>>,
) -> io::Result<()> {
    disk.replace(path, &path.with_extension("tmp"), |file| {
        let mut buffer = Vec::with_capacity(SNAPSHOT_BUFFER_BYTES);
        for record in records {
            if buffer.len() + record.len() > SNAPSHOT_BUFFER_BYTES {
                file.append(&buffer)?;
                buffer.clear();
            }
            buffer.extend_from_slice(&record);
        }
        file.append(&buffer)
    })
}

/// A copy id is used once: not while its copy exists, and not after it went into quarantine.
fn check_unused(disk: &FileDisk, copy: CopyId) -> io::Result<()> {
    for path in [disk.toc(copy), disk.in_quarantine(copy, TOC), disk.in_quarantine(copy, SEG)] {
        if disk.exists(&path)? {
            let text = format!("{}: this copy id was used already", path.display());
            return Err(io::Error::new(ErrorKind::AlreadyExists, text));
        }
    }
    Ok(())
}
