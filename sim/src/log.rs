//! The Raft log in memory: readable at once, durable a little later, and a crash forgets what was not.
//!
//! Like the real one it is a write-ahead log: one order of records (entries, votes, truncations, purges), written
//! behind by a task that gathers what is there, waits as long as a disk does, and calls back. A crash keeps some
//! prefix of the records that were not durable yet.

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

use crate::rng::SplitMix;
use image::{Image, Record};
pub use reader::MemReader;

/// The longest that a disk takes for an fsync, in microseconds: a fast one, a usual one, a slow one.
const FSYNC_US_MAX: [u64; 3] = [500, 3_000, 40_000];

/// What a machine's log device holds. Clones are the same device; it stays when the machine crashes.
#[derive(Clone, Default)]
pub struct LogStore(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    live: Image,
    durable: Image,
    pending: Vec<Record>,
    waiting: Vec<IOFlushed<Types>>,
}

impl LogStore {
    /// The power goes and comes again.
    pub fn crash(&self, rng: &SplitMix) {
        let mut inner = self.lock();
        let kept = rng.index(inner.pending.len() + 1);
        let pending = std::mem::take(&mut inner.pending);
        pending.into_iter().take(kept).for_each(|record| inner.durable.take(record));
        inner.waiting.clear();
        inner.live = inner.durable.clone();
    }

    fn write(&self, record: Record) {
        let mut inner = self.lock();
        inner.live.take(record.clone());
        inner.pending.push(record);
    }

    fn flush(&self) {
        let mut inner = self.lock();
        let pending = std::mem::take(&mut inner.pending);
        tracing::trace!(target: "cairn_sim::log", records = pending.len(), last = ?inner.live.last(), "fsync");
        pending.into_iter().for_each(|record| inner.durable.take(record));
        let waiting = std::mem::take(&mut inner.waiting);
        drop(inner);
        waiting.into_iter().for_each(|waiter| waiter.io_completed(Ok(())));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
                clock.sleep(Duration::from_micros(rng.below(slowest))).await;
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
