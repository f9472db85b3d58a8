//! Verifying a copy that somebody doubts. A bad one is put aside, and the cluster stops counting on it.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_store::digest::{BLOCK_BYTES, block_count, block_len};
use cairn_store::id::{CopyId, NodeId};
use cairn_store::meta::{Command, Finding};
use cairn_store::segment::{Copy, CopyState};

use crate::core::Core;
use crate::env::Disk;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    let (disk, failures) = (core.env.disk.clone(), core.counts.checksum_failures.clone());
    let failed = move || {
        failures.inc();
        Verdict::Corrupt
    };
    let look = move || match read_through(disk.as_ref(), copy, &meter) {
        Ok(true) => Verdict::Good,
        Ok(false) => failed(),
        // Whoever looked just before may have put it aside: then it is not missing.
        Err(e) if e.kind() == io::ErrorKind::NotFound => match disk.quarantined() {
            Ok(aside) if aside.contains(&copy) => Verdict::Corrupt,
            Ok(_) => Verdict::Missing,
            Err(_) => Verdict::Unknown,
        },
        // Damaged, or too short.
        Err(e) if matches!(e.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => failed(),
        // The disk cannot read its own bytes any more.
        Err(e) if unreadable(&e) => failed(),
        // Out of descriptors or of memory: that says nothing about the bytes.
        Err(_) => Verdict::Unknown,
    };
    core.env.blocking(look).await.unwrap_or(Verdict::Unknown)
}

fn read_through(disk: &dyn Disk, copy: CopyId, meter: &Meter) -> io::Result<bool> {
    let toc = disk.read_toc(copy)?;
    let source = disk.open(copy)?;
    let size = toc.table.size();
    if source.size() != size || toc.table.digest() != toc.digest {
        return Ok(false);
    }
    let mut buffer = vec![0; BLOCK_BYTES.min(usize::try_from(size).unwrap_or(BLOCK_BYTES))];
    for index in 0..block_count(size) {
        let block = buffer.get_mut(..block_len(size, index)).unwrap_or_default();
        source.read_exact_at(block, index * BLOCK_BYTES as u64)?;
        meter.tick(block.len() as u64);
        if toc.table.verify(index, block).is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Core {
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
