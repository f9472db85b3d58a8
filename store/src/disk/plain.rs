//! Regular files, and nothing else: what stands in place of one must not make a node wait, or lead it elsewhere.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::layout::{LOG_MARK, REMOVED_MARK, at};
use super::real::RealFileSystem;
use super::system::FileSystem;

/// Files that lie in a node's folder, besides the folders.
const FILES: [&str; 5] = ["joining", "lock", LOG_MARK, "node.toml", REMOVED_MARK];
/// Folders whose owners open whatever they find under their names.
const FOLDERS: [&str; 3] = ["catalogue", "log", "snapshots"];
/// The longest text, in bytes.
pub(super) const TEXT_BYTES_MAX: u64 = 1 << 20;

/// Whether everything in a node's folder that is opened by name is a file or a folder. Opens nothing.
pub(super) fn check(dir: &Path) -> io::Result<()> {
    let mut paths: Vec<PathBuf> = FILES.iter().map(|name| dir.join(name)).collect();
    for folder in FOLDERS.iter().map(|name| dir.join(name)) {
        for entry in fs::read_dir(&folder).map_err(at(&folder))? {
            paths.push(entry.map_err(at(&folder))?.path());
        }
    }
    for path in paths {
        match fs::metadata(&path) {
            Ok(found) if found.is_file() || found.is_dir() => {}
            Ok(_) => return Err(at(&path)(irregular())),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(at(&path)(error)),
        }
    }
    Ok(())
}

/// The text of a small file; `InvalidInput` if it is anything else than a regular file.
pub fn read_text(path: &Path) -> io::Result<String> {
    RealFileSystem.read(path, TEXT_BYTES_MAX + 1).and_then(text).map_err(at(path))
}

/// The bytes of a small file as text.
pub(super) fn text(bytes: Vec<u8>) -> io::Result<String> {
    if bytes.len() as u64 > TEXT_BYTES_MAX {
        return Err(io::Error::new(ErrorKind::InvalidData, format!("longer than {TEXT_BYTES_MAX} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| io::Error::new(ErrorKind::InvalidData, error.utf8_error()))
}

/// Opens a file for writing; what it holds stays.
pub(super) fn open_or_create(path: &Path) -> io::Result<File> {
    open(path, OFlags::WRONLY | OFlags::CREATE)
}

/// Opens a regular file: no link is followed, and nothing makes us wait.
pub(super) fn open(path: &Path, how: OFlags) -> io::Result<File> {
    try_open(path, how).map_err(at(path))
}

/// The same; the error does not name the path.
pub(super) fn try_open(path: &Path, how: OFlags) -> io::Result<File> {
    let flags = how | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::from_raw_mode(0o666)) {
        Ok(file) => File::from(file),
        // What O_NOFOLLOW says of a link, and opening says of a socket, or of a FIFO that nobody reads.
        Err(Errno::LOOP | Errno::NXIO) => return Err(irregular()),
        Err(error) => return Err(error.into()),
    };
    if file.metadata()?.is_file() { Ok(file) } else { Err(irregular()) }
}

fn irregular() -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, "not a regular file")
}
