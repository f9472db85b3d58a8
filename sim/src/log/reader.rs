//! Reads of the log beside its writer.

use std::fmt;
use std::io;
use std::ops::RangeBounds;

use cairn_node::raft::Types;
use cairn_node::raft::types::{LogEntry, Vote};
use futures::stream::{self, Stream};
use openraft::{OptionalSend, RaftLogReader};

use super::LogStore;

/// The most entries in one bounded read: few, so that the simulation meets the bound.
const READ_MAX: usize = 64;

/// A reader.
#[derive(Clone)]
pub struct MemReader(LogStore);

impl fmt::Debug for MemReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemReader").finish_non_exhaustive()
    }
}

impl MemReader {
    pub(super) fn new(store: LogStore) -> Self {
        Self(store)
    }

    fn read(&self, range: impl RangeBounds<u64>, limit: usize) -> Vec<LogEntry> {
        let inner = self.0.lock();
        let entries = inner.live.entries.iter();
        entries.filter(|(index, _)| range.contains(index)).take(limit).map(|(_, entry)| entry.clone()).collect()
    }
}

impl RaftLogReader<Types> for MemReader {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<LogEntry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + fmt::Debug + OptionalSend,
    {
        Ok(self.read(range, usize::MAX))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<LogEntry>, io::Error> {
        Ok(self.read(start..end, READ_MAX))
    }

    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<LogEntry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + fmt::Debug + OptionalSend,
    {
        stream::iter(self.read(range, usize::MAX).into_iter().map(Ok))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.0.lock().live.vote)
    }
}
