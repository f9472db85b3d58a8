//! Whether a copy of this node is good. A bad one is put aside, and the cluster stops counting on it.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_store::digest::{BLOCK_BYTES, block_count, block_len};
use cairn_store::disk::Toc;
use cairn_store::id::{CopyId, NodeId};
use cairn_store::meta::{Command, Finding};
use cairn_store::segment::{Copy, CopyState};
use serde::{Deserialize, Serialize};

use crate::core::Core;
use crate::env::{Disk, Pace, PayloadLimits, ReadAt};
use crate::jobs::Meter;
use crate::raft::rpc;
use crate::storage::{passes_by, unreadable};

/// The most copies that are looked at at once. What is doubted beyond is doubted again.
const LOOKS_MAX: usize = 8;

/// The copies that are being looked at: each once at a time.
#[derive(Clone, Debug, Default)]
pub struct Looks(Arc<Mutex<BTreeSet<CopyId>>>);

/// One look; ends when dropped.
struct Look {
    looks: Looks,
    copy: CopyId,
}

impl Looks {
    fn begin(&self, copy: CopyId) -> Option<Look> {
        let mut looks = self.lock();
        let begun = looks.len() < LOOKS_MAX && looks.insert(copy);
        begun.then(|| Look { looks: self.clone(), copy })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<CopyId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        self.looks.lock().remove(&self.copy);
    }
}

/// What a look at a copy found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Every block matches.
    Good,
    /// Some block does not.
    Corrupt,
    /// There is no such copy.
    Missing,
    /// It could not be looked at now.
    Unknown,
}

/// Reads a whole copy and compares it with its table.
pub async fn verify(core: &Core, copy: CopyId, meter: Arc<Meter>) -> Verdict {
    let disk = core.env.disk.clone();
    let look = move || {
        let read = Reading::open(disk.as_ref(), copy).and_then(|mut reading| {
            loop {
                match reading.read(BLOCKS_AT_ONCE)? {
                    Read::More(bytes) => meter.tick(bytes),
                    Read::End(good) => return Ok(good),
                }
            }
        });
        verdict_of(disk.as_ref(), copy, read)
    };
    core.note(core.env.blocking(look).await.unwrap_or(Verdict::Unknown))
}

/// The same without haste: no more than `rate_max` bytes a second.
pub async fn verify_slowly(core: &Core, copy: CopyId, limits: PayloadLimits, meter: &Meter) -> Verdict {
    let mut pace = Pace::new(limits, core.env.clock.now());
    let disk = core.env.disk.clone();
    let opened = core.env.blocking(move || Reading::open(disk.as_ref(), copy)).await.and_then(|opened| opened);
    let read = async {
        let mut reading = opened?;
        loop {
            let step;
            (reading, step) = core
                .env
                .blocking(move || {
                    let step = reading.read(BLOCKS_AT_ONCE);
                    (reading, step)
                })
                .await?;
            match step? {
                Read::More(bytes) => {
                    meter.tick(bytes);
                    let now = core.env.clock.now();
                    // That the disk is slow is no fault of the copy.
                    let _ = pace.moved(bytes, now);
                    core.env.clock.sleep(pace.early(now)).await;
                }
                Read::End(good) => return Ok(good),
            }
        }
    };
    let (read, disk) = (read.await, core.env.disk.clone());
    let verdict = core.env.blocking(move || verdict_of(disk.as_ref(), copy, read)).await;
    core.note(verdict.unwrap_or(Verdict::Unknown))
}

/// What the outcome of a reading says of the copy.
fn verdict_of(disk: &dyn Disk, copy: CopyId, read: io::Result<bool>) -> Verdict {
    match read {
        Ok(true) => Verdict::Good,
        Ok(false) => Verdict::Corrupt,
        // Whoever looked just before may have put it aside: then it is not missing.
        Err(e) if e.kind() == io::ErrorKind::NotFound => match disk.quarantined() {
            Ok(aside) if aside.contains(&copy) => Verdict::Corrupt,
            Ok(_) => Verdict::Missing,
            Err(_) => Verdict::Unknown,
        },
        // Damaged, or too short.
        Err(e) if matches!(e.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => Verdict::Corrupt,
        // The disk cannot read its own bytes any more.
        Err(e) if unreadable(&e) => Verdict::Corrupt,
        // Out of descriptors or of memory: that says nothing about the bytes.
        Err(_) => Verdict::Unknown,
    }
}

/// How many blocks are read at once.
const BLOCKS_AT_ONCE: u64 = 4;

/// A copy that is being read through.
struct Reading {
    toc: Toc,
    source: Box<dyn ReadAt>,
    next: u64,
    buffer: Vec<u8>,
}

/// How far it is.
enum Read {
    /// So many bytes were good, and there may be more.
    More(u64),
    /// Whether all of them are what they should be.
    End(bool),
}

impl Reading {
    fn open(disk: &dyn Disk, copy: CopyId) -> io::Result<Self> {
        let toc = disk.read_toc(copy)?;
        let source = disk.open(copy)?;
        let length = BLOCK_BYTES.min(usize::try_from(toc.table.size()).unwrap_or(BLOCK_BYTES));
        Ok(Self { toc, source, next: 0, buffer: vec![0; length] })
    }

    fn read(&mut self, blocks: u64) -> io::Result<Read> {
        let size = self.toc.table.size();
        if self.source.size() != size || self.toc.table.digest() != self.toc.digest {
            return Ok(Read::End(false));
        }
        let end = self.next.saturating_add(blocks).min(block_count(size));
        if self.next == end {
            return Ok(Read::End(true));
        }
        let mut bytes = 0;
        for index in self.next..end {
            let block = self.buffer.get_mut(..block_len(size, index)).unwrap_or_default();
            self.source.read_exact_at(block, index * BLOCK_BYTES as u64)?;
            if self.toc.table.verify(index, block).is_err() {
                return Ok(Read::End(false));
            }
            bytes += block.len() as u64;
        }
        self.next = end;
        Ok(Read::More(bytes))
    }
}

impl Core {
    /// Counts what was found bad.
    fn note(&self, verdict: Verdict) -> Verdict {
        if verdict == Verdict::Corrupt {
            self.counts.checksum_failures.inc();
        }
        verdict
    }

    /// Somebody doubts a copy of this node: look, in the background. Who doubts it meanwhile need not be heard.
    pub fn suspect(self: &Arc<Self>, copy: CopyId) {
        let Some(look) = self.looks.begin(copy) else { return };
        let core = self.clone();
        self.env.spawn(async move {
            let _look = look;
            let verdict = verify(&core, copy, Arc::default()).await;
            core.lost(copy, verdict).await;
        });
    }

    /// Asks a holder to look at its copy, in the background.
    pub fn ask_to_look(self: &Arc<Self>, holder: NodeId, copy: CopyId) {
        let core = self.clone();
        self.env.spawn(async move {
            let ask = |peer: rpc::PeerClient| async move { peer.suspect(rpc::context(), copy).await };
            // It looks by itself at the latest when it serves the copy again.
            let _ = core.links.ask(holder, core.limits.idle, ask).await;
        });
    }

    /// Puts a bad copy aside and tells the cluster. A good one stays as it is.
    pub async fn lost(&self, copy: CopyId, verdict: Verdict) {
        let finding = match verdict {
            Verdict::Good | Verdict::Unknown => return,
            Verdict::Corrupt => Finding::Corrupt,
            Verdict::Missing => Finding::Missing,
        };
        // Whoever doubts may know more than this node has applied. Without a leader, the next comparison tells.
        let _ = self.read(self.env.clock.now() + self.limits.idle).await;
        let state = self.now().state;
        // A corrupt copy that was put aside is missed by whoever asks for it next: that is no second finding.
        let mine = |c: &&Copy| c.id == copy && c.node == self.me() && c.state == CopyState::Durable;
        let referenced = state.segments.values().find_map(|segment| {
            let version = segment.versions.iter().find(|(_, record)| record.copies.iter().any(|c| mine(&c)))?;
            Some((segment.id, *version.0))
        });
        if referenced.is_none() && verdict == Verdict::Missing {
            // Long gone, or never here.
            return;
        }
        let (disk, catalogue) = (self.env.disk.clone(), self.env.catalogue.clone());
        let alone = self.storage.deleting.lock().await;
        let put_aside = self.env.blocking(move || {
            // Its `.toc` may be what is bad: then only the catalogue knows it.
            let held = match referenced {
                Some((segment, version)) => catalogue.find(segment, version)?.into_iter().find(|h| h.copy == copy),
                None => disk.read_toc(copy).ok().map(|toc| crate::catalogue::Held::from(&toc)),
            };
            match disk.quarantine(copy) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            held.map_or(Ok(()), |held| catalogue.remove(&held))
        });
        let put_aside = put_aside.await.and_then(|done| done);
        drop(alone);
        match put_aside {
            Ok(()) => {}
            Err(e) if passes_by(&e) => {
                tracing::warn!(%copy, error = %e, "a bad copy could not be put aside now");
                return;
            }
            Err(e) => {
                self.stop.fault(format!("a bad copy could not be put aside: {e}"));
                return;
            }
        }
        tracing::error!(%copy, ?finding, "a copy of this node is lost");
        if let Some((segment, version)) = referenced {
            let deadline = self.env.clock.now() + self.limits.idle;
            let _ = self.propose(Command::Lose { segment, version, copy, finding }, deadline).await;
        }
    }
}
