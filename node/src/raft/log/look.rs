//! The whole log, read once from its beginning: for a check of a node that does not run.

use std::io;

use super::reader::READ_BYTES_MAX;
use super::{WalLog, WalReader};
use crate::raft::types::{LogEntry, LogId, Vote};

/// What a log holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span {
    /// The vote.
    pub vote: Option<Vote>,
    /// Up to where entries were purged behind a snapshot.
    pub purged: Option<LogId>,
    /// The newest entry that is known to be committed.
    pub committed: Option<LogId>,
    /// The last entry.
    pub last: Option<LogId>,
}

impl WalLog {
    /// What it holds.
    pub fn span(&self) -> io::Result<Span> {
        let log = self.shared.lock()?;
        let state = log.log_state();
        let id = |id: Option<&super::StoredId>| id.copied().map(LogId::from);
        Ok(Span {
            vote: state.vote().copied().map(Vote::from),
            purged: id(state.purged()),
            committed: id(state.committed()),
            last: id(state.last()),
        })
    }

    /// Shows every entry, in order and in bounded memory.
    pub fn read_through(&self, show: &mut dyn FnMut(LogEntry)) -> io::Result<()> {
        let reader = WalReader::new(self.shared.clone());
        let mut from = 0;
        loop {
            let entries = reader.read(from, u64::MAX, READ_BYTES_MAX)?;
            let Some(last) = entries.last() else { return Ok(()) };
            from = last.log_id.index.saturating_add(1);
            entries.into_iter().for_each(&mut *show);
        }
    }
}
