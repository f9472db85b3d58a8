//! Opening and reading: spool files, copies, their `.toc`, the snapshot.

use std::fs::{File, Metadata};
use std::io::{self, BufReader, ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::OFlags;

use super::layout::{SPOOL_MARK, at};
use super::{ReadAt, Space, Toc, plain};
use crate::id::CopyId;
use crate::record;

/// The longest name of a spool file, in bytes.
const SPOOL_NAME_BYTES_MAX: usize = 255;
/// The longest `.toc`, in bytes.
const TOC_BYTES_MAX: u64 = (record::HEADER_BYTES + record::BODY_BYTES_MAX) as u64;

/// A regular file, opened once. The name may go; the bytes stay as long as this is held.
#[derive(Debug)]
pub(super) struct OpenFile {
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

/// Refuses whatever is not the plain name of an application's file: paths, hidden tricks, and the spool's own mark.
pub(super) fn check_plain(file: &str) -> io::Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let reserved = matches!(file, "" | "." | ".." | SPOOL_MARK);
    if reserved || file.len() > SPOOL_NAME_BYTES_MAX || !file.bytes().all(allowed) {
        let text = format!(
            "{file:?} cannot name a file of the spool: 1 to {SPOOL_NAME_BYTES_MAX} letters, digits, '.', '_', '-'"
        );
        return Err(io::Error::new(ErrorKind::InvalidInput, text));
    }
    Ok(())
}

/// Opens a file of the spool. Applications write there: nothing may make us wait or lead us elsewhere.
pub(super) fn open_spool(spool: &Path, file: &str) -> io::Result<OpenFile> {
    check_plain(file)?;
    open(&spool.join(file))
}

/// Opens a regular file, and nothing else.
pub(super) fn open(path: &Path) -> io::Result<OpenFile> {
    let file = plain::open(path, OFlags::RDONLY)?;
    let seen = Stamp::of(&file.metadata().map_err(at(path))?);
    Ok(OpenFile { file, seen })
}

/// Reads and checks a `.toc`: `InvalidData` if it is damaged, `Unsupported` if it is whole but of another version.
pub(super) fn read_toc(path: &Path, copy: CopyId) -> io::Result<Toc> {
    let mut bytes = Vec::new();
    let limit = TOC_BYTES_MAX + 1;
    plain::open(path, OFlags::RDONLY)?.take(limit).read_to_end(&mut bytes).map_err(at(path))?;
    Toc::decode(&bytes, copy).map_err(at(path))
}

pub(super) fn read_snapshot(path: &Path) -> io::Result<Option<Box<dyn Read + Send>>> {
    match File::open(path) {
        Ok(file) => Ok(Some(Box::new(BufReader::new(file)))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(path)(error)),
    }
}

pub(super) fn space(dir: &Path) -> io::Result<Space> {
    let stat = rustix::fs::statvfs(dir).map_err(|error| at(dir)(error.into()))?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(Space { total: bytes(stat.f_blocks), free: bytes(stat.f_bavail) })
}
