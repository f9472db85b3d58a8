//! A folder's files, copied to where they may be changed: neither sled nor raft-log opens without a write.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use tempfile::TempDir;

/// What the log sets aside, and locks: no part of what it says.
const LEFT_OUT: [&str; 2] = ["ballast", "LOCK"];
/// Folders within folders: sled has one for its large values.
const DEPTH_MAX: u32 = 3;

/// A copy of `from` in the folder for temporary files; none if it is not there.
pub(super) fn copied(from: &Path) -> io::Result<Option<TempDir>> {
    if !from.is_dir() {
        return Ok(None);
    }
    let beside = tempfile::Builder::new().prefix("cairnd-fsck-").tempdir()?;
    copy(from, beside.path(), DEPTH_MAX)?;
    Ok(Some(beside))
}

fn copy(from: &Path, to: &Path, depth: u32) -> io::Result<()> {
    let at = |path: &Path, error: io::Error| {
        io::Error::new(error.kind(), format!("{}: cannot copy it to look at it: {error}", path.display()))
    };
    for entry in fs::read_dir(from).map_err(|e| at(from, e))? {
        let entry = entry.map_err(|e| at(from, e))?;
        let (path, name) = (entry.path(), entry.file_name());
        // As its owner opens it: through a link, but nothing that could make us wait.
        let found = fs::metadata(&path).map_err(|e| at(&path, e))?;
        if found.is_dir() && depth > 0 {
            let below = to.join(&name);
            fs::create_dir(&below).map_err(|e| at(&below, e))?;
            copy(&path, &below, depth - 1)?;
        } else if found.is_file() && !LEFT_OUT.iter().any(|left_out| name == *left_out) {
            fs::copy(&path, to.join(&name)).map_err(|e| at(&path, e))?;
        }
    }
    Ok(())
}

/// Whether an error is the check's own trouble, and says nothing about what was to be looked at.
pub(super) fn ours(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::StorageFull | ErrorKind::OutOfMemory)
        || crate::storage::passes_by(error)
}
