//! A version that the cluster knows, put into the tier: an object of its bytes, a manifest that says so, and the cluster's word.

use std::sync::Arc;

use bytes::Bytes;
use cairn_store::archive::key::{Part, Stem};
use cairn_store::archive::manifest::{MANIFEST_BYTES_MAX, Manifest};
use cairn_store::archive::{Object, ObjectReceipt};
use cairn_store::crash_point;
use cairn_store::id::SegmentId;
use cairn_store::meta::{Command, Rejection, State};
use cairn_store::segment::{CopyState, Segment, Version, VersionRecord};

use super::deposit::{deposit, same};
use super::{TierError, call, is_there};
use crate::core::Core;
use crate::env::{ObjectError, Objects, PayloadLimits};
use crate::errand::fetch_copy;
use crate::jobs::Meter;

/// Has a version in the tier: does what is lacking for that. A version that is gone needs nothing.
///
/// # Errors
/// As [`TierError`] says; what was done lasts, or is collected.
pub async fn archive(
    core: &Arc<Core>,
    segment: SegmentId,
    version: Version,
    limits: PayloadLimits,
    meter: &Arc<Meter>,
) -> Result<(), TierError> {
    let (objects, tier) = core.tier.reached()?;
    // Only what is known to be the newest may say that a version is gone: whoever waits for it is told so.
    let state = core.read(core.env.clock.now() + core.limits.idle).await.map_err(TierError::Cluster)?.state;
    let Some((segment, record)) = known(&state, segment, version) else { return Ok(()) };
    let (cluster, here) = (core.identity.cluster, (tier, core.identity.cluster));
    let good = |object: &&Object| object.state == CopyState::Durable && (object.tier, object.cluster) == here;
    let receipt = match state.object_of(segment.id, version).filter(good) {
        Some(object) if object.published => return Ok(()),
        // It is referred to: no word can run out.
        Some(object) => ObjectReceipt { object: object.id, tier, until: core.commit_window() },
        None => {
            let mine = record.durable().find(|copy| copy.node == core.me()).map(|copy| copy.id);
            let copy = match mine {
                Some(copy) => copy,
                // No holder reaches the tier: one more copy, which goes again when it is not needed.
                None => fetch_copy(core, segment.id, version, meter).await.map_err(TierError::Cluster)?,
            };
            deposit(core, copy, limits, meter).await?
        }
    };
    crash_point!("archive.deposited");
    let stem = Stem { cluster, segment: segment.id, version, digest: record.digest, object: receipt.object };
    publish(core, &*objects, &state, segment, record, &stem).await?;
    if !is_there(core, &*objects, tier).await {
        core.tier.spent(receipt.object);
        return Err(TierError::Changed);
    }
    crash_point!("archive.published");
    let command = Command::Deposited { segment: segment.id, version, digest: record.digest, receipt };
    match core.propose_and_see(command, core.env.clock.now() + core.limits.idle).await {
        // Another one was faster, or the version is gone: then this object is a stray.
        Ok(Ok(_) | Err(Rejection::Archived | Rejection::NoSuchVersion(_) | Rejection::NoSuchSegment)) => {
            tracing::info!(name = %segment.name, %version, object = %receipt.object, "a version is in the global tier");
            // Should it be lost, another one takes its place.
            core.tier.spent(receipt.object);
            Ok(())
        }
        Ok(Err(rejection)) => {
            core.tier.spent(receipt.object);
            Err(TierError::Rejected(rejection))
        }
        Err(error) => Err(TierError::Cluster(error)),
    }
}

fn known(state: &State, segment: SegmentId, version: Version) -> Option<(&Arc<Segment>, &VersionRecord)> {
    let segment = state.segments.get(&segment)?;
    Some((segment, segment.versions.get(&version)?))
}

/// Says in the tier that the version is one. The same manifest twice is fine.
async fn publish(
    core: &Core,
    objects: &dyn Objects,
    state: &State,
    segment: &Segment,
    record: &VersionRecord,
    stem: &Stem,
) -> Result<(), TierError> {
    let policy = state.archive(segment.id).and_then(|archive| archive.policy);
    let manifest = Manifest::of(segment, stem.version, record, stem, policy);
    let encoded = manifest.encode().map_err(|e| TierError::Store(ObjectError::Failed(e.to_string())))?;
    let key = stem.key(Part::Manifest).to_string();
    let encoded = Bytes::from(encoded);
    if call(core, objects.create(&key, encoded.clone())).await? {
        return if objects.compares() { Ok(()) } else { same(core, objects, &key, &encoded).await };
    }
    // An earlier try wrote it, perhaps with what has changed since (labels, how many versions are kept).
    let size = call(core, objects.size(&key)).await?;
    let most = u64::try_from(MANIFEST_BYTES_MAX).unwrap_or(u64::MAX);
    let bytes = call(core, objects.read(&key, 0..size.min(most))).await?;
    match Manifest::decode(&bytes) {
        Ok(found) if found.stem() == *stem && found.size == record.size => Ok(()),
        _ => Err(TierError::Differs),
    }
}
