//! Ids and votes as the log writes them: `mark u8 | version u8 | fields`, little-endian, of fixed size.
//!
//! raft-log's own framing has no lengths: a flipped bit in a record's kind or in an option's flag makes it read one
//! thing as another. The mark ends that at the first byte, before a longer read meets the end of the file and looks
//! like a torn write.

use std::io::{self, Read, Write};

use codeq::{Decode, Encode};

use super::done::Done;
use super::payload::Payload;
use crate::raft::types::{LogId, Types, Vote};

/// What raft-log is used with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wal;

impl raft_log::Types for Wal {
    type LogId = StoredId;
    type LogPayload = Payload;
    type Vote = StoredVote;
    type Callback = Done;
    type UserData = ();

    fn log_index(id: &StoredId) -> u64 {
        id.index
    }

    fn payload_size(payload: &Payload) -> u64 {
        payload.len() as u64
    }
}

/// A log id. Ordered as openraft orders them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StoredId {
    pub(super) term: u64,
    pub(super) index: u64,
}

/// A vote. Ordered so that whatever openraft lets follow comes later: in one term the vote for the leader that won
/// follows the vote for a candidate, whoever they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StoredVote {
    pub(super) term: u64,
    pub(super) committed: bool,
    pub(super) node: u64,
}

type CommittedLeaderId = openraft::type_config::alias::CommittedLeaderIdOf<Types>;

impl From<&LogId> for StoredId {
    fn from(id: &LogId) -> Self {
        Self { term: id.leader_id.term, index: id.index }
    }
}

impl From<StoredId> for LogId {
    fn from(id: StoredId) -> Self {
        Self { leader_id: CommittedLeaderId::new(id.term), index: id.index }
    }
}

impl From<&Vote> for StoredVote {
    fn from(vote: &Vote) -> Self {
        Self { term: vote.leader_id.term, committed: vote.committed, node: vote.leader_id.voted_for }
    }
}

impl From<StoredVote> for Vote {
    fn from(vote: StoredVote) -> Self {
        let StoredVote { term, committed, node } = vote;
        if committed { Self::new_committed(term, node) } else { Self::new(term, node) }
    }
}

const ID: Mark = Mark { mark: b'I', version: 1, what: "a log id" };
const VOTE: Mark = Mark { mark: b'V', version: 1, what: "a vote" };

impl Encode for StoredId {
    fn encode<W: Write>(&self, mut w: W) -> io::Result<usize> {
        let fields = [self.term, self.index];
        Ok(ID.write(&mut w)? + write_numbers(&mut w, fields)?)
    }
}

impl Decode for StoredId {
    fn decode<R: Read>(mut r: R) -> io::Result<Self> {
        ID.read(&mut r)?;
        let [term, index] = read_numbers(&mut r)?;
        Ok(Self { term, index })
    }
}

impl Encode for StoredVote {
    fn encode<W: Write>(&self, mut w: W) -> io::Result<usize> {
        let fields = [self.term, u64::from(self.committed), self.node];
        Ok(VOTE.write(&mut w)? + write_numbers(&mut w, fields)?)
    }
}

impl Decode for StoredVote {
    fn decode<R: Read>(mut r: R) -> io::Result<Self> {
        VOTE.read(&mut r)?;
        let [term, committed, node] = read_numbers(&mut r)?;
        let committed = match committed {
            0 => false,
            1 => true,
            other => return Err(invalid(format!("a vote is committed or not, it cannot be {other}"))),
        };
        Ok(Self { term, committed, node })
    }
}

/// What stands before the fields.
struct Mark {
    mark: u8,
    version: u8,
    what: &'static str,
}

impl Mark {
    fn write(&self, w: &mut impl Write) -> io::Result<usize> {
        w.write_all(&[self.mark, self.version])?;
        Ok(2)
    }

    fn read(&self, r: &mut impl Read) -> io::Result<()> {
        let Self { mark, version, what } = self;
        let [found] = read_bytes(r)?;
        if found != *mark {
            return Err(invalid(format!("{what} was expected and byte {found:#04x} found: the record is damaged")));
        }
        let [found] = read_bytes(r)?;
        if found != *version {
            return Err(unknown_version(what, u16::from(found), u16::from(*version)));
        }
        Ok(())
    }
}

fn write_numbers<const N: usize>(w: &mut impl Write, numbers: [u64; N]) -> io::Result<usize> {
    for number in numbers {
        w.write_all(&number.to_le_bytes())?;
    }
    Ok(N * 8)
}

fn read_numbers<const N: usize>(r: &mut impl Read) -> io::Result<[u64; N]> {
    let mut numbers = [0; N];
    for number in &mut numbers {
        *number = u64::from_le_bytes(read_bytes(r)?);
    }
    Ok(numbers)
}

pub(super) fn read_bytes<const N: usize>(r: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    r.read_exact(&mut bytes)?;
    Ok(bytes)
}

pub(super) fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

pub(super) fn unknown_version(what: &str, found: u16, known: u16) -> io::Error {
    invalid(format!(
        "{what} has version {found}, this build reads {known}: a newer cairnd wrote it, or it is damaged"
    ))
}
