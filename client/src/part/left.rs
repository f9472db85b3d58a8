//! Parts that killed processes left: nobody holds their lock any more.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use super::folder::remove;
use super::{END, ID_CHARS, START};

/// The most entries of a folder that are looked at: a load must not wait for a folder of millions.
const LOOKED_AT_MAX: usize = 10_000;

/// Whether a new part is this process's, for as long as `part` is open: false if somebody took it for a left one before it
/// could be locked. Where the file system knows no locks nothing is ever taken for left.
pub(super) fn hold(part: &File) -> io::Result<bool> {
    let locked = flock(part, FlockOperation::NonBlockingLockExclusive);
    Ok(locked != Err(Errno::WOULDBLOCK) && part.metadata()?.nlink() > 0)
}

/// Removes what was left in a folder, as well as may be: it is in nobody's way.
pub(super) fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.take(LOOKED_AT_MAX).flatten().filter(|entry| is_part(&entry.file_name())) {
        if let Err(error) = remove_left(&entry.path()) {
            tracing::debug!(path = %entry.path().display(), %error, "what may have been left here stays");
        }
    }
}

fn is_part(name: &OsStr) -> bool {
    let id = name.to_str().and_then(|name| name.strip_prefix(START)?.strip_suffix(END));
    id.is_some_and(|id| id.len() == ID_CHARS && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn remove_left(path: &Path) -> io::Result<()> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or(0);
    let part = File::options().read(true).custom_flags(flags).open(path)?;
    let kind = part.metadata()?.file_type();
    if !kind.is_file() && !kind.is_dir() {
        return Err(ErrorKind::InvalidInput.into());
    }
    // Held until it is gone: whoever made it just now finds that out by the lock, or by its having no name any more.
    flock(&part, FlockOperation::NonBlockingLockExclusive)?;
    remove(path)
}
