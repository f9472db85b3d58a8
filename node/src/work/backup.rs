//! Puts backups of the cluster's metadata into the global tier, and removes the oldest.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use cairn_store::archive::key::{Key, backups};
use cairn_store::crash_point;
use cairn_store::meta::{Backup, Phase};
use cairn_store::record::RecordError;
use futures::TryStreamExt;

use crate::core::Core;
use crate::env::{Listed, ObjectError, Objects, PART_BYTES};
use crate::tier::{TierError, call};

/// How long after a start the first one is at the latest: a node may be restarted often.
const FIRST: Duration = Duration::from_secs(300);

/// Runs until the node ends.
pub async fn back_up(core: Arc<Core>) {
    let Some(objects) = core.tier.objects() else { return };
    let mut due = core.env.clock.now() + core.limits.backup_every.min(FIRST);
    while !core.stop.is_set() {
        core.env.clock.sleep(core.limits.work).await;
        if core.env.clock.now() < due {
            continue;
        }
        due = core.env.clock.now() + core.limits.backup_every;
        if core.tier.reached().is_ok()
            && core.is_keeper()
            && let Err(error) = take(&core, &*objects).await
        {
            tracing::warn!(%error, "the metadata could not be backed up into the global tier");
        }
    }
}

async fn take(core: &Arc<Core>, objects: &dyn Objects) -> Result<(), TierError> {
    let Ok(view) = core.read(core.env.clock.now() + core.limits.idle).await else { return Ok(()) };
    let (state, cluster) = (view.state, core.identity.cluster);
    if state.phase() == Some(Phase::Loading) {
        return Ok(());
    }
    let listed = call(core, objects.list(&backups(cluster)).try_collect::<Vec<Listed>>()).await?;
    let ours = |key: &String| matches!(key.parse(), Ok(Key::Backup(..)));
    let mut kept: Vec<String> = listed.into_iter().map(|one| one.key).filter(ours).collect();
    kept.sort_unstable();
    let key = Key::Backup(cluster, state.revision).to_string();
    if kept.last() != Some(&key) {
        let backup = Backup { taken: core.env.clock.wall(), state };
        send(core, objects, &key, backup).await?;
        tracing::info!(%key, "the metadata were backed up into the global tier");
        kept.push(key);
    }
    let surplus = kept.len().saturating_sub(core.limits.backups);
    for old in kept.iter().take(surplus) {
        call(core, objects.delete(old)).await?;
    }
    Ok(())
}

/// Puts a backup there, a part at a time.
async fn send(core: &Core, objects: &dyn Objects, key: &str, backup: Backup) -> Result<(), TierError> {
    // Once to know how long it is: a state is a clone, and says the same twice.
    let counted = backup.clone();
    let size = core.env.blocking(move || counted.records().map(|record| record.map(|r| r.len() as u64)).sum());
    let size: Result<u64, RecordError> = size.await.map_err(|e| failed(&e))?;
    let size = size.map_err(|e| failed(&e))?;
    let mut upload = call(core, objects.upload(key, size)).await?;
    let mut hasher = blake3::Hasher::new();
    let (part, mut records) = (upload.part_bytes(), backup.records());
    let (mut piece, mut skip) = (BytesMut::new(), upload.offset());
    loop {
        let next = records.next().transpose().map_err(|e| failed(&e))?;
        hasher.update(next.as_deref().unwrap_or_default());
        piece.extend_from_slice(next.as_deref().unwrap_or_default());
        while piece.len() >= part || (next.is_none() && !piece.is_empty()) {
            let bytes = piece.split_to(part.min(piece.len())).freeze();
            if skip == 0 {
                call(core, upload.part(bytes)).await?;
            } else {
                // An earlier try has sent it.
                skip = skip.saturating_sub(bytes.len() as u64);
            }
        }
        if next.is_none() {
            break;
        }
    }
    crash_point!("backup.sent");
    call(core, upload.finish()).await?;
    if objects.compares() { Ok(()) } else { compare(core, objects, key, size, hasher.finalize().into()).await }
}

/// Reads what was put there: where nothing else compares it.
async fn compare(
    core: &Core,
    objects: &dyn Objects,
    key: &str,
    size: u64,
    digest: [u8; 32],
) -> Result<(), TierError> {
    let (mut hasher, mut offset) = (blake3::Hasher::new(), 0);
    while offset < size {
        let end = size.min(offset.saturating_add(PART_BYTES as u64));
        hasher.update(&call(core, objects.read(key, offset..end)).await?);
        offset = end;
    }
    if digest == *hasher.finalize().as_bytes() { Ok(()) } else { Err(TierError::Differs) }
}

fn failed(error: &dyn std::fmt::Display) -> TierError {
    TierError::Store(ObjectError::Failed(error.to_string()))
}
