//! Space set aside. When the disk is full the log cannot even be opened; this file is removed first.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};

/// raft-log takes only its own names for chunks, and leaves this one alone.
const NAME: &str = "ballast";

/// Gives the space back.
pub(super) fn release(dir: &Path) -> io::Result<()> {
    match fs::remove_file(dir.join(NAME)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// So many times the ballast must be free before it is set aside: on a disk that was full a moment ago the log needs
/// the space itself.
const ROOM_FACTOR: u64 = 4;

/// Sets `bytes` aside, if there is room: the log is of more use without its ballast than not at all.
pub(super) fn keep(dir: &Path, bytes: u64) {
    if bytes == 0 {
        return;
    }
    let free = rustix::fs::statvfs(dir).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    if free < bytes.saturating_mul(ROOM_FACTOR) {
        tracing::warn!(dir = %dir.display(), bytes, free, "too little is free to set space aside for the raft log");
        return;
    }
    let kept = File::create(dir.join(NAME))
        .and_then(|file| fallocate(file, FallocateFlags::empty(), 0, bytes).map_err(io::Error::from));
    if let Err(error) = kept {
        tracing::warn!(dir = %dir.display(), bytes, %error, "no space could be set aside for the raft log");
        // Nothing is lost if half a ballast stays.
        let _ = release(dir);
    }
}
