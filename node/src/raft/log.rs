//! The Raft log and the vote, on disk: the real version of the log seam.
//!
//! raft-log keeps a write-ahead log in chunks; what is here makes it safe to trust:
//! - `types`: ids and votes as records of fixed size, each with its own mark;
//! - `payload`: entries, with a checksum over their length;
//! - `done`: tells a waiter when its write is durable, and of an error if it never will be;
//! - `reader`: bounded reads that notice a missing entry; `look`: all of it, for a check of a node that does not run;
//! - `rotation`: the crash points at the change from one chunk to the next;
//! - `ballast`: space that a full disk gives back; `files`: what is cut off is told, and only at the end.
//!
//! An append is put into raft-log's buffer, is readable at once, and is handed to raft-log's own thread, which writes
//! and syncs whatever has gathered and then calls back. Any error here is a local fault: the node stops and recovers
//! at its next start. Only a record that the file ends within counts as torn, and is dropped when the log is opened;
//! a damaged one makes opening fail, and is never cut away.

#![allow(clippy::disallowed_methods, reason = "the real log: the simulation has its own")]

mod ballast;
mod done;
mod files;
mod look;
mod payload;
mod reader;
mod rotation;
#[cfg(test)]
mod tests;
mod types;

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use cairn_store::crash_point;
use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use raft_log::api::raft_log_writer::RaftLogWriter;
use raft_log::{Config, RaftLog};

pub use self::look::Span;
pub use self::reader::WalReader;

use self::done::Done;
use self::files::Files;
use self::payload::Payload;
use self::rotation::Rotation;
use self::types::{StoredId, StoredVote, Wal, invalid};
use super::types::{LogEntry, LogId, Types, Vote};

/// How the log uses memory, disk and time.
#[derive(Clone, Copy, Debug)]
pub struct LogTuning {
    /// A chunk file is closed at this size, in bytes. The open one is held in memory too.
    pub chunk_bytes: usize,
    /// Entries of closed chunks that are kept in memory, in bytes.
    pub cache_bytes: usize,
    /// The buffer that reads a chunk at open, in bytes.
    pub read_buffer_bytes: usize,
    /// How long a sync waits for more to write. Zero would turn group commit off.
    pub flush_wait: Duration,
    /// Space that is set aside so that a full disk can be opened, in bytes; 0 for none.
    pub ballast_bytes: u64,
}

impl Default for LogTuning {
    fn default() -> Self {
        Self {
            chunk_bytes: 16 << 20,
            cache_bytes: 32 << 20,
            read_buffer_bytes: 2 << 20,
            flush_wait: Duration::from_micros(15),
            ballast_bytes: 16 << 20,
        }
    }
}

/// The log and the vote of one node. Its folder is locked until this and every [`WalReader`] are dropped.
pub struct WalLog {
    shared: Shared,
}

impl fmt::Debug for WalLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WalLog").finish_non_exhaustive()
    }
}

impl WalLog {
    /// Opens the log in `dir`, which is made if it is not there. Blocks while the whole log is read.
    ///
    /// `InvalidData` if a record is damaged or of a version that this build does not know; `WouldBlock` if another
    /// process has the log open.
    pub fn open(dir: &Path, tuning: LogTuning) -> io::Result<Self> {
        let at = |e: io::Error| io::Error::new(e.kind(), format!("the raft log in {}: {e}", dir.display()));
        make_durable_dir(dir).map_err(at)?;
        // The lock comes with the log, so the ballast goes before it: opening may already need the space.
        ballast::release(dir).map_err(at)?;
        let files = Files::of(dir).map_err(at)?;
        let config = Arc::new(config(dir, tuning)?);
        let log = guarded(|| RaftLog::open(config)).map_err(at)?;
        files.tell_cut();
        ballast::keep(dir, tuning.ballast_bytes);
        sync_dir(dir).map_err(at)?;
        Ok(Self { shared: Shared(Arc::new(Mutex::new(log))) })
    }
}

/// Over damaged files raft-log can panic; and a file that ends too soon, though others follow it, is damaged too.
fn guarded<T>(open: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let opened = catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|_| Err(invalid("raft-log panicked")));
    opened.map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof => invalid(e.to_string()),
        _ => e,
    })
}

fn config(dir: &Path, tuning: LogTuning) -> io::Result<Config> {
    let name = dir.to_str().ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("the path {} is not UTF-8", dir.display()))
    })?;
    let mut config = Config::new(name);
    config.wal.chunk_max_size = Some(tuning.chunk_bytes);
    config.wal.read_buffer_size = Some(tuning.read_buffer_bytes);
    config.wal.flush_batch_wait = Some(tuning.flush_wait);
    // Only what the file ends within, or zeros up to its end: a write that never finished, so never acknowledged.
    config.wal.truncate_incomplete_record = Some(true);
    config.log_cache_capacity = Some(tuning.cache_bytes);
    Ok(config)
}

fn make_durable_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    sync_dir(dir)?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => Ok(()),
    }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// What the log and its readers share.
#[derive(Clone)]
struct Shared(Arc<Mutex<RaftLog<Wal>>>);

impl Shared {
    fn lock(&self) -> io::Result<MutexGuard<'_, RaftLog<Wal>>> {
        // After a panic inside raft-log nothing is known of its state: the node has to start anew.
        self.0.lock().map_err(|_| io::Error::other("raft log: a thread panicked in it"))
    }
}

/// Says what failed.
fn failed(what: &str) -> impl FnOnce(io::Error) -> io::Error {
    move |e| io::Error::new(e.kind(), format!("raft log: cannot {what}: {e}"))
}

impl RaftLogStorage<Types> for WalLog {
    type LogReader = WalReader;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let log = self.shared.lock()?;
        let state = log.log_state();
        Ok(LogState {
            last_purged_log_id: state.purged().copied().map(LogId::from),
            last_log_id: state.last().copied().map(LogId::from),
        })
    }

    async fn get_log_reader(&mut self) -> WalReader {
        WalReader::new(self.shared.clone())
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        crash_point!("vote.save");
        let (tx, durable) = Types::oneshot();
        {
            let mut log = self.shared.lock()?;
            log.save_vote(StoredVote::from(vote)).map_err(failed("save the vote"))?;
            log.flush(true, Some(Done::new(IOFlushed::signal(tx)))).map_err(failed("flush the vote"))?;
        }
        let written =
            durable.await.map_err(|_| io::Error::other("raft log: no word on whether the vote is saved"))?;
        written.map_err(failed("flush the vote"))?;
        crash_point!("vote.durable");
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let mut log = self.shared.lock()?;
        let state = log.log_state();
        let Some(committed) = committed.as_ref().map(StoredId::from) else { return Ok(()) };
        // raft-log refuses to go back, and to commit what it does not hold; neither is an error of Raft's.
        if Some(&committed) <= state.committed() || Some(&committed) > state.last() {
            return Ok(());
        }
        log.commit(committed).map_err(failed("save the committed id"))?;
        // It only saves work at the next start: a killed process keeps it, a power cut may lose it.
        log.flush(false, None).map_err(failed("write the committed id"))
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.shared.lock()?.log_state().committed().copied().map(LogId::from))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let done = Done::new(callback);
        let records = entries
            .into_iter()
            .map(|entry| Ok((StoredId::from(&entry.log_id), Payload::encode_entry(&entry.payload)?)))
            .collect::<io::Result<Vec<_>>>()
            .map_err(failed("encode an entry"))?;
        let mut log = self.shared.lock()?;
        crash_point!("log.append");
        let rotation = Rotation::watch(&log);
        log.append(records).map_err(failed("append"))?;
        rotation.pass(&log);
        crash_point!("log.buffered");
        log.flush(true, Some(done)).map_err(failed("flush what was appended"))?;
        crash_point!("log.queued");
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let last = last.as_ref().map(StoredId::from);
        let mut log = self.shared.lock()?;
        if last.as_ref() >= log.log_state().last() {
            return Ok(());
        }
        let first_gone = last.map_or(0, |id| id.index.saturating_add(1));
        log.truncate(first_gone).map_err(failed("truncate"))?;
        // The next append's sync covers it. Entries that come back after a power cut before that do no harm.
        log.flush(false, None).map_err(failed("write the truncation"))
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        let mut log = self.shared.lock()?;
        crash_point!("log.purge");
        log.purge(StoredId::from(&upto)).map_err(failed("purge"))?;
        // Chunks are removed only behind a sync.
        log.flush(true, None).map_err(failed("flush the purge"))?;
        crash_point!("log.purged");
        Ok(())
    }
}
