//! A folder's files, copied to where they may be changed: neither sled nor raft-log opens without a write.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

use tempfile::TempDir;

/// What the log sets aside, and locks: no part of what it says.
const LEFT_OUT: [&str; 2] = ["ballast", "LOCK"];
/// Folders within folders: sled has one for its large values.
const DEPTH_MAX: u32 = 3;
/// The buffer between the two, in bytes.
const BUFFER_BYTES: usize = 1 << 20;

/// What became of a folder's copy.
pub(super) enum Copied {
    /// The folder is not there.
    Absent,
    /// It cannot be read, a bad sector perhaps.
    Unreadable(io::Error),
    /// Here it is.
    Whole(TempDir),
}

/// Why a folder is not copied.
enum Trouble {
    /// What was to be copied cannot be read.
    Theirs(io::Error),
    /// The check's own: no rights, no room.
    Ours(io::Error),
}

/// A copy of `from` in the folder for temporary files.
pub(super) fn copied(from: &Path) -> io::Result<Copied> {
    if !from.is_dir() {
        return Ok(Copied::Absent);
    }
    let beside = tempfile::Builder::new().prefix("cairnd-fsck-").tempdir()?;
    match copy(from, beside.path(), DEPTH_MAX) {
        Ok(()) => Ok(Copied::Whole(beside)),
        Err(Trouble::Theirs(error)) => Ok(Copied::Unreadable(error)),
        Err(Trouble::Ours(error)) => Err(error),
    }
}

fn copy(from: &Path, to: &Path, depth: u32) -> Result<(), Trouble> {
    for entry in fs::read_dir(from).map_err(theirs(from))? {
        let entry = entry.map_err(theirs(from))?;
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        // As its owner opens it: through a link, but nothing that could make us wait.
        let found = fs::metadata(&path).map_err(theirs(&path))?;
        if found.is_dir() && depth > 0 {
            fs::create_dir(&to).map_err(own(&to))?;
            copy(&path, &to, depth - 1)?;
        } else if found.is_file() && !LEFT_OUT.iter().any(|left_out| entry.file_name() == *left_out) {
            copy_file(&path, &to)?;
        }
    }
    Ok(())
}

/// Which of the two files an error is of says whether it is a finding.
fn copy_file(from: &Path, to: &Path) -> Result<(), Trouble> {
    let mut source = File::open(from).map_err(theirs(from))?;
    let mut target = File::create_new(to).map_err(own(to))?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => target.write_all(buffer.get(..length).unwrap_or_default()).map_err(own(to))?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(theirs(from)(error)),
        }
    }
}

fn theirs(path: &Path) -> impl FnOnce(io::Error) -> Trouble {
    move |error| {
        let told = io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        if ours(&error) { Trouble::Ours(told) } else { Trouble::Theirs(told) }
    }
}

fn own(path: &Path) -> impl FnOnce(io::Error) -> Trouble {
    move |error| {
        let text = format!("{}: cannot write what is to be looked at: {error}", path.display());
        Trouble::Ours(io::Error::new(error.kind(), text))
    }
}

/// Whether an error is the check's own trouble, and says nothing about what was to be looked at.
pub(super) fn ours(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::StorageFull | ErrorKind::OutOfMemory)
        || crate::storage::passes_by(error)
}
