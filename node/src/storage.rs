//! This node's local storage, as everything else uses it: whether there is room, how a copy comes to exist, and what
//! an error of the disk means.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cairn_client::api::{Code, Error};
use cairn_client::wire::{Refusal, RefusalCode};
use cairn_store::crash_point;
use cairn_store::disk::Toc;
use cairn_store::id::{CopyId, SegmentId};
use cairn_store::meta::state::COMMIT_WINDOW;
use cairn_store::segment::{Receipt, Standing, Version};
use cairn_store::time::LogTime;
use serde::{Deserialize, Serialize};

use crate::catalogue::Held;
use crate::core::Core;
use crate::data::refusal;
use crate::env::{Disk, SegmentWriter};
use crate::versions::{Hold, Versions};

/// What this node's storage is busy with.
#[derive(Debug, Default)]
pub struct Storage {
    /// Bytes of the copies that are being written.
    arriving: Arc<AtomicU64>,
    /// Held from asking for room until the room is taken.
    creating: tokio::sync::Mutex<()>,
    /// Held while it is decided whether a copy goes, and while it goes.
    pub deleting: tokio::sync::Mutex<()>,
    /// What loads are about to tell of.
    kept: Versions,
}

impl Storage {
    /// Keeps what lies here of a version, and what comes, from the collector.
    pub async fn keep(&self, segment: SegmentId, version: Version) -> Hold {
        // Whatever it is about to take is gone after this.
        let _alone = self.deleting.lock().await;
        self.kept.hold(segment, version)
    }

    /// Whether a load keeps what lies here of a version.
    pub fn is_kept(&self, segment: SegmentId, version: Version) -> bool {
        self.kept.is_held(segment, version)
    }
}

/// Room that a copy takes while it is being written. Given back when dropped.
#[derive(Debug)]
pub struct Room {
    bytes: u64,
    arriving: Arc<AtomicU64>,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.arriving.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Whether an error says nothing about the disk, and passes: out of descriptors, or of memory.
pub fn passes_by(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ResourceBusy | io::ErrorKind::OutOfMemory)
}

/// Whether the disk could not read what lies on it (EIO).
pub fn unreadable(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

/// A receipt that runs out so soon, in log time, is renewed: its holder must not take the copy for a stray while a save or a
/// load goes on, for hours perhaps.
pub const RENEW_BEFORE: Duration = Duration::from_secs(1200);

/// What a holder answers who is asked for a new word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Renewal {
    /// Here it is.
    Renewed(Receipt),
    /// There is no such copy, or it was referred to before.
    Gone,
    /// Not now; the old word stands.
    NotNow,
}

impl Core {
    /// Begins a copy of `size` bytes: `StorageFull` if there is no room for it.
    pub async fn create(&self, copy: CopyId, size: u64) -> io::Result<(Box<dyn SegmentWriter>, Room)> {
        let _alone = self.storage.creating.lock().await;
        if !self.has_room(size, size).await {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no room is left on this node"));
        }
        let arriving = self.storage.arriving.clone();
        arriving.fetch_add(size, Ordering::Relaxed);
        let room = Room { bytes: size, arriving };
        let disk = self.env.disk.clone();
        let writer = self.env.blocking(move || disk.create(copy, size)).await??;
        Ok((writer, room))
    }

    /// Whether a copy of `size` bytes, `new` of which are not on the disk yet, fits into this node's capacity and
    /// leaves the disk's reserve free (R17).
    pub async fn has_room(&self, size: u64, new: u64) -> bool {
        let used = self.view.borrow().state.usage_of(self.me()).bytes;
        let used = used.saturating_add(self.storage.arriving.load(Ordering::Relaxed));
        let fits = used.saturating_add(size) <= self.profile.capacity;
        fits && self.free().await.is_some_and(|free| free >= new.saturating_add(self.limits.reserve))
    }

    /// Bytes that are free on the disk; none if it does not say.
    pub async fn free(&self) -> Option<u64> {
        let disk: Arc<dyn Disk> = self.env.disk.clone();
        self.env.blocking(move || disk.space()).await.ok()?.ok().map(|space| space.free)
    }

    /// Until when a copy that becomes durable now may become referenced (R1): by this node's own applied log time.
    pub fn commit_window(&self) -> LogTime {
        self.view.borrow().state.time.after(COMMIT_WINDOW)
    }

    /// Makes a copy exist, and gives the word for it.
    pub async fn publish(&self, toc: Toc) -> io::Result<Receipt> {
        let (disk, catalogue) = (self.env.disk.clone(), self.env.catalogue.clone());
        let receipt = Receipt { copy: toc.copy, node: toc.node, until: toc.until };
        self.env
            .blocking(move || {
                disk.publish(&toc)?;
                catalogue.insert(Held::from(&toc))?;
                crash_point!("copy.listed");
                Ok::<_, io::Error>(())
            })
            .await??;
        Ok(receipt)
    }

    /// Gives a new word for a copy that may still become referenced (R1). `time` is the asker's log time: this node may
    /// be behind with its own.
    pub async fn renew(&self, copy: CopyId, time: LogTime) -> Renewal {
        // The collector must not take away what is being promised.
        let _alone = self.storage.deleting.lock().await;
        let disk = self.env.disk.clone();
        let toc = match self.env.blocking(move || disk.read_toc(copy)).await {
            Ok(Ok(toc)) => toc,
            Ok(Err(e)) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
                return Renewal::Gone;
            }
            Ok(Err(_)) | Err(_) => return Renewal::NotNow,
        };
        let state = self.now().state;
        // As long as it lies here and was never referred to, it is as good as a new one, even if its time is over.
        if state.standing(toc.segment, toc.version, copy) != Standing::Open {
            return Renewal::Gone;
        }
        let until = toc.until.max(self.commit_window()).max(time.after(COMMIT_WINDOW));
        match self.publish(Toc { until, ..toc }).await {
            Ok(receipt) => Renewal::Renewed(receipt),
            Err(e) => {
                self.refuse_io(&e);
                Renewal::NotNow
            }
        }
    }

    /// Gives up a copy that was not published.
    pub async fn discard(&self, copy: CopyId) {
        let disk = self.env.disk.clone();
        // A half that stays is removed at the next start.
        let _ = self.env.blocking(move || disk.discard(copy)).await;
    }

    /// What the disk's error means for another node. A full disk and a lack of descriptors are refusals; any other
    /// failed write is a local fault, after which the node must not go on.
    pub fn refuse_io(&self, error: &io::Error) -> Refusal {
        match error.kind() {
            io::ErrorKind::StorageFull => refusal(RefusalCode::Full, "no room is left on the node"),
            io::ErrorKind::AlreadyExists => refusal(RefusalCode::Other, "the copy's id was used before"),
            _ if passes_by(error) => {
                refusal(RefusalCode::Busy, format!("the node is out of descriptors or memory: {error}"))
            }
            _ => {
                self.stop.fault(format!("a write to local storage failed: {error}"));
                refusal(RefusalCode::Other, "local storage failed")
            }
        }
    }

    /// The same, for the client that asked. `advice` says what to do about a full disk.
    pub fn storage_failed(&self, error: &io::Error, advice: &str) -> Error {
        let Refusal { code, message } = self.refuse_io(error);
        match code {
            RefusalCode::Full => Error::new(Code::Unavailable, "this node's storage has no room left").hint(advice),
            RefusalCode::Busy => {
                Error::unavailable(message).hint("try again later, or raise the limit of open files")
            }
            _ => Error::new(Code::Internal, format!("this node's local storage failed: {error}"))
                .hint("see the node's log; it stops, and recovers when it is started again"),
        }
    }
}
