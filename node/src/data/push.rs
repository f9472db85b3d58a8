//! A save's bytes on their way to one new holder.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cairn_client::wire::{self, Push, PushAnswer, PushDone, Refusal, RefusalCode, Sealed, WireError};
use cairn_store::crash_point;
use cairn_store::digest::BlockTable;
use cairn_store::id::NodeId;
use cairn_store::segment::Receipt;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;

use crate::core::Core;
use crate::env::{Progress, ReadAt};
use crate::jobs::Meter;
use crate::links::{LinkError, Port};

/// Why a target did not become a holder. Another one may.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// Not reached.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The connection broke on the way.
    #[error("the transfer broke: {0}")]
    Wire(#[from] WireError),
    /// The connection broke on the way.
    #[error("the transfer broke: {0}")]
    Io(#[from] io::Error),
    /// The target says no.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The target said nothing for too long.
    #[error("the target was silent for too long")]
    Silent,
    /// The leader no longer hears the target.
    #[error("the node is down")]
    Down,
    /// The source could not be read, or changed: no target will do.
    #[error("the source could not be read")]
    Source,
}

impl PushError {
    /// Whether the target only has too much to do.
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.code == RefusalCode::Busy)
    }
}

/// A table that is being computed: `None` until it is ready, then the table or why there is none.
pub type TableWatch = watch::Receiver<Option<Result<Arc<BlockTable>, String>>>;

/// Sends `source` to `target` and waits for its receipt.
pub async fn push(
    core: &Core,
    target: NodeId,
    push: Push,
    source: Arc<dyn ReadAt>,
    mut table: TableWatch,
    meter: Arc<Meter>,
) -> Result<Receipt, PushError> {
    let limits = core.limits.payload();
    let copy = push.copy;

    let _place = meter.while_queued(&core.env, core.pushing.acquire()).await.map_err(|_| PushError::Silent)?;
    let mut stream = core.links.dial(target, Port::Data, None).await?;
    wire::send(&mut stream, &push).await?;
    let answered = core.env.timeout(core.limits.idle, wire::receive(&mut stream)).await;
    let PushAnswer(answer) = answered.ok_or(PushError::Silent)??;
    answer.map_err(PushError::Refused)?;
    crash_point!("push.begin");
    let stopped = StopOnDrop::default();
    let (sent, counted, stop) = (meter.clone(), core.counts.sent.clone(), stopped.0.clone());
    let progress: Progress = Arc::new(move |bytes| {
        sent.add(bytes);
        counted.inc_by(bytes);
        // The payload goes on a thread of its own, which does not see that nobody waits for it any more.
        if stop.load(Ordering::Relaxed) { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    });
    stream = stream.send_payload(&core.env, source, 0, limits, progress).await?;

    crash_point!("push.sent");
    let table = match table.wait_for(Option::is_some).await {
        Ok(ready) => match ready.as_ref() {
            Some(Ok(table)) => table.clone(),
            _ => return Err(PushError::Source),
        },
        Err(_) => return Err(PushError::Source),
    };
    let time = core.view.borrow().state.time;
    let sealed = Sealed { digest: table.digest(), table: table.as_bytes().len() as u64, time };
    wire::send(&mut stream, &sealed).await?;
    let sent = async {
        stream.write_all(table.as_bytes()).await?;
        stream.flush().await
    };
    core.env.timeout(core.limits.idle, sent).await.ok_or(PushError::Silent)??;
    // The holder fsyncs now; it may take as long as its disk takes, within bounds.
    let patience = core.limits.idle * FSYNC_PATIENCE;
    let done = core.env.timeout(patience, meter.while_ticking(&core.env, wire::receive(&mut stream))).await;
    let PushDone(done) = done.ok_or(PushError::Silent)??;
    let receipt = done.map_err(PushError::Refused)?;
    crash_point!("push.receipt");
    if receipt.copy != copy || receipt.node != target {
        return Err(PushError::Wire(WireError::Body("the receipt is for another copy".into())));
    }
    Ok(receipt)
}

/// Tells a thread that nobody waits for it any more.
#[derive(Default)]
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How many idle times a holder may take to make a copy durable.
const FSYNC_PATIENCE: u32 = 8;
