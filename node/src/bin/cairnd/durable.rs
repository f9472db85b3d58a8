//! Small files that are there whole or not at all, whatever happens.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// The longest file that is read, in bytes.
const READ_BYTES_MAX: u64 = 1 << 20;

/// A file's text; none if it is not there. Whatever is no regular file is refused, and cannot make us wait.
pub(crate) fn read(path: &Path) -> io::Result<Option<String>> {
    let at = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
    let irregular = || at(io::Error::new(ErrorKind::InvalidInput, "not a regular file"));
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        // What O_NOFOLLOW says of a link, and opening says of a socket.
        Err(Errno::LOOP | Errno::NXIO) => return Err(irregular()),
        Err(e) => return Err(at(e.into())),
    };
    let metadata = file.metadata().map_err(at)?;
    if !metadata.is_file() {
        return Err(irregular());
    }
    if metadata.len() > READ_BYTES_MAX {
        return Err(at(io::Error::new(ErrorKind::InvalidData, format!("longer than {READ_BYTES_MAX} bytes"))));
    }
    let mut text = String::new();
    file.take(READ_BYTES_MAX).read_to_string(&mut text).map_err(at)?;
    Ok(Some(text))
}

/// Puts a file in place, durably.
pub(crate) fn write(path: &Path, text: &str) -> io::Result<()> {
    let at = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
    let mut draft: OsString = path.into();
    draft.push(".tmp");
    // An earlier attempt may have left one; and what stands there instead of a file is not opened.
    remove(Path::new(&draft))?;
    let filled = File::create_new(&draft).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    filled.and_then(|()| fs::rename(&draft, path)).and_then(|()| sync_parent(path)).map_err(at)
}

/// Takes a file away, durably. One that is not there is no error.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(io::Error::new(e.kind(), format!("{}: {e}", path.display()))),
        Ok(()) => sync_parent(path),
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}
