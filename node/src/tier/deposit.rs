//! A copy that lies here, put into the tier: its bytes as they are, then their block table.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_store::archive::ObjectReceipt;
use cairn_store::archive::key::{Part, Stem};
use cairn_store::crash_point;
use cairn_store::digest::{BLOCK_BYTES, BlockTable};
use cairn_store::disk::Toc;
use cairn_store::id::CopyId;

use super::{TierError, call, is_there};
use crate::core::Core;
use crate::env::{Objects, PART_BYTES, Pace, PayloadLimits, ReadAt};
use crate::jobs::Meter;
use crate::work::verify::verify;

/// Where the bytes of an upload come from.
#[derive(Clone)]
enum Supply {
    /// A copy: every block is compared on its way out, so that what has rotted here does not get there.
    Copy(Arc<dyn ReadAt>, Arc<BlockTable>),
    /// Memory.
    Bytes(Bytes),
}

impl Supply {
    fn size(&self) -> u64 {
        match self {
            Self::Copy(file, _) => file.size(),
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// The bytes from `offset`, which is the beginning of a block. Blocks.
    fn part(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let (file, table) = match self {
            Self::Bytes(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                return Ok(bytes.slice(start..start.saturating_add(length).min(bytes.len())));
            }
            Self::Copy(file, table) => (file, table),
        };
        let mut buffer = vec![0; length];
        file.read_exact_at(&mut buffer, offset)?;
        for (index, block) in (offset / BLOCK_BYTES as u64..).zip(buffer.chunks(BLOCK_BYTES)) {
            table.verify(index, block).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        }
        Ok(buffer.into())
    }
}

/// Puts the bytes of a copy there, and gives the word for them. Again, it goes on where it was broken off.
///
/// # Errors
/// As [`TierError`] says. What is there of it by then is collected.
pub async fn deposit(
    core: &Arc<Core>,
    copy: CopyId,
    limits: PayloadLimits,
    meter: &Arc<Meter>,
) -> Result<ObjectReceipt, TierError> {
    let (objects, tier) = core.tier.reached()?;
    let attempt = core.tier.attempt(core, copy, tier);
    if let Some(receipt) = attempt.receipt {
        return Ok(receipt);
    }
    let (toc, supply) = open(core, copy).await?;
    meter.expect(meter.done().saturating_add(supply.size()));
    let cluster = core.identity.cluster;
    let Toc { segment, version, digest, .. } = toc;
    let stem = Stem { cluster, segment, version, digest, object: attempt.object };
    let mut until = core.commit_window();
    let bytes = Upload { core, objects: &*objects, limits, meter };
    // Its word counts from before anybody could see it (R1).
    let appears = || until = core.tier.appears(copy, core.commit_window());
    let put = bytes.put(&stem.key(Part::Bytes).to_string(), supply, appears).await;
    if let Err(TierError::Copy(_)) = put {
        let verdict = verify(core, copy, Arc::default()).await;
        core.lost(copy, verdict).await;
    }
    put?;
    crash_point!("deposit.bytes");
    let table = Supply::Bytes(Bytes::copy_from_slice(toc.table.as_bytes()));
    bytes.put(&stem.key(Part::Table).to_string(), table, || {}).await?;
    if !objects.compares() {
        same(core, &*objects, &stem.key(Part::Table).to_string(), toc.table.as_bytes()).await?;
        compare(core, &*objects, &stem, &toc.table, meter).await?;
    }
    // It may be another store by now, or a folder on which nothing is mounted any more.
    if !is_there(core, &*objects, tier).await {
        return Err(TierError::Changed);
    }
    let receipt = ObjectReceipt { object: stem.object, tier, until };
    core.tier.arrived(copy, receipt);
    Ok(receipt)
}

async fn open(core: &Core, copy: CopyId) -> Result<(Toc, Supply), TierError> {
    let disk = core.env.disk.clone();
    let opened = core.env.blocking(move || Ok::<_, io::Error>((disk.read_toc(copy)?, disk.open(copy)?))).await;
    let (toc, file) = opened.and_then(|opened| opened).map_err(|e| TierError::Copy(e.to_string()))?;
    let supply = Supply::Copy(file.into(), Arc::new(toc.table.clone()));
    if supply.size() == toc.table.size() {
        Ok((toc, supply))
    } else {
        Err(TierError::Copy("its size is wrong".into()))
    }
}

/// Uploads with the same bounds.
struct Upload<'a> {
    core: &'a Core,
    objects: &'a dyn Objects,
    limits: PayloadLimits,
    meter: &'a Arc<Meter>,
}

impl Upload<'_> {
    /// `last` is called before the object can be seen.
    async fn put(&self, key: &str, supply: Supply, last: impl FnOnce()) -> Result<(), TierError> {
        let Self { core, objects, limits, meter } = *self;
        let (env, size) = (&core.env, supply.size());
        let mut upload = self.within(0, call(core, objects.upload(key, size))).await?;
        meter.add(upload.offset());
        let mut pace = Pace::new(limits, env.clock.now());
        while upload.offset() < size {
            let offset = upload.offset();
            let length = usize::try_from(size - offset).unwrap_or(usize::MAX).min(upload.part_bytes());
            let supply = supply.clone();
            let part = env.blocking(move || supply.part(offset, length)).await.and_then(|part| part);
            let part = part.map_err(|e| TierError::Copy(e.to_string()))?;
            let sent = async { upload.part(part).await.map_err(TierError::Store) };
            self.within(length, sent).await?;
            let sent = u64::try_from(length).unwrap_or(u64::MAX);
            meter.add(sent);
            core.counts.archived.inc_by(sent);
            // Slowness ends by the time-out of each part.
            let _ = pace.moved(sent, env.clock.now());
            let early = pace.early(env.clock.now());
            if !early.is_zero() {
                meter.while_ticking(env, env.clock.sleep(early)).await;
            }
        }
        last();
        let rest = usize::try_from(size).unwrap_or(usize::MAX).min(4 * PART_BYTES);
        self.within(rest, async { upload.finish().await.map_err(TierError::Store) }).await
    }

    /// As long as so many bytes may take.
    async fn within<T>(
        &self,
        bytes: usize,
        step: impl Future<Output = Result<T, TierError>>,
    ) -> Result<T, TierError> {
        let PayloadLimits { idle, rate_min, .. } = self.limits;
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let most = idle.saturating_add(Duration::from_secs(bytes / rate_min.max(1)));
        let done = self.core.env.timeout(most, self.meter.while_ticking(&self.core.env, step)).await;
        done.ok_or(TierError::Silent)?
    }
}

/// Reads a small object that was put there: where nothing else compares it.
pub(super) async fn same(core: &Core, objects: &dyn Objects, key: &str, bytes: &[u8]) -> Result<(), TierError> {
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let read = call(core, objects.read(key, 0..size)).await?;
    if read == bytes { Ok(()) } else { Err(TierError::Differs) }
}

/// Reads what was put there: where nothing else compares it.
async fn compare(
    core: &Core,
    objects: &dyn Objects,
    stem: &Stem,
    table: &BlockTable,
    meter: &Arc<Meter>,
) -> Result<(), TierError> {
    let (key, part) = (stem.key(Part::Bytes).to_string(), PART_BYTES as u64);
    let mut offset = 0;
    while offset < table.size() {
        let read = call(core, objects.read(&key, offset..offset.saturating_add(part).min(table.size()))).await?;
        let expected = table.clone();
        let (length, first) = (read.len() as u64, offset / BLOCK_BYTES as u64);
        let same = core.env.blocking(move || {
            (first..).zip(read.chunks(BLOCK_BYTES)).all(|(nth, block)| expected.verify(nth, block).is_ok())
        });
        if !same.await.unwrap_or(false) {
            return Err(TierError::Differs);
        }
        meter.tick(1);
        offset += length;
    }
    Ok(())
}
