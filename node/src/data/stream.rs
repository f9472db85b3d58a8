//! Payloads over any async stream: what the simulation uses, and TLS will.

use std::io;
use std::sync::Arc;

use cairn_store::digest::BLOCK_BYTES;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::env::{Env, Pace, PayloadLimits, Progress, ReadAt, Sink};

/// Sends `source` from `offset` on.
pub async fn send(
    stream: &mut (impl AsyncWrite + Unpin),
    env: &Env,
    source: Arc<dyn ReadAt>,
    offset: u64,
    limits: PayloadLimits,
    progress: &Progress,
) -> io::Result<()> {
    let mut at = offset;
    let mut pace = Pace::new(limits, env.clock.now());
    while at < source.size() {
        let count = usize::try_from(source.size() - at).unwrap_or(usize::MAX).min(BLOCK_BYTES);
        let from = source.clone();
        let block = env
            .blocking(move || {
                let mut block = vec![0; count];
                from.read_exact_at(&mut block, at).map(|()| block)
            })
            .await??;
        env.timeout(limits.idle, stream.write_all(&block)).await.ok_or(io::ErrorKind::TimedOut)??;
        at += count as u64;
        pace.moved(count as u64, env.clock.now())?;
        progress(count as u64)?;
    }
    env.timeout(limits.idle, stream.flush()).await.ok_or(io::ErrorKind::TimedOut)?
}

/// Receives `length` bytes, a block at a time.
pub async fn receive(
    stream: &mut (impl AsyncRead + Unpin),
    env: &Env,
    length: u64,
    mut sink: Box<dyn Sink>,
    limits: PayloadLimits,
) -> io::Result<()> {
    let mut left = length;
    let mut pace = Pace::new(limits, env.clock.now());
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(BLOCK_BYTES);
        let mut block = vec![0; count];
        env.timeout(limits.idle, stream.read_exact(&mut block)).await.ok_or(io::ErrorKind::TimedOut)??;
        let written;
        (sink, written) = env
            .blocking(move || {
                let written = sink.block(&block);
                (sink, written)
            })
            .await?;
        written?;
        pace.moved(count as u64, env.clock.now())?;
        env.clock.sleep(pace.early(env.clock.now())).await;
        left -= count as u64;
    }
    Ok(())
}
