//! Giving a copy to a loader. Its bytes are verified there, block by block.

use std::io;
use std::sync::Arc;

use cairn_client::wire::{self, Offer, Pull, PullAnswer, RefusalCode, WireError};
use cairn_store::crash_point;
use cairn_store::digest::{BLOCK_BYTES, block_count};
use tokio::io::AsyncWriteExt;

use super::{QUARANTINED, refusal};
use crate::admit::Speaker;
use crate::core::Core;
use crate::env::{Progress, ReadAt, Stream};
use crate::storage::unreadable;

/// Answers one pull.
///
/// A copy that is not as it should be is looked at. One that is not there at all only for a member that asks: anybody
/// can make ids up.
pub async fn serve(
    core: &Arc<Core>,
    mut stream: Box<dyn Stream>,
    pull: Pull,
    speaker: Speaker,
) -> Result<Box<dyn Stream>, WireError> {
    let Some(_place) = core.place_to_serve().await else {
        let busy = refusal(RefusalCode::Busy, "this node has as many transfers as it takes");
        wire::send(&mut stream, &PullAnswer(Err(busy))).await?;
        return Ok(stream);
    };
    let disk = core.env.disk.clone();
    // Opened once and held: a copy that is unlinked meanwhile is sent to its end (R13).
    let opened = core.env.blocking(move || {
        let opened = disk.read_toc(pull.copy).and_then(|toc| Ok((toc, disk.open(pull.copy)?)));
        let gone = opened.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
        // Whoever asks should hear that it was not always so.
        let aside = gone && disk.quarantined().is_ok_and(|aside| aside.contains(&pull.copy));
        opened.map_err(|e| (e, aside))
    });
    let (toc, source) = match opened.await? {
        Ok((toc, source)) => (toc, Arc::<dyn ReadAt>::from(source)),
        Err((_, true)) => {
            let refused = refusal(RefusalCode::Corrupt, QUARANTINED);
            wire::send(&mut stream, &PullAnswer(Err(refused))).await?;
            return Ok(stream);
        }
        Err((e, false)) => {
            if e.kind() != io::ErrorKind::NotFound || matches!(speaker, Speaker::Node(_)) {
                core.suspect(pull.copy);
            }
            let (code, message) = match e.kind() {
                io::ErrorKind::NotFound => (RefusalCode::Gone, "this node has no such copy".to_owned()),
                io::ErrorKind::InvalidData => (RefusalCode::Corrupt, format!("the copy cannot be read: {e}")),
                _ => (RefusalCode::Other, format!("the copy cannot be read now: {e}")),
            };
            wire::send(&mut stream, &PullAnswer(Err(refusal(code, message)))).await?;
            return Ok(stream);
        }
    };
    crash_point!("serve.begin");
    let size = toc.table.size();
    if source.size() != size || pull.from_block > block_count(size) {
        core.suspect(pull.copy);
        let refused = refusal(RefusalCode::Corrupt, "the copy has another size than it should");
        wire::send(&mut stream, &PullAnswer(Err(refused))).await?;
        return Ok(stream);
    }
    let table = toc.table.as_bytes();
    let offer = Offer { size, digest: toc.digest, table: table.len() as u64 };
    let sent = async {
        wire::send(&mut stream, &PullAnswer(Ok(offer))).await?;
        stream.write_all(table).await?;
        Ok(stream.flush().await?)
    };
    let late = || Err(WireError::Io(io::ErrorKind::TimedOut.into()));
    core.env.timeout(core.limits.idle, sent).await.unwrap_or_else(late)?;
    let offset = pull.from_block.saturating_mul(BLOCK_BYTES as u64).min(size);
    let limits = core.limits.payload();
    let counted = core.counts.sent.clone();
    let progress: Progress = Arc::new(move |bytes| {
        counted.inc_by(bytes);
        Ok(())
    });
    let sent = stream.send_payload(&core.env, source, offset, limits, progress).await;
    crash_point!("serve.sent");
    let Pull { request, copy, .. } = pull;
    let bytes = size.saturating_sub(offset);
    match &sent {
        Ok(_) => tracing::info!(name = %toc.name, %request, %copy, bytes, "a copy was given to a loader"),
        Err(error) => {
            tracing::info!(name = %toc.name, %request, %copy, %error, "a loader did not take all of a copy")
        }
    }
    if sent.as_ref().err().is_some_and(unreadable) {
        core.suspect(pull.copy);
    }
    Ok(sent?)
}
