//! What lies on this node: a cache of what the `.toc` files say, kept in sled.
//!
//! It can be lost: the `.toc` files rebuild it ([`Catalogue::replace`]). It is never the truth about a copy's
//! existence in the cluster; that is the replicated state.

mod sled_catalogue;

use std::io;

use cairn_store::digest::Digest;
use cairn_store::disk::Toc;
use cairn_store::id::{CopyId, SegmentId};
use cairn_store::segment::{Epoch, Version};
use cairn_store::time::LogTime;
use serde::{Deserialize, Serialize};

pub use sled_catalogue::{Look, SledCatalogue, Trust};

/// One copy on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The copy.
    pub copy: CopyId,
    /// Its segment.
    pub segment: SegmentId,
    /// The version that its bytes are, or were to become.
    pub version: Version,
    /// The ownership under which it was saved.
    pub epoch: Epoch,
    /// In bytes.
    pub size: u64,
    /// Of the bytes.
    pub digest: Digest,
    /// Until when it may become referenced.
    pub until: LogTime,
}

impl Held {
    /// Where it stands in the order.
    pub fn key(&self) -> (SegmentId, Version, CopyId) {
        (self.segment, self.version, self.copy)
    }
}

impl From<&Toc> for Held {
    fn from(toc: &Toc) -> Self {
        Self {
            copy: toc.copy,
            segment: toc.segment,
            version: toc.version,
            epoch: toc.epoch,
            size: toc.table.size(),
            digest: toc.digest,
            until: toc.until,
        }
    }
}

/// The copies on this node, in the order of segment, version and copy. Every function may block.
pub trait Catalogue: Send + Sync {
    /// Adds or replaces one.
    fn insert(&self, held: Held) -> io::Result<()>;
    /// Takes one out.
    fn remove(&self, held: &Held) -> io::Result<()>;
    /// The copies of one version.
    fn find(&self, segment: SegmentId, version: Version) -> io::Result<Vec<Held>>;
    /// At most `limit` copies after `after`.
    fn page(&self, after: Option<&Held>, limit: usize) -> io::Result<Vec<Held>>;
    /// The last copy that was read through in this round; none if the round begins.
    fn scrubbed(&self) -> io::Result<Option<Held>>;
    /// So far is the round.
    fn set_scrubbed(&self, last: Option<&Held>) -> io::Result<()>;
    /// Forgets everything and holds exactly these.
    fn replace(&self, all: &[Held]) -> io::Result<()>;
    /// A checkpoint: what was written before is durable.
    fn flush(&self) -> io::Result<()>;
}
