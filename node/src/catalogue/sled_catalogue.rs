//! The catalogue in sled, used as little as can be: one tree, small values, explicit checkpoints.
//!
//! sled can come back from a power cut unreadable, empty or with holes. So a marker beside it says how the last use
//! ended, and whatever cannot be trusted is thrown away: the `.toc` files know it all.

#![allow(clippy::disallowed_methods, reason = "the real catalogue: the simulation has its own")]

mod marker;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use cairn_store::crash_point;
use cairn_store::id::SegmentId;
use cairn_store::record::{self, Kind};
use cairn_store::segment::Version;
use rustix::fs::FlockOperation;

use self::marker::{Left, Marker};
use super::{Catalogue, Held};

/// The record of one copy.
const HELD_KIND: Kind = Kind { tag: *b"HELD", version: 1 };

/// sled's cache, in bytes; its default is 1 GiB.
const CACHE_BYTES: u64 = 16 << 20;
/// The most changes in one batch: sled takes gigabytes for a thousand.
const BATCH_MAX: usize = 100;
/// How often, and how long, to wait for the lock of a process that was just killed.
const LOCK_TRIES: u32 = if cfg!(test) { 3 } else { 50 };
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// What can be expected of a catalogue that was just opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It was closed: it holds what it held then.
    Complete,
    /// Its process was killed, the kernel went on: what it holds was written, but the last changes may be missing.
    Behind,
    /// It is new, or could not be trusted and is empty now. It stays so, over every restart, until
    /// [`Catalogue::replace`] is done.
    Rebuild,
}

/// What a look at a catalogue found, without the start that would mend it.
pub enum Look {
    /// There is none yet.
    Absent,
    /// How its last use ended is not known, or that was before the kernel was started anew: it proves nothing.
    Untrusted,
    /// It cannot be read, or not all of it.
    Damaged(String),
    /// It can be read.
    Readable(SledCatalogue),
}

/// [`Catalogue`] in sled.
pub struct SledCatalogue {
    marker: Marker,
    db: sled::Db,
    /// sled's own flush is not an fsync; this second descriptor of its file is for one.
    file: File,
    /// Writers hold it shared, so that nothing is written once the marker says "closed".
    stage: RwLock<Stage>,
}

/// What the marker says, and may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing, until everything is in: a half-built catalogue must not be taken for a whole one.
    Building,
    /// In use.
    Open,
    /// Closed.
    Closed,
}

impl fmt::Debug for SledCatalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledCatalogue").finish_non_exhaustive()
    }
}

impl SledCatalogue {
    /// Opens the catalogue in `dir`, which is made if it is not there; `boot_id` is the kernel's. Blocks, and for up
    /// to 5 s if another process holds it; then the error is `WouldBlock`.
    pub fn open(dir: &Path, boot_id: &str) -> io::Result<(Self, Trust)> {
        let at = |e: io::Error| io::Error::new(e.kind(), format!("the catalogue in {}: {e}", dir.display()));
        wait_for_lock(dir).map_err(at)?;
        let marker = Marker::new(dir, boot_id);
        let left = marker.read();
        if left != Left::Nothing {
            let opened = Self::try_open(dir, &marker, Stage::Open);
            match opened.and_then(|opened| opened.check(left).map(|trust| (opened, trust))) {
                Ok(opened) => return Ok(opened),
                Err(error) => {
                    tracing::warn!(dir = %dir.display(), %error, "the catalogue is of no use; it is made anew");
                }
            }
        }
        clear(dir).map_err(at)?;
        Self::try_open(dir, &marker, Stage::Building).map(|opened| (opened, Trust::Rebuild)).map_err(at)
    }

    /// Opens a *copy* of a catalogue in `dir`, as a start would, and mends nothing. sled writes when it opens, so never
    /// the catalogue itself.
    pub fn look(dir: &Path, boot_id: &str) -> Look {
        let marker = Marker::new(dir, boot_id);
        match marker.read() {
            Left::Nothing if marker.exists() => Look::Untrusted,
            Left::Nothing => Look::Absent,
            left => {
                let opened = Self::try_open(dir, &marker, Stage::Open);
                match opened.and_then(|opened| opened.check(left).map(|_| opened)) {
                    Ok(opened) => Look::Readable(opened),
                    Err(error) => Look::Damaged(error.to_string()),
                }
            }
        }
    }

    fn try_open(dir: &Path, marker: &Marker, stage: Stage) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        remove_half_snapshots(dir)?;
        if stage == Stage::Open {
            // Before anything changes, or a power cut could leave a changed catalogue that says "closed".
            marker.write(None)?;
        }
        let config = sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(None);
        let db = guarded(|| config.open().map_err(local))?;
        let file = File::open(dir.join("db"))?;
        sync_dir(dir)?;
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_dir(parent)?;
        }
        Ok(Self { marker: marker.clone(), db, file, stage: RwLock::new(stage) })
    }

    /// Reads it once: sled can open damaged files and show nothing, or less than there was.
    fn check(&self, left: Left) -> io::Result<Trust> {
        let count = guarded(|| self.count())?;
        match left {
            Left::Closed(then) if then != count => Err(invalid(format!("{then} entries were there, {count} are"))),
            Left::Closed(_) => Ok(Trust::Complete),
            Left::Open | Left::Nothing => Ok(Trust::Behind),
        }
    }

    /// How many entries there are; an error if one of them cannot be read.
    fn count(&self) -> io::Result<u64> {
        let mut entries =
            self.db.iter().map(|item| item.map_err(local).and_then(|(key, value)| decode(&key, &value)));
        entries.try_fold(0, |count, held| held.map(|_| count + 1))
    }

    /// Makes everything durable and says so in the marker. Every later change is refused.
    pub fn close(&self) -> io::Result<()> {
        let mut stage = self.stage.write().unwrap_or_else(PoisonError::into_inner);
        if *stage == Stage::Open {
            crash_point!("sled.close");
            self.checkpoint()?;
            sync_dir(self.marker.dir())?;
            self.marker.write(Some(self.count()?))?;
            crash_point!("sled.closed");
        }
        *stage = Stage::Closed;
        Ok(())
    }

    fn checkpoint(&self) -> io::Result<()> {
        crash_point!("sled.flush");
        self.db.flush().map_err(local)?;
        crash_point!("sled.flushed");
        self.file.sync_all()?;
        crash_point!("sled.durable");
        Ok(())
    }

    /// What is no copy: how far works are that go on after a restart.
    fn progress(&self) -> io::Result<sled::Tree> {
        self.db.open_tree("progress").map_err(local)
    }

    /// Held while something is written.
    fn writing(&self) -> io::Result<RwLockReadGuard<'_, Stage>> {
        let stage = self.stage.read().unwrap_or_else(PoisonError::into_inner);
        if *stage == Stage::Closed { Err(closed()) } else { Ok(stage) }
    }

    fn apply(&self, changes: impl Iterator<Item = io::Result<Change>>) -> io::Result<()> {
        let mut changes = changes.peekable();
        while changes.peek().is_some() {
            let mut batch = sled::Batch::default();
            for change in changes.by_ref().take(BATCH_MAX) {
                match change? {
                    Change::Put(key, value) => batch.insert(key.as_slice(), value),
                    Change::Remove(key) => batch.remove(key),
                }
            }
            self.db.apply_batch(batch).map_err(local)?;
        }
        Ok(())
    }
}

enum Change {
    Put([u8; KEY_BYTES], Vec<u8>),
    Remove(sled::IVec),
}

impl Catalogue for SledCatalogue {
    fn insert(&self, held: Held) -> io::Result<()> {
        let _writing = self.writing()?;
        self.db.insert(key(&held), encode(&held)?).map_err(local)?;
        Ok(())
    }

    fn remove(&self, held: &Held) -> io::Result<()> {
        let _writing = self.writing()?;
        self.db.remove(key(held)).map_err(local)?;
        Ok(())
    }

    fn find(&self, segment: SegmentId, version: Version) -> io::Result<Vec<Held>> {
        let copies = self.db.scan_prefix(prefix(segment, version));
        copies.map(|item| item.map_err(local).and_then(|(key, value)| decode(&key, &value))).collect()
    }

    fn page(&self, after: Option<&Held>, limit: usize) -> io::Result<Vec<Held>> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(key(after)));
        let page = self.db.range((from, Bound::Unbounded)).take(limit);
        page.map(|item| item.map_err(local).and_then(|(key, value)| decode(&key, &value))).collect()
    }

    fn scrubbed(&self) -> io::Result<Option<Held>> {
        let found = self.progress()?.get(SCRUBBED).map_err(local)?;
        // What cannot be read only costs a round that begins anew.
        let read = |value: sled::IVec| record::decode::<Held>(HELD_KIND, &value).ok().map(|(held, _)| held);
        Ok(found.and_then(read))
    }

    fn set_scrubbed(&self, last: Option<&Held>) -> io::Result<()> {
        let _writing = self.writing()?;
        let progress = self.progress()?;
        match last {
            Some(held) => progress.insert(SCRUBBED, encode(held)?).map_err(local)?,
            None => progress.remove(SCRUBBED).map_err(local)?,
        };
        Ok(())
    }

    fn replace(&self, all: &[Held]) -> io::Result<()> {
        let mut stage = self.stage.write().unwrap_or_else(PoisonError::into_inner);
        if *stage == Stage::Closed {
            return Err(closed());
        }
        crash_point!("sled.replace");
        let keep: BTreeSet<[u8; KEY_BYTES]> = all.iter().map(key).collect();
        self.apply(self.db.iter().keys().filter_map(|key| match key {
            Ok(key) if key.first_chunk().is_some_and(|key| keep.contains(key)) => None,
            Ok(key) => Some(Ok(Change::Remove(key))),
            Err(error) => Some(Err(local(error))),
        }))?;
        self.apply(all.iter().map(|held| Ok(Change::Put(key(held), encode(held)?))))?;
        self.checkpoint()?;
        if *stage == Stage::Building {
            sync_dir(self.marker.dir())?;
            self.marker.write(None)?;
            *stage = Stage::Open;
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.checkpoint()
    }
}

/// The key of the scrub's progress.
const SCRUBBED: &str = "scrubbed";

/// Segment, version (big-endian, so that it sorts) and copy.
const KEY_BYTES: usize = 40;

fn key(held: &Held) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    let parts = prefix(held.segment, held.version).into_iter().chain(held.copy.0.into_bytes());
    key.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
    key
}

fn prefix(segment: SegmentId, version: Version) -> [u8; KEY_BYTES - 16] {
    let mut prefix = [0; KEY_BYTES - 16];
    let parts = segment.0.into_bytes().into_iter().chain(version.0.to_be_bytes());
    prefix.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
    prefix
}

fn encode(held: &Held) -> io::Result<Vec<u8>> {
    record::encode(HELD_KIND, held).map_err(|e| invalid(e.to_string()))
}

fn decode(at: &[u8], value: &[u8]) -> io::Result<Held> {
    match record::decode::<Held>(HELD_KIND, value) {
        Ok((held, [])) if key(&held) == at => Ok(held),
        Ok(_) => Err(invalid("an entry of the catalogue does not belong to its key".into())),
        Err(error) => Err(invalid(format!("an entry of the catalogue cannot be read: {error}"))),
    }
}

fn closed() -> io::Error {
    io::Error::other("the catalogue is closed")
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// sled's errors as ours.
fn local(error: sled::Error) -> io::Error {
    match error {
        sled::Error::Io(error) => error,
        sled::Error::Corruption { .. } => invalid("sled found damage in its files".into()),
        other => io::Error::other(format!("sled: {other}")),
    }
}

/// sled can panic over damaged files.
fn guarded<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(invalid("sled panicked".into())))
}

/// sled does not open beside a snapshot that was interrupted.
fn remove_half_snapshots(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with("snap.") && name.ends_with(".generating")) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn clear(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Waits until no process holds sled's lock: that of a killed one can outlive it for a moment, and a folder that is
/// in use must not be cleared.
fn wait_for_lock(dir: &Path) -> io::Result<()> {
    let file = match File::open(dir.join("db")) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    for _ in 0..LOCK_TRIES {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => std::thread::sleep(LOCK_PAUSE),
            // Closing the descriptor gives the lock back.
            other => return other.map_err(io::Error::from),
        }
    }
    Err(io::Error::new(io::ErrorKind::WouldBlock, "another process holds it"))
}
