//! A load's bytes on their way here: from one source after the other, from the block where the last one stopped.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use cairn_client::wire::{self, Pull, PullAnswer, Refusal, RefusalCode, WireError};
use cairn_store::archive::key::{Part, Stem};
use cairn_store::digest::{BLOCK_BYTES, BlockTable, Digest, Mismatch, block_count};
use cairn_store::id::{CopyId, RequestId};
use cairn_store::plan::source::Holder;
use futures::StreamExt;
use prometheus_client::metrics::counter::Counter;
use tokio::io::AsyncReadExt;

use crate::core::Core;
use crate::env::{ObjectError, Objects, PART_BYTES, Pace, PayloadLimits, SegmentWriter, Sink};
use crate::jobs::Meter;
use crate::links::{LinkError, Port};
use crate::storage::Room;
use crate::tier::{TierError, call};

/// Parts of an object that are asked for at once.
const PARTS_AT_ONCE: usize = 4;

/// Why a source did not give what was asked.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// Not reached.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The connection broke on the way.
    #[error("the transfer broke: {0}")]
    Wire(#[from] WireError),
    /// The source says no.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The source said nothing for too long.
    #[error("the source was silent for too long")]
    Silent,
    /// The bytes are not those of the version.
    #[error("{0}")]
    Mismatch(#[from] Mismatch),
    /// This node's own disk failed.
    #[error("local storage failed: {0}")]
    Disk(io::Error),
    /// The global tier did not give it.
    #[error("{0}")]
    Tier(#[from] TierError),
}

impl PullError {
    /// Whether the source's copy itself is in doubt.
    pub fn doubts_copy(&self) -> bool {
        match self {
            Self::Mismatch(_) => true,
            Self::Refused(refusal) => matches!(refusal.code, RefusalCode::Gone | RefusalCode::Corrupt),
            Self::Tier(TierError::Store(ObjectError::Missing)) => true,
            _ => false,
        }
    }
}

/// A copy that is being loaded: only verified blocks are in it.
pub struct Incoming {
    /// The copy that it becomes.
    pub copy: CopyId,
    /// The client's request that it is for.
    request: RequestId,
    size: u64,
    digest: Digest,
    inner: Arc<Mutex<Inner>>,
    _room: Room,
}

struct Inner {
    writer: Option<Box<dyn SegmentWriter>>,
    table: Option<Arc<BlockTable>>,
    verified: u64,
    mismatch: Option<Mismatch>,
    fault: Option<io::Error>,
    meter: Arc<Meter>,
    received: Counter,
}

impl Incoming {
    /// Begins one.
    pub async fn begin(
        core: &Core,
        request: RequestId,
        size: u64,
        digest: Digest,
        meter: Arc<Meter>,
    ) -> io::Result<Self> {
        let copy = core.env.copy_id();
        let (writer, room) = core.create(copy, size).await?;
        let (writer, received) = (Some(writer), core.counts.received.clone());
        let inner = Inner { writer, table: None, verified: 0, mismatch: None, fault: None, meter, received };
        Ok(Self { request, copy, size, digest, inner: Arc::new(Mutex::new(inner)), _room: room })
    }

    /// Takes what it still lacks from one source. What was verified stays, whatever happens then.
    ///
    /// The result comes with the number of bytes that the source gave.
    pub async fn pull(&self, core: &Core, source: &Holder, limits: PayloadLimits) -> (u64, Result<(), PullError>) {
        let before = self.bytes();
        let result = self.pull_inner(core, source, limits).await;
        (self.bytes() - before, self.judge(core, result))
    }

    async fn pull_inner(&self, core: &Core, source: &Holder, limits: PayloadLimits) -> Result<(), PullError> {
        let idle = limits.idle;
        let from_block = self.lock().verified;
        let mut stream = core.links.dial(source.node, Port::Data, None).await?;
        wire::send(&mut stream, &Pull { request: self.request, copy: source.copy, from_block }).await?;
        let answer = core.env.timeout(idle, wire::receive(&mut stream)).await;
        let PullAnswer(answer) = answer.ok_or(PullError::Silent)??;
        let offer = answer.map_err(PullError::Refused)?;
        if (offer.size, offer.digest, offer.table) != (self.size, self.digest, block_count(self.size) * 32) {
            return Err(PullError::Mismatch(Mismatch::Table));
        }
        let mut table = vec![0; usize::try_from(offer.table).unwrap_or(0)];
        let read = core.env.timeout(idle, stream.read_exact(&mut table)).await;
        read.ok_or(PullError::Silent)?.map_err(WireError::Io)?;
        // Checked against the digest that the cluster agreed on, not against the source's word.
        let table = BlockTable::checked(self.size, &table, self.digest)?;
        self.lock().table = Some(Arc::new(table));
        let left = self.size.saturating_sub(self.bytes());
        let sink = Box::new(IncomingSink(self.inner.clone()));
        let received = stream.receive_payload(&core.env, left, sink, limits).await;
        received.map_err(WireError::Io)?;
        Ok(())
    }

    /// Takes what it still lacks from the global tier, several parts at once and each in its order.
    ///
    /// The result comes with the number of bytes that came.
    pub async fn recall(
        &self,
        core: &Core,
        objects: &dyn Objects,
        stem: &Stem,
        limits: PayloadLimits,
    ) -> (u64, Result<(), PullError>) {
        let before = self.bytes();
        let result = self.recall_inner(core, objects, stem, limits).await;
        (self.bytes() - before, self.judge(core, result))
    }

    /// What an attempt came to: a fault of this disk or bytes that are wrong go before what the transfer itself told.
    fn judge(&self, core: &Core, told: Result<(), PullError>) -> Result<(), PullError> {
        let mut inner = self.lock();
        let found = (inner.mismatch.take(), inner.fault.take());
        drop(inner);
        let result = match found {
            (_, Some(fault)) => Err(PullError::Disk(fault)),
            (Some(mismatch), None) => Err(PullError::Mismatch(mismatch)),
            (None, None) => told,
        };
        if matches!(result, Err(PullError::Mismatch(_))) {
            core.counts.checksum_failures.inc();
        }
        result
    }

    async fn recall_inner(
        &self,
        core: &Core,
        objects: &dyn Objects,
        stem: &Stem,
        limits: PayloadLimits,
    ) -> Result<(), PullError> {
        let key = stem.key(Part::Bytes).to_string();
        let size = call(core, objects.size(&key)).await?;
        let table = stem.key(Part::Table).to_string();
        let table_size = call(core, objects.size(&table)).await?;
        if (size, table_size) != (self.size, block_count(self.size) * 32) {
            return Err(PullError::Mismatch(Mismatch::Table));
        }
        let table = call(core, objects.read(&table, 0..table_size)).await?;
        let table = BlockTable::checked(self.size, &table, self.digest)?;
        self.lock().table = Some(Arc::new(table));
        let (first, part) = (self.bytes(), PART_BYTES as u64);
        let ranges = (0..).map_while(|nth: u64| {
            let start = first.saturating_add(nth.saturating_mul(part));
            (start < self.size).then(|| start..start.saturating_add(part).min(self.size))
        });
        let read = |range| call(core, objects.read(&key, range));
        let mut parts = futures::stream::iter(ranges).map(read).buffered(PARTS_AT_ONCE);
        let mut pace = Pace::new(limits, core.env.clock.now());
        let meter = self.meter();
        // Each request has a time-out of its own: until then it goes on.
        while let Some(bytes) = meter.while_ticking(&core.env, parts.next()).await {
            let bytes = bytes?;
            let came = bytes.len() as u64;
            let mut sink = IncomingSink(self.inner.clone());
            let written =
                core.env.blocking(move || bytes.chunks(BLOCK_BYTES).try_for_each(|block| sink.block(block)));
            written.await.and_then(|written| written).map_err(WireError::Io)?;
            core.counts.recalled.inc_by(came);
            let _ = pace.moved(came, core.env.clock.now());
            let early = pace.early(core.env.clock.now());
            if !early.is_zero() {
                meter.while_ticking(&core.env, core.env.clock.sleep(early)).await;
            }
        }
        Ok(())
    }

    /// What is told how far it is.
    pub fn meter(&self) -> Arc<Meter> {
        self.lock().meter.clone()
    }

    /// Makes the bytes durable, and tells their table.
    pub async fn sync(&self, core: &Core) -> io::Result<Arc<BlockTable>> {
        let (writer, table) = {
            let mut inner = self.lock();
            (inner.writer.take(), inner.table.clone())
        };
        let writer = writer.ok_or_else(|| io::Error::other("the copy was synced before"))?;
        core.env.blocking(move || writer.sync()).await??;
        table.ok_or_else(|| io::Error::other("the copy has no table"))
    }

    /// Gives it up.
    pub async fn discard(self, core: &Core) {
        let copy = self.copy;
        drop(self);
        core.discard(copy).await;
    }

    fn bytes(&self) -> u64 {
        self.lock().verified.saturating_mul(BLOCK_BYTES as u64).min(self.size)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct IncomingSink(Arc<Mutex<Inner>>);

impl Sink for IncomingSink {
    fn block(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { writer, table, verified, mismatch, fault, meter, received } = &mut *inner;
        let (Some(writer), Some(table)) = (writer, table) else {
            return Err(io::Error::other("the copy is closed"));
        };
        received.inc_by(bytes.len() as u64);
        if let Err(e) = table.verify(*verified, bytes) {
            *mismatch = Some(e);
            return Err(io::Error::new(io::ErrorKind::InvalidData, e));
        }
        if let Err(e) = writer.append(bytes) {
            let told = io::Error::new(e.kind(), "the disk failed");
            *fault = Some(e);
            return Err(told);
        }
        *verified += 1;
        meter.add(bytes.len() as u64);
        Ok(())
    }
}
