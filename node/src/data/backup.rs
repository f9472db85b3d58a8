//! Giving away what a cluster knows: a backup of the metadata, as records.

use std::sync::Arc;

use cairn_client::api::{Code, Error};
use cairn_client::wire::{self, AskBackup, BackupAnswer, BackupOf, Kind, RefusalCode, WireError};
use cairn_store::meta::{Backup, Phase};

use super::{pieces, refusal};
use crate::core::{Core, WAIT_MAX};
use crate::env::Stream;
use crate::tier::salvage;

/// Answers one request. What was committed before it is in the backup of this cluster; commits go on meanwhile, because the state
/// that is sent is a clone.
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
    let found = match find(core, ask).await {
        Ok(found) => found,
        Err(error) => {
            let code = match error.code {
                Code::Unavailable => RefusalCode::Busy,
                Code::NotFound => RefusalCode::Gone,
                _ => RefusalCode::Other,
            };
            let hint = error.hint.map_or_else(String::new, |hint| format!(" ({hint})"));
            wire::send(&mut stream, &BackupAnswer(Err(refusal(code, error.message + &hint)))).await?;
            return Ok(stream);
        }
    };
    wire::send(&mut stream, &BackupAnswer(Ok(()))).await?;
    let (revision, segments) = (found.state.revision, found.state.segments.len());
    let (env, limit) = (&core.env, core.limits.idle);
    pieces::send(env, &mut stream, Kind::BackupPiece, found.records(), limit).await.map_err(WireError::Body)?;
    tracing::info!(revision, segments, of = ?ask.of, "a backup of metadata was given away");
    Ok(stream)
}

async fn find(core: &Arc<Core>, ask: AskBackup) -> Result<Backup, Error> {
    match ask.of {
        BackupOf::Cluster => {
            let state = core.read(core.env.clock.now() + ask.wait.min(WAIT_MAX)).await?.state;
            if state.phase() == Some(Phase::Loading) {
                let half = "the cluster is being restored, and knows a part of it only; see `cairn cluster recovery`";
                return Err(Error::new(Code::Conflict, half));
            }
            Ok(Backup { taken: core.env.clock.wall(), state })
        }
        BackupOf::Stored(named) => {
            let cluster = salvage::former(core, named).await?;
            let stored = salvage::newest_backup(core, cluster).await?;
            Ok(salvage::from_manifests(core, cluster).await?.over(stored))
        }
        BackupOf::Manifests(named) => {
            let cluster = salvage::former(core, named).await?;
            let salvage = salvage::from_manifests(core, cluster).await?;
            if salvage.backup.state.segments.is_empty() {
                let none = format!("cluster {cluster} has no whole manifest in the global tier");
                return Err(Error::new(Code::NotFound, none).hint("see `cairn global status`, and docs/global.md"));
            }
            Ok(salvage.backup)
        }
    }
}
