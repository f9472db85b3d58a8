//! The Raft log in memory: readable at once, durable a little later, and a crash forgets what was not.
//!
//! Like the real one it is a write-ahead log: one order of records (entries, votes, truncations, purges), written
//! behind by a task that gathers what is there, waits as long as a disk does, and calls back. A crash keeps some
//! prefix of the records that were not durable yet: a record that was torn is as good as lost, because the real log's
//! checksums end it there.

mod image;
mod reader;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cairn_node::env::Env;
use cairn_node::raft::Types;
use cairn_node::raft::types::{LogEntry, LogId, Vote};
use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use tokio::sync::Notify;

use crate::files::Loss;
use crate::rng::SplitMix;
use image::{Image, Record};
pub use reader::MemReader;

/// The longest that a disk takes for an fsync, in microseconds: a fast one, a usual one, a slow one.
const FSYNC_US_MAX: [u64; 3] = [500, 3_000, 40_000];
/// What the kernel calls an error of a device.
const EIO: i32 = 5;

/// What a machine's log device holds. Clones are the same device; it stays when the machine crashes.
#[derive(Clone, Default)]
pub struct LogStore(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    live: Image,
    durable: Image,
    pending: Vec<Record>,
    waiting: Vec<IOFlushed<Types>>,
    /// The flush that fails, counted from here.
    failing: Option<u32>,
    /// Once one failed, none works again before a restart.
    failed: bool,
    /// How many times longer than usual a flush takes; 0 is 1.
    slowness: u32,
}

impl LogStore {
    /// The power goes and comes again. A log that failed works again, and nothing is to fail any more.
    pub fn crash(&self, rng: &SplitMix) -> Loss {
        let mut inner = self.lock();
        let kept = rng.index(inner.pending.len() + 1);
        let pending = std::mem::take(&mut inner.pending);
        let lost = u32::try_from(pending.len() - kept).unwrap_or(u32::MAX);
        pending.into_iter().take(kept).for_each(|record| inner.durable.take(record));
        *inner = Inner {
            live: inner.durable.clone(),
            durable: std::mem::take(&mut inner.durable),
            slowness: inner.slowness,
            ..Inner::default()
        };
        Loss { lost, torn: 0 }
    }

    /// The device is replaced by an empty one. The machine must be off.
    pub fn wipe(&self) {
        let mut inner = self.lock();
        *inner = Inner { slowness: inner.slowness, ..Inner::default() };
    }

    /// The n-th flush from now on fails: whoever waits for it gets an error, and no later one works before a crash. The node
    /// must stop.
    pub fn fail_after(&self, flushes: u32) {
        self.lock().failing = Some(flushes.max(1));
    }

    /// No flush is to fail any more. One that failed has failed.
    pub fn clear_failures(&self) {
        self.lock().failing = None;
    }

    /// Whether a flush failed since the last crash.
    pub fn failed(&self) -> bool {
        self.lock().failed
    }

    /// A flush takes so many times longer than usual, from now on; 0 is 1.
    pub fn slow(&self, factor: u32) {
        self.lock().slowness = factor;
    }

    fn write(&self, record: Record) {
        let mut inner = self.lock();
        inner.live.take(record.clone());
        inner.pending.push(record);
    }

    fn flush(&self) {
        let mut inner = self.lock();
        let waiting = std::mem::take(&mut inner.waiting);
        let (records, last) = (inner.pending.len(), inner.live.last());
        if inner.fails() {
            // What it has written of them nobody knows; nothing lies behind a gap.
            tracing::trace!(target: "cairn_sim::log", records, ?last, "fsync failed");
            drop(inner);
            let error = || Err(io::Error::from_raw_os_error(EIO));
            waiting.into_iter().for_each(|waiter| waiter.io_completed(error()));
            return;
        }
        tracing::trace!(target: "cairn_sim::log", records, ?last, "fsync");
        std::mem::take(&mut inner.pending).into_iter().for_each(|record| inner.durable.take(record));
        drop(inner);
        waiting.into_iter().for_each(|waiter| waiter.io_completed(Ok(())));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Whether the flush that begins now fails.
    fn fails(&mut self) -> bool {
        if let Some(left) = &mut self.failing {
            *left -= 1;
            if *left == 0 {
                (self.failing, self.failed) = (None, true);
            }
        }
        self.failed
    }
}

/// The log of one running node.
pub struct MemLog {
    store: LogStore,
    wake: Arc<Notify>,
}

impl fmt::Debug for MemLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemLog").finish_non_exhaustive()
    }
}

impl MemLog {
    /// Opens the device, on its machine.
    pub fn open(store: LogStore, env: &Env, rng: SplitMix) -> Self {
        let wake = Arc::new(Notify::new());
        let (device, due, clock) = (store.clone(), wake.clone(), env.clock.clone());
        let slowest = FSYNC_US_MAX.get(rng.index(FSYNC_US_MAX.len())).copied().unwrap_or_default();
        env.spawn(async move {
            loop {
                due.notified().await;
                let slowness = device.lock().slowness.max(1);
                clock.sleep(Duration::from_micros(rng.below(slowest)) * slowness).await;
                device.flush();
            }
        });
        Self { store, wake }
    }

    fn when_durable(&self, waiter: IOFlushed<Types>) {
        self.store.lock().waiting.push(waiter);
        self.wake.notify_one();
    }
}

impl RaftLogStorage<Types> for MemLog {
    type LogReader = MemReader;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let inner = self.store.lock();
        Ok(LogState { last_purged_log_id: inner.live.purged, last_log_id: inner.live.last() })
    }

    async fn get_log_reader(&mut self) -> MemReader {
        MemReader::new(self.store.clone())
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let (tell, durable) = Types::oneshot();
        self.store.write(Record::Vote(*vote));
        self.when_durable(IOFlushed::signal(tell));
        durable.await.map_err(|_| io::Error::other("the machine crashed"))?
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let last = self.store.lock().live.last();
        if let Some(committed) = committed.filter(|committed| Some(*committed) <= last) {
            self.store.write(Record::Commit(committed));
            self.wake.notify_one();
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.store.lock().live.committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        entries.into_iter().for_each(|entry| self.store.write(Record::Append(Box::new(entry))));
        self.when_durable(callback);
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let index = |id: &Option<LogId>| id.as_ref().map(|id| id.index);
        if index(&last) < index(&self.store.lock().live.committed) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "cannot truncate what was committed"));
        }
        self.store.write(Record::Truncate(last));
        self.wake.notify_one();
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        self.store.write(Record::Purge(upto));
        self.wake.notify_one();
        Ok(())
    }
}
