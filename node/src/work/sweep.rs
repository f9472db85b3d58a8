//! The collector of the global tier: compares what lies there with what this node has applied, and does all deletion there.
//!
//! By the rule of stray copies (R1). An object has no table of its own that says until when it may be referred to; so that time
//! counts from when it was seen first, by a state that was read afterwards: whoever put it there read its own time before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cairn_store::archive::key::{Key, Part, Stem, folder, probes};
use cairn_store::crash_point;
use cairn_store::id::TierId;
use cairn_store::meta::state::COMMIT_WINDOW;
use cairn_store::meta::{Command, Finding, State};
use cairn_store::plan::collect::{Found, collectable};
use cairn_store::segment::{CopyState, Standing};
use cairn_store::time::LogTime;
use futures::TryStreamExt;

use crate::core::Core;
use crate::env::Objects;
use crate::tier::{TierError, call, is_missing, is_there};

/// Strays whose time is not over that are remembered. More are seen anew the next time.
const SEEN_MAX: usize = 1 << 20;
/// So many objects that cannot be removed end a pass.
const FAILED_MAX: u32 = 16;
/// How long after a start the first look is at the latest: a node may be restarted often.
const FIRST: Duration = Duration::from_secs(300);

/// What lies there of an object.
#[derive(Clone, Copy, Debug, Default)]
struct There {
    bytes: Option<u64>,
    table: bool,
    manifest: bool,
}

/// Runs until the node ends.
pub async fn sweep(core: Arc<Core>) {
    let Some(objects) = core.tier.objects() else { return };
    let mut seen: BTreeMap<Stem, LogTime> = BTreeMap::new();
    let mut due = core.env.clock.now() + core.limits.sweep_every.min(FIRST);
    while !core.stop.is_set() {
        core.env.clock.sleep(core.limits.work).await;
        if core.env.clock.now() < due {
            continue;
        }
        due = core.env.clock.now() + core.limits.sweep_every;
        if core.is_keeper()
            && let Err(error) = pass(&core, &*objects, &mut seen).await
        {
            tracing::warn!(%error, "the global tier cannot be tidied now");
        }
    }
}

/// One pass over all that this cluster has there.
async fn pass(core: &Core, objects: &dyn Objects, seen: &mut BTreeMap<Stem, LogTime>) -> Result<(), TierError> {
    let (cluster, (_, tier)) = (core.identity.cluster, core.tier.reached()?);
    // Each part by itself: whatever of an object is left over is found.
    let mut there: BTreeMap<Stem, There> = BTreeMap::new();
    let before = core.now().state;
    for part in Part::ALL {
        let mut listed = objects.list(&folder(cluster, part));
        while let Some(one) = call(core, async { listed.try_next().await }).await? {
            // What has another name is none of ours.
            let Ok(Key::Object(stem, found)) = one.key.parse() else { continue };
            let entry = there.entry(stem).or_default();
            match found {
                Part::Bytes => entry.bytes = Some(one.size),
                Part::Table => entry.table = true,
                Part::Manifest => entry.manifest = true,
            }
        }
    }
    // A list is empty too where nothing is mounted.
    if !is_there(core, objects, tier).await {
        return Ok(());
    }
    miss(core, &before, objects, tier, &there).await;
    // Read after they were seen: no word for them is of a later time than this.
    let Ok(view) = core.read(core.env.clock.now() + core.limits.idle).await else { return Ok(()) };
    seen.retain(|stem, _| there.contains_key(stem));
    let mut failed = 0;
    for stem in there.into_keys() {
        let state = core.now().state;
        if state.is_recovering() || core.stop.is_set() {
            return Ok(());
        }
        let standing = state.object_standing(stem.segment, stem.version, stem.object);
        let first = match seen.get(&stem) {
            Some(first) => *first,
            None => {
                if standing == Standing::Open && seen.len() < SEEN_MAX {
                    seen.insert(stem, view.state.time);
                }
                view.state.time
            }
        };
        let found = Found { cluster: stem.cluster, standing, until: first.after(COMMIT_WINDOW) };
        if collectable(found, cluster, state.time) {
            tracing::info!(key = %stem.key(Part::Bytes), ?standing, "an object of the global tier goes");
            crash_point!("sweep.decided");
            if let Err(error) = remove(core, objects, &stem).await {
                // One that cannot be removed keeps no other from it; a store that is away keeps all.
                tracing::warn!(key = %stem.key(Part::Bytes), %error, "an object of the global tier stays");
                failed += 1;
                if failed >= FAILED_MAX {
                    return Err(error);
                }
                continue;
            }
            seen.remove(&stem);
        }
    }
    let mut tried = objects.list(&probes(cluster));
    while let Some(one) = call(core, async { tried.try_next().await }).await? {
        call(core, objects.delete(&one.key)).await?;
    }
    Ok(())
}

/// The manifest first: nothing says that bytes are there which are not.
async fn remove(core: &Core, objects: &dyn Objects, stem: &Stem) -> Result<(), TierError> {
    for part in Part::ALL {
        call(core, objects.delete(&stem.key(part).to_string())).await?;
        crash_point!("sweep.removed");
    }
    Ok(())
}

/// What the cluster counts on there and what lies there, compared. `state` is from before the list was asked for: what it refers
/// to was there by then.
async fn miss(core: &Core, state: &State, objects: &dyn Objects, tier: TierId, there: &BTreeMap<Stem, There>) {
    let cluster = core.identity.cluster;
    for (id, archive) in &state.archives {
        let Some(segment) = state.segments.get(id) else { continue };
        for (version, object) in &archive.objects {
            let Some(record) = segment.versions.get(version) else { continue };
            if object.state != CopyState::Durable || object.tier != tier || object.cluster != cluster {
                continue;
            }
            let stem = Stem { cluster, segment: *id, version: *version, digest: record.digest, object: object.id };
            let missing = match there.get(&stem).copied().unwrap_or_default() {
                There { bytes: Some(size), .. } if size != record.size => {
                    core.lose_object(&stem, Finding::Corrupt).await;
                    continue;
                }
                There { bytes: None, .. } => Part::Bytes,
                There { table: false, .. } => Part::Table,
                There { manifest: false, .. } if object.published => Part::Manifest,
                There { .. } => continue,
            };
            // A list can be of a store that came and went meanwhile.
            if is_missing(core, objects, tier, &stem.key(missing).to_string()).await {
                core.lose_object(&stem, Finding::Missing).await;
            }
        }
    }
}

impl Core {
    /// Tells the cluster that an object is not what it counts on, if it can be told within a while.
    pub async fn lose_object(&self, stem: &Stem, finding: Finding) {
        let Stem { segment, version, object, .. } = *stem;
        tracing::warn!(key = %stem.key(Part::Bytes), ?finding, "an object of the global tier is lost");
        self.counts.checksum_failures.inc();
        let command = Command::LoseObject { segment, version, object, finding };
        // If it does not get through, the next look finds it again.
        let _ = self.propose(command, self.env.clock.now() + self.limits.idle).await;
    }
}
