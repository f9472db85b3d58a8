//! Becoming a holder: bytes first, then what they are, then the receipt (R10).

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use cairn_client::wire::{self, Push, PushAnswer, PushDone, Refusal, RefusalCode, Sealed, WireError};
use cairn_store::crash_point;
use cairn_store::digest::{BlockTable, TableBuilder, block_count};
use cairn_store::disk::Toc;
use cairn_store::id::CopyId;
use cairn_store::meta::state::COMMIT_WINDOW;
use cairn_store::segment::{Receipt, SIZE_MAX};
use cairn_store::time::LogTime;
use prometheus_client::metrics::counter::Counter;
use tokio::io::AsyncReadExt;

use super::refusal;
use crate::core::Core;
use crate::env::{SegmentWriter, Sink, Stream};
use crate::storage::Room;

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
    crash_point!("receive.begin");
    let received = take_bytes(core, stream, &push, &draft).await;
    match received {
        Ok((mut stream, arrived)) => {
            crash_point!("receive.arrived");
            let done = publish(core, &push, draft, arrived).await;
            crash_point!("receive.published");
            let Push { name, request, copy, size, .. } = &push;
            match &done {
                Ok(_) => tracing::info!(%name, %request, %copy, size, "a copy was received and is durable"),
                Err(refused) => {
                    tracing::warn!(%name, %request, %copy, %refused, "a copy was received and not taken");
                    core.discard(push.copy).await;
                }
            }
            wire::send(&mut stream, &PushDone(done)).await?;
            crash_point!("receive.told");
            Ok(stream)
        }
        Err(e) => {
            tracing::warn!(name = %push.name, request = %push.request, copy = %push.copy, error = %e, "a copy did not arrive");
            core.discard(push.copy).await;
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
    Draft::begin(core, push.copy, push.size).await.map_err(|e| core.refuse_io(&e))
}

/// What arrived.
struct Arrived {
    table: BlockTable,
    /// The sender's log time.
    time: LogTime,
}

async fn take_bytes(
    core: &Core,
    stream: Box<dyn Stream>,
    push: &Push,
    draft: &Draft,
) -> Result<(Box<dyn Stream>, Result<Arrived, Refusal>), WireError> {
    let limits = core.limits.payload();
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
    if table.is_none() {
        core.counts.checksum_failures.inc();
    }
    let arrived = table.map(|table| Arrived { table, time: sealed.time });
    Ok((stream, arrived.ok_or_else(|| refusal(RefusalCode::Corrupt, "the bytes changed on the way"))))
}

/// Bytes first, then what they are, then the word.
async fn publish(
    core: &Core,
    push: &Push,
    draft: Draft,
    arrived: Result<Arrived, Refusal>,
) -> Result<Receipt, Refusal> {
    let Arrived { table, time } = arrived?;
    draft.sync(core).await.map_err(|e| core.refuse_io(&e))?;
    crash_point!("receive.synced");
    let toc = Toc {
        cluster: core.identity.cluster,
        node: core.me(),
        copy: push.copy,
        segment: push.segment,
        name: push.name.clone(),
        version: push.version,
        epoch: push.epoch,
        digest: table.digest(),
        table,
        // This node may be far behind with its log, and its own time would be over when it has caught up.
        until: core.commit_window().max(time.after(COMMIT_WINDOW)),
    };
    core.publish(toc).await.map_err(|e| core.refuse_io(&e))
}

/// A copy that is being written: bytes go in, a table comes out.
pub struct Draft {
    copy: CopyId,
    inner: Arc<Mutex<Inner>>,
    _room: Room,
}

struct Inner {
    writer: Option<Box<dyn SegmentWriter>>,
    builder: Option<TableBuilder>,
    fault: Option<io::Error>,
    received: Counter,
}

impl Draft {
    /// Begins one.
    pub async fn begin(core: &Core, copy: CopyId, size: u64) -> io::Result<Self> {
        let (writer, room) = core.create(copy, size).await?;
        let (builder, received) = (Some(TableBuilder::new(size)), core.counts.received.clone());
        let inner = Inner { writer: Some(writer), builder, fault: None, received };
        Ok(Self { copy, inner: Arc::new(Mutex::new(inner)), _room: room })
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
    async fn sync(self, core: &Core) -> io::Result<()> {
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
        inner.received.inc_by(bytes.len() as u64);
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
