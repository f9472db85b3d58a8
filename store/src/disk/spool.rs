//! What killed clients left in the spool.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use uuid::Uuid;

use super::Disk;
use super::layout::{FileDisk, at, remove};
use crate::time::WallTime;

/// Nobody still uses what is older than this.
const LEFT_AFTER: Duration = Duration::from_secs(24 * 3600);

/// A file that a client made, or had made.
struct Made {
    /// When, in milliseconds since 1970, as its name says; 0 if the name does not.
    at: u64,
    /// Whether it may have been moved here instead.
    movable: bool,
}

impl FileDisk {
    /// Removes what clients made in the spool and left there, once it is old at `now`; tells how many files.
    ///
    /// That is `cairn-<32 hex>.part` (a save) and `stale-<uuid>` (a stale load), and never anything else. A file that
    /// a save has moved in stays: it is an application's own, and whatever links to it may be a stray that goes.
    pub fn tidy_spool(&self, now: WallTime) -> io::Result<usize> {
        let spool = self.spool();
        let mut removed = 0;
        for entry in fs::read_dir(&spool).map_err(at(&spool))? {
            let entry = entry.map_err(at(&spool))?;
            let Some(made) = entry.file_name().to_str().and_then(parse) else { continue };
            let path = entry.path();
            let found = match fs::symlink_metadata(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                found => found.map_err(at(&path))?,
            };
            if found.is_file() && made.is_left(&found, now) && remove(&path)? {
                removed += 1;
            }
        }
        Ok(removed)
    }
}

impl Made {
    fn is_left(&self, found: &Metadata, now: WallTime) -> bool {
        let written = modified(found);
        // Written before it got this name: the name came with a move.
        let own = self.movable && written < self.at;
        let age = now.0.saturating_sub(written.max(self.at));
        !own && u128::from(age) > LEFT_AFTER.as_millis()
    }
}

fn parse(name: &str) -> Option<Made> {
    let (id, movable) = match name.strip_prefix("cairn-").and_then(|rest| rest.strip_suffix(".part")) {
        Some(id) if id.len() == 32 => (id, true),
        _ => (name.strip_prefix("stale-").filter(|id| id.len() == 36)?, false),
    };
    let uuid = Uuid::try_parse(id).ok()?;
    // One spelling only: others are not names that we gave.
    let same = if movable { uuid.simple().to_string() == id } else { uuid.hyphenated().to_string() == id };
    let at = uuid.get_timestamp().map_or(0, |at| {
        let (seconds, nanos) = at.to_unix();
        seconds.saturating_mul(1000).saturating_add(u64::from(nanos) / 1_000_000)
    });
    same.then_some(Made { at, movable })
}

/// In milliseconds since 1970.
fn modified(found: &Metadata) -> u64 {
    let millis = found.mtime().saturating_mul(1000).saturating_add(found.mtime_nsec() / 1_000_000);
    u64::try_from(millis).unwrap_or(0)
}
