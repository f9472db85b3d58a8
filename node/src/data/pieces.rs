//! Records of any length as frames of bounded size. An empty frame ends them.

use std::time::Duration;

use cairn_client::wire::{self, Kind};
use cairn_store::record::RecordError;

use crate::env::{Env, Stream};

/// How many bytes of records go into one frame.
const PIECE_BYTES: usize = 512 << 10;

/// Sends all records. Each frame has `limit` to go through.
pub(super) async fn send(
    env: &Env,
    stream: &mut Box<dyn Stream>,
    kind: Kind,
    records: impl Iterator<Item = Result<Vec<u8>, RecordError>>,
    limit: Duration,
) -> Result<(), String> {
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    for record in records {
        let record = record.map_err(|e| e.to_string())?;
        for part in record.chunks(PIECE_BYTES) {
            if piece.len() + part.len() > PIECE_BYTES {
                send_one(env, stream, kind, &piece, limit).await?;
                piece.clear();
            }
            piece.extend_from_slice(part);
        }
    }
    send_one(env, stream, kind, &piece, limit).await?;
    send_one(env, stream, kind, &[], limit).await
}

async fn send_one(
    env: &Env,
    stream: &mut Box<dyn Stream>,
    kind: Kind,
    piece: &[u8],
    limit: Duration,
) -> Result<(), String> {
    let sent = env.timeout(limit, wire::send_bytes(stream, kind, piece)).await;
    sent.ok_or("the other side was silent for too long")?.map_err(|e| e.to_string())
}
