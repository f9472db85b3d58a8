//! What a log holds at one moment, and the records that change it.

use std::collections::BTreeMap;

use cairn_node::raft::types::{LogEntry, LogId, Vote};

/// One record of the write-ahead log.
#[derive(Clone)]
pub(super) enum Record {
    Append(Box<LogEntry>),
    Truncate(Option<LogId>),
    Purge(LogId),
    Vote(Vote),
    Commit(LogId),
}

/// The sum of the records so far.
#[derive(Clone, Default)]
pub(super) struct Image {
    pub(super) entries: BTreeMap<u64, LogEntry>,
    pub(super) purged: Option<LogId>,
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
}

impl Image {
    pub(super) fn last(&self) -> Option<LogId> {
        self.entries.last_key_value().map(|(_, entry)| entry.log_id).or(self.purged)
    }

    pub(super) fn take(&mut self, record: Record) {
        match record {
            Record::Append(entry) => drop(self.entries.insert(entry.log_id.index, *entry)),
            Record::Truncate(last) => {
                let first_gone = last.map_or(0, |last| last.index.saturating_add(1));
                self.entries.retain(|index, _| *index < first_gone);
            }
            Record::Purge(upto) => {
                self.entries.retain(|index, _| *index > upto.index);
                self.purged = self.purged.max(Some(upto));
            }
            Record::Vote(vote) => self.vote = Some(vote),
            Record::Commit(committed) => self.committed = self.committed.max(Some(committed)),
        }
    }
}
