//! Giving away what the cluster knows: a backup of the metadata, as records.

use std::sync::Arc;

use cairn_client::wire::{self, AskBackup, BackupAnswer, Kind, RefusalCode, WireError};
use cairn_store::meta::{Backup, Phase};

use super::{pieces, refusal};
use crate::core::{Core, WAIT_MAX};
use crate::env::Stream;

/// Answers one request. What was committed before it is in the backup; commits go on meanwhile, because the state that is
/// sent is a clone.
pub async fn serve(
    core: &Arc<Core>,
    mut stream: Box<dyn Stream>,
    ask: AskBackup,
) -> Result<Box<dyn Stream>, WireError> {
    let Some(_place) = core.place_to_serve().await else {
        let busy = refusal(RefusalCode::Busy, "this node has as many transfers as it takes");
        wire::send(&mut stream, &BackupAnswer(Err(busy))).await?;
        return Ok(stream);
    };
    let state = match core.read(core.env.clock.now() + ask.wait.min(WAIT_MAX)).await {
        Ok(view) => view.state,
        Err(error) => {
            wire::send(&mut stream, &BackupAnswer(Err(refusal(RefusalCode::Busy, error.message)))).await?;
            return Ok(stream);
        }
    };
    if state.phase() == Some(Phase::Loading) {
        let half = refusal(RefusalCode::Other, "the cluster is being restored, and knows a part of it only");
        wire::send(&mut stream, &BackupAnswer(Err(half))).await?;
        return Ok(stream);
    }
    wire::send(&mut stream, &BackupAnswer(Ok(()))).await?;
    let backup = Backup { taken: core.env.clock.wall(), state };
    let sent = pieces::send(&core.env, &mut stream, Kind::BackupPiece, backup.records(), core.limits.idle).await;
    let (revision, segments) = (backup.state.revision, backup.state.segments.len());
    match sent {
        Ok(()) => tracing::info!(revision, segments, "a backup of the metadata was given away"),
        Err(why) => return Err(WireError::Body(why)),
    }
    Ok(stream)
}
