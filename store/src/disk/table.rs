//! The `.toc` of a copy: what its bytes are.

use std::io::{self, ErrorKind};

use serde::{Deserialize, Serialize};

use crate::digest::{BlockTable, Digest};
use crate::id::{ClusterId, CopyId, NodeId, SegmentId};
use crate::name::Name;
use crate::record::{self, RecordError};
use crate::segment::{Epoch, Version};
use crate::time::LogTime;

/// The record in a `.toc` file.
pub const TOC_KIND: record::Kind = record::Kind { tag: *b"CTOC", version: 1 };

/// What a copy is, beside its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Toc {
    /// The cluster it belongs to. A copy of another cluster is never collected.
    pub cluster: ClusterId,
    /// The node that wrote it.
    pub node: NodeId,
    /// This copy.
    pub copy: CopyId,
    /// The segment.
    pub segment: SegmentId,
    /// The segment's name, so that files alone can tell what they are.
    pub name: Name,
    /// The version that these bytes are, or were to become.
    pub version: Version,
    /// The ownership under which they were saved.
    pub epoch: Epoch,
    /// The digest of the bytes.
    pub digest: Digest,
    /// The checksum of each block; holds the size.
    pub table: BlockTable,
    /// Until when an unreferenced copy may still become referenced.
    pub until: LogTime,
}

impl Toc {
    /// What the bytes of the file of `copy` say: `InvalidData` if it is damaged, `Unsupported` if it is whole but of
    /// another version.
    pub fn decode(bytes: &[u8], copy: CopyId) -> io::Result<Self> {
        let damaged = |text: &str| io::Error::new(ErrorKind::InvalidData, text);
        let (toc, rest) = record::decode::<Self>(TOC_KIND, bytes).map_err(|error| {
            let kind = if is_whole(&error, bytes) { ErrorKind::Unsupported } else { ErrorKind::InvalidData };
            io::Error::new(kind, error)
        })?;
        if !rest.is_empty() {
            return Err(damaged("bytes follow the record"));
        }
        if toc.copy != copy {
            return Err(damaged("it describes another copy"));
        }
        // The decoder takes any table; nothing may use one that does not lead to the digest.
        BlockTable::checked(toc.table.size(), toc.table.as_bytes(), toc.digest)
            .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        Ok(toc)
    }
}

/// Whether the record is as it was written, though we cannot read it.
///
/// A flipped bit in the version must not pass for a newer format, so the checksum decides; it is the same in every
/// version. Reading the body as nothing fails only after the checksum held.
fn is_whole(error: &RecordError, bytes: &[u8]) -> bool {
    match error {
        RecordError::Body(_) => true,
        RecordError::Version { found, .. } => {
            let kind = record::Kind { version: *found, ..TOC_KIND };
            matches!(record::decode::<()>(kind, bytes), Ok(_) | Err(RecordError::Body(_)))
        }
        _ => false,
    }
}
