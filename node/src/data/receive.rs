//! Becoming a holder: bytes first, then what they are, then the receipt (R10).

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use cairn_client::wire::{self, Push, PushAnswer, PushDone, Refusal, RefusalCode, Sealed, WireError};
use cairn_store::digest::{BlockTable, TableBuilder, block_count};
use cairn_store::disk::Toc;
use cairn_store::id::CopyId;
use cairn_store::meta::state::COMMIT_WINDOW;
use cairn_store::segment::{Receipt, SIZE_MAX};
use cairn_store::time::LogTime;
use tokio::io::AsyncReadExt;

use super::refusal;
use crate::catalogue::Held;
use crate::core::Core;
use crate::env::{Disk, PayloadLimits, SegmentWriter, Sink, Stream};

/// Receives one copy. An error ends the connection; what was begun is discarded.
pub async fn receive(
    core: &Arc<Core>,
    mut stream: Box<dyn Stream>,
    push: Push,
) -> Result<Box<dyn Stream>, WireError> {
    let Some(_place) = core.place_to_serve().await else {
        let busy = refusal(RefusalCode::Busy, "this node has as many transfers as it takes");
        wire::send(&mut stream, &PushAnswer(Err(busy))).await?;
        return Ok(stream);
    };
    let draft = match begin(core, &push).await {
        Ok(draft) => draft,
        Err(refused) => {
            wire::send(&mut stream, &PushAnswer(Err(refused))).await?;
            return Ok(stream);
        }
    };
    let received = take_bytes(core, stream, &push, &draft).await;
    match received {
        Ok((mut stream, table)) => {
            let done = finish(core, &push, draft, table).await;
            wire::send(&mut stream, &PushDone(done)).await?;
            Ok(stream)
        }
        Err(e) => {
            discard(core, push.copy).await;
            Err(e)
        }
    }
}

/// Decides whether to take it, and makes room.
async fn begin(core: &Core, push: &Push) -> Result<Draft, Refusal> {
    if push.size > SIZE_MAX {
        return Err(refusal(RefusalCode::Other, "the segment is larger than any may be"));
    }
    let known = core.view.borrow().state.segments.get(&push.segment).map(|s| s.epoch);
    // Only saves: a repair or a load of an old version is legitimate (R16).
    if push.save && known.is_some_and(|known| known > push.epoch) {
        return Err(refusal(RefusalCode::StaleEpoch, "the owner has changed"));
    }
    if !core.has_room(push.size).await {
        return Err(refusal(RefusalCode::Full, "no room on this node"));
    }
    Draft::begin(core, push.copy, push.size).await.map_err(|e| core.refuse_io(&e))
}

async fn take_bytes(
    core: &Core,
    stream: Box<dyn Stream>,
    push: &Push,
    draft: &Draft,
) -> Result<(Box<dyn Stream>, Result<BlockTable, Refusal>), WireError> {
    let limits = PayloadLimits { idle: core.limits.idle };
    let mut stream = stream;
    wire::send(&mut stream, &PushAnswer(Ok(()))).await?;
    let mut stream = match stream.receive_payload(&core.env, push.size, draft.sink(), limits).await {
        Ok(stream) => stream,
        Err(e) => {
            draft.blame(core);
            return Err(e.into());
        }
    };
    let idle = core.limits.idle;
    let timed_out = || WireError::Io(io::ErrorKind::TimedOut.into());
    let sealed: Sealed = core.env.timeout(idle, wire::receive(&mut stream)).await.ok_or_else(timed_out)??;
    if sealed.table != block_count(push.size) * 32 {
        return Err(WireError::Body("the table has another length than the size asks for".into()));
    }
    let mut bytes = vec![0; usize::try_from(sealed.table).unwrap_or(0)];
    core.env.timeout(idle, stream.read_exact(&mut bytes)).await.ok_or_else(timed_out)??;
    // What arrived is hashed here; the sender's word is only compared.
    let table = draft.table().filter(|own| own.digest() == sealed.digest && own.as_bytes() == bytes);
    Ok((stream, table.ok_or_else(|| refusal(RefusalCode::Corrupt, "the bytes changed on the way"))))
}

async fn finish(
    core: &Core,
    push: &Push,
    draft: Draft,
    table: Result<BlockTable, Refusal>,
) -> Result<Receipt, Refusal> {
    let table = match table {
        Ok(table) => table,
        Err(refused) => {
            drop(draft);
            discard(core, push.copy).await;
            return Err(refused);
        }
    };
    draft.sync(core).await.map_err(|e| core.refuse_io(&e))?;
    core.publish(Toc {
        cluster: core.identity.cluster,
        node: core.me(),
        copy: push.copy,
        segment: push.segment,
        name: push.name.clone(),
        version: push.version,
        epoch: push.epoch,
        digest: table.digest(),
        table,
        until: core.commit_window(),
    })
    .await
    .map_err(|e| core.refuse_io(&e))
}

async fn discard(core: &Core, copy: CopyId) {
    let disk = core.env.disk.clone();
    // A half that stays is removed at the next start.
    let _ = core.env.blocking(move || disk.discard(copy)).await;
}

/// A copy that is being written: bytes go in, a table comes out.
pub struct Draft {
    copy: CopyId,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    writer: Option<Box<dyn SegmentWriter>>,
    builder: Option<TableBuilder>,
    fault: Option<io::Error>,
}

impl Draft {
    /// Begins one.
    pub async fn begin(core: &Core, copy: CopyId, size: u64) -> io::Result<Self> {
        let disk = core.env.disk.clone();
        let writer = core.env.blocking(move || disk.create(copy, size)).await??;
        let inner = Inner { writer: Some(writer), builder: Some(TableBuilder::new(size)), fault: None };
        Ok(Self { copy, inner: Arc::new(Mutex::new(inner)) })
    }

    /// Where its bytes go.
    pub fn sink(&self) -> Box<dyn Sink> {
        Box::new(DraftSink(self.inner.clone()))
    }

    /// Its table, once every byte is in. Only once.
    pub fn table(&self) -> Option<BlockTable> {
        self.lock().builder.take()?.finish()
    }

    /// Makes the bytes durable.
    pub async fn sync(self, core: &Core) -> io::Result<()> {
        let writer = self.lock().writer.take().ok_or_else(|| io::Error::other("the copy was synced before"))?;
        core.env.blocking(move || writer.sync()).await?
    }

    /// If the disk was what failed, and not the connection, the node must know.
    pub fn blame(&self, core: &Core) {
        if let Some(fault) = self.lock().fault.take() {
            tracing::warn!(copy = %self.copy, error = %fault, "a copy could not be written");
            core.refuse_io(&fault);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct DraftSink(Arc<Mutex<Inner>>);

impl Sink for DraftSink {
    fn block(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(builder) = &mut inner.builder {
            builder.push(bytes);
        }
        let written = match &mut inner.writer {
            Some(writer) => writer.append(bytes),
            None => Err(io::Error::other("the copy is closed")),
        };
        written.map_err(|e| {
            let told = io::Error::new(e.kind(), "the disk failed");
            inner.fault = Some(e);
            told
        })
    }
}

impl Core {
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
                catalogue.insert(Held::from(&toc))
            })
            .await??;
        Ok(receipt)
    }

    /// Whether `size` more bytes fit, with the reserve left over (R17) and within this node's capacity.
    pub async fn has_room(&self, size: u64) -> bool {
        let used = self.view.borrow().state.usage_of(self.me()).bytes;
        let fits = used.saturating_add(size) <= self.profile.capacity;
        fits && self.free().await.is_some_and(|free| free >= size.saturating_add(self.limits.reserve))
    }

    /// Bytes that are free on the disk; none if it does not say.
    pub async fn free(&self) -> Option<u64> {
        let disk: Arc<dyn Disk> = self.env.disk.clone();
        self.env.blocking(move || disk.space()).await.ok()?.ok().map(|space| space.free)
    }

    /// A full disk is a refusal; any other failed write is a local fault, after which the node must not go on.
    pub fn refuse_io(&self, error: &io::Error) -> Refusal {
        match error.kind() {
            io::ErrorKind::StorageFull => refusal(RefusalCode::Full, "the disk is full"),
            io::ErrorKind::AlreadyExists => refusal(RefusalCode::Other, "the copy's id was used before"),
            _ => {
                self.stop.fault(format!("a write to local storage failed: {error}"));
                refusal(RefusalCode::Other, "local storage failed")
            }
        }
    }
}
