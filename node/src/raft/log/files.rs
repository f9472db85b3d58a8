//! The log's files, looked at before raft-log opens them and afterwards.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::types::invalid;

/// What raft-log's own files end in. Their names sort as they follow each other.
const WAL: &str = "wal";

/// The newest file of a log: the only one that may end with a write that never finished.
pub(super) struct Newest {
    path: PathBuf,
    length: u64,
}

impl Newest {
    /// Of the log in `dir`, if it has any. A file before it was closed when that was made: raft-log would panic over an
    /// empty one.
    pub(super) fn of(dir: &Path) -> io::Result<Option<Self>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == WAL) {
                let length = fs::metadata(&path)?.len();
                files.push(Self { path, length });
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let newest = files.pop();
        match files.iter().find(|file| file.length == 0) {
            Some(empty) => Err(invalid(format!("{} is empty, and others follow it", empty.path.display()))),
            None => Ok(newest),
        }
    }

    /// Tells what raft-log cut off when it opened the log.
    pub(super) fn tell_cut(&self) {
        let left = fs::metadata(&self.path).map_or(0, |found| found.len());
        let cut = self.length.saturating_sub(left);
        if cut > 0 {
            let file = self.path.display();
            tracing::warn!(%file, cut, "the log ended with a write that never finished; it was cut off");
        }
    }
}
