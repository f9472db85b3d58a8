//! Reads of the log.

use std::fmt;
use std::io;
use std::ops::{Bound, RangeBounds};

use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use openraft::{OptionalSend, RaftLogReader};

use super::types::{StoredId, invalid};
use super::{Payload, Shared, failed};
use crate::raft::types::{LogEntry, LogId, Types, Vote};

/// A bounded read stops once it has this many bytes of entries.
pub(super) const READ_BYTES_MAX: usize = 2 << 20;

/// Reads entries and the vote beside the writer.
#[derive(Clone)]
pub struct WalReader {
    shared: Shared,
}

impl fmt::Debug for WalReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WalReader").finish_non_exhaustive()
    }
}

impl WalReader {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared }
    }

    /// The entries of `from..to` that the log holds, up to `bytes_max` and at least one.
    pub(super) fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<LogEntry>> {
        let records = self.records(from, to, bytes_max)?;
        // Decoding needs no lock.
        records.into_iter().map(entry).collect::<io::Result<_>>().map_err(failed("read"))
    }

    fn records(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<(StoredId, Payload)>> {
        let log = self.shared.lock()?;
        let after = |id: Option<&StoredId>| id.map_or(0, |id| id.index.saturating_add(1));
        let purged = log.log_state().purged();
        let (from, to) = (from.max(after(purged)), to.min(after(log.log_state().last())));
        let mut records = Vec::new();
        if from >= to {
            return Ok(records);
        }
        // Only a log without a purge may begin anywhere.
        let mut expected = purged.map(|_| from);
        let mut bytes = 0;
        for record in log.read(from, to) {
            let (id, payload) = record.map_err(failed("read"))?;
            if expected.is_some_and(|expected| expected != id.index) {
                break;
            }
            expected = Some(id.index.saturating_add(1));
            bytes += payload.len();
            records.push((id, payload));
            if bytes >= bytes_max {
                return Ok(records);
            }
        }
        match expected {
            Some(next) if next < to => Err(invalid(format!("raft log: entry {next} is missing"))),
            _ => Ok(records),
        }
    }

    fn end(&self) -> io::Result<u64> {
        Ok(self.shared.lock()?.log_state().last().map_or(0, |last| last.index.saturating_add(1)))
    }
}

fn entry((id, payload): (StoredId, Payload)) -> io::Result<LogEntry> {
    Ok(LogEntry { log_id: LogId::from(id), payload: payload.decode_entry()? })
}

impl RaftLogReader<Types> for WalReader {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<LogEntry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + fmt::Debug + OptionalSend,
    {
        let (from, to) = bounds(&range);
        self.read(from, to, usize::MAX)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<LogEntry>, io::Error> {
        self.read(start, end, READ_BYTES_MAX)
    }

    /// In bounded steps: after a restart the whole log may be asked for at once.
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<LogEntry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + fmt::Debug + OptionalSend,
    {
        let (from, to) = bounds(&range);
        let to = match self.end() {
            Ok(end) => to.min(end),
            Err(error) => return stream::iter([Err(error)]).boxed(),
        };
        let reader = self.clone();
        let step = move |from: u64| {
            let read = reader.read(from, to, READ_BYTES_MAX);
            async move {
                let entries = read?;
                let next = entries.last().map(|last| last.log_id.index.saturating_add(1));
                Ok::<_, io::Error>(next.map(|next| (stream::iter(entries.into_iter().map(Ok)), next)))
            }
        };
        stream::try_unfold(from, step).try_flatten().boxed()
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.shared.lock()?.log_state().vote().copied().map(Vote::from))
    }
}

/// `from..to`.
fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(to) => *to,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}
