//! Fetching a copy over a node's data plane, block by block, each verified before it is handed on.

use std::time::Duration;

use cairn_store::digest::{BLOCK_BYTES, BlockTable, Digest, Mismatch, block_count, block_len};
use cairn_store::id::{CopyId, RequestId};
use cairn_store::segment::SIZE_MAX;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::dial::{Connect, DialError, Stream, dial};
use crate::wire::{self, Offer, Pull, PullAnswer, Refusal, RefusalCode, WireError};

/// The bytes of one entry of the block table.
const TABLE_ENTRY_BYTES: u64 = 32;

/// Why a fetch failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The node was not reached.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The conversation broke.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The node does not give it.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// Bytes that are not those of the digest.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// The node offers something else.
    #[error("the node offers {0} bytes with digest {1}, which is not what was asked for")]
    Other(u64, Digest),
    /// Nothing came for too long.
    #[error("nothing came for {}", humantime::format_duration(*.0))]
    Idle(Duration),
}

impl FetchError {
    /// Whether the bytes are wrong or gone: another load may find better ones, the same copy will not.
    pub fn bad_copy(&self) -> bool {
        match self {
            Self::Mismatch(_) | Self::Other(..) => true,
            Self::Refused(refusal) => matches!(refusal.code, RefusalCode::Corrupt | RefusalCode::Gone),
            _ => false,
        }
    }

    /// Whether going on from the same block may help.
    pub fn passing(&self) -> bool {
        match self {
            Self::Dial(error) => error.passing(),
            Self::Wire(error) => matches!(error, WireError::Io(_) | WireError::Checksum),
            Self::Refused(refusal) => refusal.code == RefusalCode::Busy,
            Self::Idle(_) => true,
            Self::Mismatch(_) | Self::Other(..) => false,
        }
    }
}

/// What to fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The request that this is for.
    pub request: RequestId,
    /// The copy.
    pub copy: CopyId,
    /// Its size, in bytes.
    pub size: u64,
    /// The digest that the cluster agreed on.
    pub digest: Digest,
}

/// A copy that is being fetched.
pub struct Fetch {
    stream: Box<dyn Stream>,
    table: BlockTable,
    next: u64,
    idle: Duration,
}

impl Fetch {
    /// Asks the data plane at `address` for a copy, from a block on. `idle` bounds each step.
    pub async fn open(
        connect: &dyn Connect,
        address: &str,
        wanted: Wanted,
        from_block: u64,
        idle: Duration,
    ) -> Result<Self, FetchError> {
        let mut stream = dial(connect, address, idle).await?;
        let opened = async {
            wire::send(&mut stream, &Pull { request: wanted.request, copy: wanted.copy, from_block }).await?;
            let PullAnswer(answer) = wire::receive(&mut stream).await?;
            let offer = answer?;
            check(&offer, &wanted)?;
            // Bounded: the size is, and the table's length follows from it.
            let mut table = vec![0; usize::try_from(offer.table).unwrap_or(usize::MAX)];
            stream.read_exact(&mut table).await.map_err(WireError::Io)?;
            Ok::<_, FetchError>(BlockTable::checked(wanted.size, &table, wanted.digest)?)
        };
        let table = timeout(idle, opened).await.unwrap_or(Err(FetchError::Idle(idle)))?;
        Ok(Self { stream, table, next: from_block, idle })
    }

    /// The next block, verified; none after the last.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, FetchError> {
        if self.next >= block_count(self.table.size()) {
            return Ok(None);
        }
        let mut block = vec![0; block_len(self.table.size(), self.next)];
        let read = timeout(self.idle, self.stream.read_exact(&mut block)).await;
        read.map_err(|_| FetchError::Idle(self.idle))?.map_err(WireError::Io)?;
        self.table.verify(self.next, &block)?;
        self.next += 1;
        Ok(Some(block))
    }
}

fn check(offer: &Offer, wanted: &Wanted) -> Result<(), FetchError> {
    let table = block_count(wanted.size).saturating_mul(TABLE_ENTRY_BYTES);
    let same = offer.size == wanted.size && offer.digest == wanted.digest && offer.table == table;
    if same && wanted.size <= SIZE_MAX { Ok(()) } else { Err(FetchError::Other(offer.size, offer.digest)) }
}

/// Some of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first byte.
    pub offset: u64,
    /// How many.
    pub length: u64,
}

impl Range {
    /// All of `size` bytes.
    pub fn all(size: u64) -> Self {
        Self { offset: 0, length: size }
    }

    /// The byte after the last one.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }

    /// The block that the first byte is in.
    pub fn first_block(&self) -> u64 {
        self.offset / BLOCK_BYTES as u64
    }

    /// What of `bytes`, which begin at `start`, is in the range.
    pub fn cut<'a>(&self, start: u64, bytes: &'a [u8]) -> &'a [u8] {
        let inside = |at: u64| usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX).min(bytes.len());
        bytes.get(inside(self.offset)..inside(self.end())).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_cuts_what_is_in_it() {
        let range = Range { offset: 3, length: 4 };
        assert_eq!(range.cut(0, b"0123456789"), b"3456");
        assert_eq!(range.cut(5, b"56789"), b"56");
        assert_eq!(range.cut(0, b"01"), b"");
        assert_eq!(range.cut(7, b"789"), b"");
        assert_eq!(Range { offset: 2, length: 0 }.cut(0, b"0123"), b"");
        assert_eq!(Range { offset: 1, length: u64::MAX }.cut(0, b"0123"), b"123");
    }
}
