//! The replicated state on its way to a member that is far behind: frames of bounded size, each with a checksum.

use std::sync::Arc;
use std::time::Duration;

use bincode::Options;
use cairn_client::wire::{self, Kind, WireError};
use cairn_store::meta::snapshot::Loader;
use cairn_store::record::bincode_options;
use openraft::raft::SnapshotResponse;
use openraft::type_config::alias::SnapshotMetaOf;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::pieces;
use crate::core::Core;
use crate::env::{Env, Stream};
use crate::raft::machine::{FORGOTTEN, Snapshot};
use crate::raft::types::{Types, Vote};

/// What comes before the records.
#[derive(Serialize, Deserialize)]
struct Head {
    vote: Vote,
    meta: SnapshotMetaOf<Types>,
}

/// Sends a snapshot and waits until it is installed. Each frame has `limit` to go through.
pub async fn send(
    env: &Env,
    mut stream: Box<dyn Stream>,
    vote: Vote,
    snapshot: Snapshot,
    limit: Duration,
) -> Result<SnapshotResponse<Types>, String> {
    let late = || "the member was silent for too long".to_owned();
    let text = |e: WireError| e.to_string();
    let head = encode(&Head { vote, meta: snapshot.meta })?;
    let begun = wire::send_bytes(&mut stream, Kind::Snapshot, &head);
    env.timeout(limit, begun).await.ok_or_else(late)?.map_err(text)?;
    pieces::send(env, &mut stream, Kind::SnapshotPiece, snapshot.snapshot.records(), limit).await?;
    let (kind, body) = env.timeout(limit, wire::receive_bytes(&mut stream)).await.ok_or_else(late)?.map_err(text)?;
    if kind != Kind::SnapshotDone as u16 {
        return Err("the member answered with another frame".into());
    }
    decode::<Result<SnapshotResponse<Types>, String>>(&body)?
}

/// Receives a snapshot whose first frame has come, and installs it.
pub async fn receive(
    core: &Arc<Core>,
    mut stream: Box<dyn Stream>,
    head: &[u8],
) -> Result<Box<dyn Stream>, WireError> {
    let head: Head = decode(head).map_err(WireError::Body)?;
    let mut loader = Loader::default();
    loop {
        let piece = core.env.timeout(core.limits.idle, wire::receive_bytes(&mut stream)).await;
        let (kind, piece) = piece.ok_or_else(|| WireError::Io(std::io::ErrorKind::TimedOut.into()))??;
        if kind != Kind::SnapshotPiece as u16 {
            return Err(WireError::Kind { found: kind, wanted: Kind::SnapshotPiece as u16 });
        }
        if piece.is_empty() {
            break;
        }
        loader.add(&piece).map_err(|e| WireError::Body(e.to_string()))?;
    }
    let state = loader.finish().map_err(|e| WireError::Body(e.to_string()))?;
    // What is in a snapshot was committed.
    if head.meta.last_log_id.is_some_and(|last| core.view.borrow().is_replaced_by(&last)) {
        core.stop.fault(FORGOTTEN);
        return Err(WireError::Body(FORGOTTEN.into()));
    }
    let snapshot = Snapshot { meta: head.meta, snapshot: state };
    let installed = core.raft.install_full_snapshot(head.vote, snapshot).await.map_err(|e| e.to_string());
    let body = encode(&installed).map_err(WireError::Body)?;
    wire::send_bytes(&mut stream, Kind::SnapshotDone, &body).await?;
    Ok(stream)
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
    bincode_options().serialize(value).map_err(|e| e.to_string())
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    bincode_options().deserialize(bytes).map_err(|e| e.to_string())
}
