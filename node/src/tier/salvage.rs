//! What a former cluster left in the tier: its manifests, and backups of its metadata.

use std::collections::BTreeSet;

use cairn_client::api::{Code, Error};
use cairn_store::archive::key::{Key, Part, Stem, backups, folder};
use cairn_store::archive::manifest::{MANIFEST_BYTES_MAX, Manifest};
use cairn_store::id::ClusterId;
use cairn_store::meta::salvage::{Salvage, salvage};
use cairn_store::meta::{Backup, BackupError};
use futures::{StreamExt, TryStreamExt};

use super::{TierError, call};
use crate::core::Core;
use crate::env::{Listed, Objects, PART_BYTES};

/// Manifests that are read at once.
const READ_AT_ONCE: usize = 64;

/// The cluster that is meant: this one, or the only other one that has left something there.
///
/// # Errors
/// The tier is not reached; there is none, or more than one.
pub async fn former(core: &Core, named: Option<ClusterId>) -> Result<ClusterId, Error> {
    let (objects, _) = core.tier.reached().map_err(unavailable)?;
    if let Some(named) = named {
        return Ok(named);
    }
    let folders = call(core, objects.folders()).await.map_err(unavailable)?;
    let others: BTreeSet<ClusterId> = folders.iter().filter_map(|name| name.parse().ok()).collect();
    let others: Vec<ClusterId> = others.into_iter().filter(|cluster| *cluster != core.identity.cluster).collect();
    match others.as_slice() {
        [one] => Ok(*one),
        [] => Err(Error::new(Code::NotFound, "no other cluster has left anything in the global tier")
            .hint("see `cairn global status`: is it the right one?")),
        several => {
            let list = several.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            Err(Error::new(Code::Conflict, format!("several clusters have left something there: {list}"))
                .hint("name one with --cluster"))
        }
    }
}

/// What a cluster's manifests tell, of objects that are there.
///
/// # Errors
/// The tier is not reached.
pub async fn from_manifests(core: &Core, cluster: ClusterId) -> Result<Salvage, Error> {
    let (objects, tier) = core.tier.reached().map_err(unavailable)?;
    let list = |part| listed(core, &*objects, cluster, part);
    let bytes = list(Part::Bytes).await.map_err(unavailable)?;
    let tables = list(Part::Table).await.map_err(unavailable)?;
    let tables: BTreeSet<Stem> = tables.into_iter().map(|(stem, _)| stem).collect();
    let there: std::collections::BTreeMap<Stem, u64> =
        bytes.into_iter().filter(|(stem, _)| tables.contains(stem)).collect();
    let stems = list(Part::Manifest).await.map_err(unavailable)?;
    let read = futures::stream::iter(stems).map(|(stem, _)| {
        let (objects, there) = (&objects, &there);
        async move {
            let manifest = read(core, &**objects, &stem).await?;
            let size = there.get(&stem);
            let sound = manifest.filter(|manifest| manifest.stem() == stem && size == Some(&manifest.size));
            if sound.is_none() {
                tracing::warn!(key = %stem.key(Part::Manifest), "a manifest is left out: it is damaged, or its object is not there");
            }
            Ok::<_, TierError>(sound)
        }
    });
    let manifests: Vec<Option<Manifest>> =
        read.buffer_unordered(READ_AT_ONCE).try_collect().await.map_err(unavailable)?;
    let mut manifests: Vec<Manifest> = manifests.into_iter().flatten().collect();
    // Whatever came first: the same manifests make the same backup.
    manifests.sort_by_key(Manifest::stem);
    let there = there.keys().map(|stem| stem.object).collect();
    Ok(Salvage { there, ..salvage(cluster, tier, core.env.clock.wall(), manifests) })
}

/// One part of all objects of a cluster, with its size.
async fn listed(
    core: &Core,
    objects: &dyn Objects,
    cluster: ClusterId,
    part: Part,
) -> Result<Vec<(Stem, u64)>, TierError> {
    let (mut list, mut found) = (objects.list(&folder(cluster, part)), Vec::new());
    while let Some(one) = call(core, async { list.try_next().await }).await? {
        if let Ok(Key::Object(stem, _)) = one.key.parse() {
            found.push((stem, one.size));
        }
    }
    Ok(found)
}

/// A manifest; none if it is damaged.
async fn read(core: &Core, objects: &dyn Objects, stem: &Stem) -> Result<Option<Manifest>, TierError> {
    let key = stem.key(Part::Manifest).to_string();
    let most = u64::try_from(MANIFEST_BYTES_MAX).unwrap_or(u64::MAX);
    let size = call(core, objects.size(&key)).await?;
    let bytes = call(core, objects.read(&key, 0..size.min(most))).await?;
    Ok(Manifest::decode(&bytes).ok())
}

/// The newest backup of a cluster's metadata. All of it is in memory, as a node's own state is.
///
/// # Errors
/// The tier is not reached, or has none that is whole.
pub async fn newest_backup(core: &Core, cluster: ClusterId) -> Result<Backup, Error> {
    let (objects, _) = core.tier.reached().map_err(unavailable)?;
    let listed =
        call(core, objects.list(&backups(cluster)).try_collect::<Vec<Listed>>()).await.map_err(unavailable)?;
    let keys = listed.into_iter().filter(|one| matches!(one.key.parse(), Ok(Key::Backup(..))));
    let mut keys: Vec<Listed> = keys.collect();
    keys.sort_by(|a, b| b.key.cmp(&a.key));
    for one in keys {
        match read_backup(core, &*objects, &one).await? {
            Ok(backup) => return Ok(backup),
            Err(error) => {
                tracing::warn!(key = %one.key, %error, "a backup cannot be used: an older one is looked for")
            }
        }
    }
    Err(Error::new(Code::NotFound, format!("cluster {cluster} has no whole backup in the global tier"))
        .hint("`cairn global adopt` begins with its manifests alone"))
}

/// One backup, if it is whole.
async fn read_backup(
    core: &Core,
    objects: &dyn Objects,
    newest: &Listed,
) -> Result<Result<Backup, BackupError>, Error> {
    let (mut bytes, mut offset) = (Vec::new(), 0);
    while offset < newest.size {
        let end = newest.size.min(offset.saturating_add(PART_BYTES as u64));
        bytes.extend_from_slice(&call(core, objects.read(&newest.key, offset..end)).await.map_err(unavailable)?);
        offset = end;
    }
    let read = core.env.blocking(move || Backup::read(&mut bytes.as_slice())).await;
    read.map_err(|e| Error::unavailable(e.to_string()))
}

pub(crate) fn unavailable(error: TierError) -> Error {
    let (code, hint) = match &error {
        TierError::Absent => (Code::Conflict, Some("ask a node that has one: see `cairn global status`")),
        TierError::Unreached(_) => (Code::Unavailable, Some("see `cairn global status`")),
        _ => (Code::Unavailable, None),
    };
    let told = Error::new(code, format!("the global tier: {error}"));
    match hint {
        Some(hint) => told.hint(hint),
        None => told,
    }
}
