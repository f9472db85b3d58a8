//! A state as a stream of records, and back.
//!
//! Each record stands alone with its own checksum, so a state of any size is written, sent and read in bounded
//! memory. The last record counts the others: a stream that was cut off is never taken for a whole one.

use std::io::Read;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::archive::{Archive, Reach};
use crate::id::{ClusterId, Incarnation, NodeId, RequestId, SegmentId};
use crate::lease::Lease;
use crate::meta::state::{Answer, Origin, State};
use crate::name::Name;
use crate::node::Member;
use crate::record::{self, RecordError};
use crate::segment::{Epoch, Segment};
use crate::time::LogTime;

/// The records of a snapshot.
pub const SNAPSHOT_KIND: record::Kind = record::Kind { tag: *b"SNAP", version: 6 };

/// Those before: version 1 has no [`Item::Down`], version 2 no [`Item::Removed`], version 3 no [`Item::Origin`], version 4
/// no [`Item::Lease`], and version 5 neither [`Item::Archive`] nor [`Item::Tier`].
const OLDER: std::ops::RangeInclusive<u16> = 1..=5;

/// One record. Grows at the end only.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Item {
    Head {
        cluster: Option<ClusterId>,
        time: LogTime,
        revision: u64,
        next_node: u64,
    },
    Member(Member),
    Segment(Arc<Segment>),
    Epoch(Name, Epoch),
    Gone(SegmentId, LogTime),
    Answer(RequestId, Answer),
    End {
        items: u64,
    },
    /// Since version 2.
    Down(NodeId, LogTime),
    /// Since version 3.
    Removed(NodeId, Incarnation),
    /// Since version 4.
    Origin(Origin),
    /// Since version 5.
    Lease(SegmentId, Lease),
    /// Since version 6.
    Archive(SegmentId, Arc<Archive>),
    /// Since version 6.
    Tier(NodeId, Reach),
}

/// Why bytes are not a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// They could not be read.
    #[error("the snapshot cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// A record is damaged or of another version.
    #[error("the snapshot is damaged: {0}")]
    Record(#[from] RecordError),
    /// The stream ends early or goes on too long.
    #[error("the snapshot is not whole")]
    NotWhole,
    /// Two records are of the same thing: which of them counts cannot be known.
    #[error("the snapshot says something twice")]
    Twice,
}

impl State {
    /// The state as encoded records.
    pub fn records(&self) -> impl Iterator<Item = Result<Vec<u8>, RecordError>> + Send + use<> {
        let Self { cluster, time, revision, next_node, .. } = *self;
        let Self { members, down, removed, origin, segments, leases, archives, tiers, epochs, gone, answers, .. } =
            self.clone();
        let head = Item::Head { cluster, time, revision, next_node };
        let nodes = members.len() + down.len() + removed.len() + tiers.len();
        let names = segments.len() + leases.len() + archives.len() + epochs.len() + gone.len();
        let items = 1 + nodes + usize::from(origin.is_some()) + names + answers.len();
        let end = Item::End { items: items as u64 };
        std::iter::once(head)
            .chain(origin.into_iter().map(|origin| Item::Origin(Origin::clone(&origin))))
            .chain(members.into_iter().map(|(_, member)| Item::Member(Member::clone(&member))))
            .chain(down.into_iter().map(|(id, since)| Item::Down(id, since)))
            .chain(removed.into_iter().map(|(id, incarnation)| Item::Removed(id, incarnation)))
            .chain(segments.into_iter().map(|(_, segment)| Item::Segment(segment)))
            .chain(leases.into_iter().map(|(id, lease)| Item::Lease(id, lease)))
            .chain(archives.into_iter().map(|(id, archive)| Item::Archive(id, archive)))
            .chain(tiers.into_iter().map(|(id, reach)| Item::Tier(id, reach)))
            .chain(epochs.into_iter().map(|(name, epoch)| Item::Epoch(name, epoch)))
            .chain(gone.into_iter().map(|(id, until)| Item::Gone(id, until)))
            .chain(answers.into_iter().map(|(id, answer)| Item::Answer(id, Answer::clone(&answer))))
            .chain(std::iter::once(end))
            .map(|item| record::encode(SNAPSHOT_KIND, &item))
    }

    /// Reads a whole state, to the end of `source`.
    pub fn read(source: &mut dyn Read) -> Result<Self, SnapshotError> {
        let mut loader = Loader::default();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match source.read(&mut buffer)? {
                0 => return loader.finish(),
                count => loader.add(buffer.get(..count).unwrap_or_default())?,
            }
        }
    }
}

/// How much of a snapshot is read at once, in bytes.
const READ_BYTES: usize = 256 << 10;

fn decode(bytes: &[u8]) -> Result<(Item, &[u8]), RecordError> {
    match record::decode(SNAPSHOT_KIND, bytes) {
        Err(RecordError::Version { found, .. }) if OLDER.contains(&found) => {
            record::decode(record::Kind { version: found, ..SNAPSHOT_KIND }, bytes)
        }
        decoded => decoded,
    }
}

/// Builds a state from records that come in pieces of any length.
#[derive(Debug, Default)]
pub struct Loader {
    state: State,
    items: u64,
    whole: bool,
    /// The beginning of a record whose end has not come; shorter than one record.
    partial: Vec<u8>,
}

impl Loader {
    /// Adds the next bytes.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let mut held = std::mem::take(&mut self.partial);
        held.extend_from_slice(bytes);
        let mut rest = held.as_slice();
        while !rest.is_empty() {
            match decode(rest) {
                Ok((item, after)) => {
                    self.put(item)?;
                    rest = after;
                }
                Err(RecordError::Short) => break,
                Err(e) => return Err(e.into()),
            }
        }
        self.partial = rest.to_vec();
        Ok(())
    }

    /// The state, if every record is in and nothing else is.
    pub fn finish(self) -> Result<State, SnapshotError> {
        if self.whole && self.partial.is_empty() { Ok(self.state) } else { Err(SnapshotError::NotWhole) }
    }

    fn put(&mut self, item: Item) -> Result<(), SnapshotError> {
        let first = self.items == 0;
        if self.whole || first != matches!(item, Item::Head { .. }) {
            return Err(SnapshotError::NotWhole);
        }
        if self.is_known(&item) {
            return Err(SnapshotError::Twice);
        }
        match item {
            Item::Head { cluster, time, revision, next_node } => {
                self.state = State { cluster, time, revision, next_node, ..State::default() };
            }
            Item::Member(member) => drop(self.state.members.insert(member.id, Arc::new(member))),
            Item::Down(id, since) => drop(self.state.down.insert(id, since)),
            Item::Removed(id, incarnation) => drop(self.state.removed.insert(id, incarnation)),
            Item::Origin(origin) => self.state.origin = Some(Arc::new(origin)),
            Item::Segment(segment) => self.state.put(Arc::unwrap_or_clone(segment)),
            Item::Lease(id, lease) => drop(self.state.leases.insert(id, lease)),
            Item::Archive(id, archive) => drop(self.state.archives.insert(id, archive)),
            Item::Tier(id, reach) => drop(self.state.tiers.insert(id, reach)),
            Item::Epoch(name, epoch) => drop(self.state.epochs.insert(name, epoch)),
            Item::Gone(id, until) => self.state.remember_gone(id, until),
            Item::Answer(id, answer) => self.state.remember_answer(id, answer),
            Item::End { items } if items == self.items => {
                self.whole = true;
                self.state.count_down_from_now();
            }
            Item::End { .. } => return Err(SnapshotError::NotWhole),
        }
        self.items += 1;
        Ok(())
    }

    /// Whether an earlier record is of the same thing.
    fn is_known(&self, item: &Item) -> bool {
        let State { members, down, removed, origin, segments, leases, archives, tiers, names, epochs, gone, .. } =
            &self.state;
        match item {
            Item::Origin(_) => origin.is_some(),
            Item::Member(member) => members.contains_key(&member.id),
            Item::Down(id, _) => down.contains_key(id),
            Item::Removed(id, _) => removed.contains_key(id),
            Item::Segment(segment) => segments.contains_key(&segment.id) || names.contains_key(&segment.name),
            Item::Lease(id, _) => leases.contains_key(id),
            Item::Epoch(name, _) => epochs.contains_key(name),
            Item::Gone(id, _) => gone.contains_key(id),
            Item::Archive(id, _) => archives.contains_key(id),
            Item::Tier(id, _) => tiers.contains_key(id),
            Item::Answer(id, _) => self.state.answers.contains_key(id),
            Item::Head { .. } | Item::End { .. } => false,
        }
    }
}
