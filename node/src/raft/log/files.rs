//! The log's files, looked at before raft-log opens them and afterwards.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::types::invalid;

/// What raft-log's own files end in. Their names sort as they follow each other.
const WAL: &str = "wal";
/// Enough of a file to tell whether anything was ever written to it: its first record begins with its kind.
const BEGIN_BYTES: u64 = 8;

/// The files of a log, oldest first, with their lengths.
pub(super) struct Files(Vec<(PathBuf, u64)>);

impl Files {
    /// Those in `dir`. An error if one is empty, and another that follows it is not: raft-log would panic over it. It
    /// writes to a file only once the one before is whole; after a crash the last ones may all be empty, or zeros.
    pub(super) fn of(dir: &Path) -> io::Result<Self> {
        let mut files = Vec::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == WAL) {
                let length = fs::metadata(&path)?.len();
                files.push((path, length));
            }
        }
        files.sort();
        let mut empty: Option<&Path> = None;
        for (path, length) in &files {
            match empty {
                None if *length == 0 => empty = Some(path),
                Some(empty) if written(path)? => {
                    return Err(invalid(format!("{} is empty, and {} is not", empty.display(), path.display())));
                }
                _ => {}
            }
        }
        Ok(Self(files))
    }

    /// Tells what raft-log cut off when it opened the log.
    pub(super) fn tell_cut(&self) {
        for (path, length) in &self.0 {
            let left = fs::metadata(path).map_or(0, |found| found.len());
            let cut = length.saturating_sub(left);
            if cut > 0 {
                let file = path.display();
                tracing::warn!(%file, cut, "the log ended with a write that never finished; it was cut off");
            }
        }
    }
}

fn written(path: &Path) -> io::Result<bool> {
    let mut begin = Vec::new();
    File::open(path)?.take(BEGIN_BYTES).read_to_end(&mut begin)?;
    Ok(begin.iter().any(|byte| *byte != 0))
}
