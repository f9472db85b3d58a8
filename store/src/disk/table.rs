//! The `.toc` of a copy: what its bytes are.

use serde::{Deserialize, Serialize};

use crate::digest::{BlockTable, Digest};
use crate::id::{ClusterId, CopyId, NodeId, SegmentId};
use crate::name::Name;
use crate::record;
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
