//! What killed clients left in the spool.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use uuid::Uuid;

use super::Disk;
use super::layout::{FileDisk, at};
use crate::time::WallTime;

/// Nobody still uses what is older than this.
const LEFT_AFTER: Duration = Duration::from_secs(24 * 3600);

impl FileDisk {
    /// Removes what clients made in the spool and left there, once it is old at `now`; tells how many files.
    ///
    /// That is `cairn-<32 hex>.part` (a save) and `stale-<uuid>` (a stale load), and never anything else. Both are
    /// copies, or second names: a file that is to be moved keeps its own until it is saved.
    pub fn tidy_spool(&self, now: WallTime) -> io::Result<usize> {
        let spool = self.spool();
        let mut removed = 0;
        for entry in fs::read_dir(&spool).map_err(at(&spool))? {
            let entry = entry.map_err(at(&spool))?;
            let Some(made) = entry.file_name().to_str().and_then(made_at) else { continue };
            let path = entry.path();
            let found = match fs::symlink_metadata(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                found => found.map_err(at(&path))?,
            };
            // What was written to since it was made is younger than its name.
            let age = now.0.saturating_sub(modified(&found).max(made));
            if found.is_file() && u128::from(age) > LEFT_AFTER.as_millis() && self.remove(&path)? {
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// When a client made the file of this name, in milliseconds since 1970; 0 if the name does not tell. None of another's.
fn made_at(name: &str) -> Option<u64> {
    let (id, simple) = match name.strip_prefix("cairn-").and_then(|rest| rest.strip_suffix(".part")) {
        Some(id) => (id, true),
        None => (name.strip_prefix("stale-")?, false),
    };
    let uuid = Uuid::try_parse(id).ok()?;
    // One spelling only: others are not names that we gave.
    let ours = if simple { uuid.simple().to_string() == id } else { uuid.hyphenated().to_string() == id };
    let at = uuid.get_timestamp().map_or(0, |at| {
        let (seconds, nanos) = at.to_unix();
        seconds.saturating_mul(1000).saturating_add(u64::from(nanos) / 1_000_000)
    });
    ours.then_some(at)
}

/// In milliseconds since 1970.
fn modified(found: &Metadata) -> u64 {
    let millis = found.mtime().saturating_mul(1000).saturating_add(found.mtime_nsec() / 1_000_000);
    u64::try_from(millis).unwrap_or(0)
}
