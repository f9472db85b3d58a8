//! Opening and reading: spool files, copies, their `.toc`, the snapshot.

use std::io::{self, ErrorKind, Read};
use std::path::Path;

use super::layout::{FileDisk, SPOOL_MARK, at};
use super::{Disk, ReadAt, Toc};
use crate::id::CopyId;
use crate::record;

/// The longest name of a spool file, in bytes.
const SPOOL_NAME_BYTES_MAX: usize = 255;
/// The longest `.toc`, in bytes.
const TOC_BYTES_MAX: u64 = (record::HEADER_BYTES + record::BODY_BYTES_MAX) as u64;

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
pub(super) fn open_spool(disk: &FileDisk, file: &str) -> io::Result<Box<dyn ReadAt>> {
    check_plain(file)?;
    open(disk, &disk.spool().join(file))
}

/// Opens a regular file, and nothing else.
pub(super) fn open(disk: &FileDisk, path: &Path) -> io::Result<Box<dyn ReadAt>> {
    disk.files.open(path).map_err(at(path))
}

/// Reads and checks a `.toc`: `InvalidData` if it is damaged, `Unsupported` if it is whole but of another version.
pub(super) fn read_toc(disk: &FileDisk, copy: CopyId) -> io::Result<Toc> {
    let path = disk.toc(copy);
    disk.files.read(&path, TOC_BYTES_MAX + 1).and_then(|bytes| Toc::decode(&bytes, copy)).map_err(at(&path))
}

pub(super) fn read_snapshot(disk: &FileDisk, path: &Path) -> io::Result<Option<Box<dyn Read + Send>>> {
    match disk.files.stream(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        read => read.map(Some).map_err(at(path)),
    }
}
