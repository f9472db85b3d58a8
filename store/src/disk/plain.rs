//! Regular files, and nothing else: what stands in place of one must not make a node wait, or lead it elsewhere.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::layout::{LOG_MARK, at};

/// Files that lie in a node's folder, besides the folders.
const FILES: [&str; 4] = ["joining", "lock", LOG_MARK, "node.toml"];
/// Folders whose owners open whatever they find under their names.
const FOLDERS: [&str; 3] = ["catalogue", "log", "snapshots"];
/// The longest text, in bytes.
const TEXT_BYTES_MAX: u64 = 1 << 20;

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
            Ok(_) => return Err(irregular(&path)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(at(&path)(error)),
        }
    }
    Ok(())
}

/// The text of a small file; `InvalidInput` if it is anything else than a regular file.
pub fn read_text(path: &Path) -> io::Result<String> {
    let file = open(path, OFlags::RDONLY)?;
    if file.metadata().map_err(at(path))?.len() > TEXT_BYTES_MAX {
        let text = format!("{}: longer than {TEXT_BYTES_MAX} bytes", path.display());
        return Err(io::Error::new(ErrorKind::InvalidData, text));
    }
    let mut text = String::new();
    file.take(TEXT_BYTES_MAX).read_to_string(&mut text).map_err(at(path))?;
    Ok(text)
}

/// Opens a file for writing; what it holds stays.
pub(super) fn open_or_create(path: &Path) -> io::Result<File> {
    open(path, OFlags::WRONLY | OFlags::CREATE)
}

/// Opens a regular file: no link is followed, and nothing makes us wait.
pub(super) fn open(path: &Path, how: OFlags) -> io::Result<File> {
    let flags = how | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::from_raw_mode(0o666)) {
        Ok(file) => File::from(file),
        // What O_NOFOLLOW says of a link, and opening says of a socket, or of a FIFO that nobody reads.
        Err(Errno::LOOP | Errno::NXIO) => return Err(irregular(path)),
        Err(error) => return Err(at(path)(error.into())),
    };
    if file.metadata().map_err(at(path))?.is_file() { Ok(file) } else { Err(irregular(path)) }
}

fn irregular(path: &Path) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, format!("{}: not a regular file", path.display()))
}
