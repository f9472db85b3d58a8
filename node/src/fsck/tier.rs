//! The global tier, compared with what a stopped node's state says of it: manifests, objects, metadata. Every object that the
//! state refers to is read.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use cairn_store::archive::key::{Key, MARK, Part, Stem, backups, folder};
use cairn_store::archive::manifest::{MANIFEST_BYTES_MAX, Manifest};
use cairn_store::digest::{BLOCK_BYTES, BlockTable, block_count};
use cairn_store::id::ClusterId;
use cairn_store::meta::State;
use cairn_store::segment::{CopyState, Segment, Standing, Version, VersionRecord};
use futures::TryStreamExt;
use serde::Serialize;

use super::{Finding, Tell, What};
use crate::env::{ObjectError, Objects, PART_BYTES};
use crate::tier::mark::{self, MARK_BYTES_MAX};

const AGAIN: &str = "archive the version again, if a node has a good copy";
const ONLY_LOADED: &str = "notice it when it is loaded from there, and archive the version again then";
const UNSEEN: &str = "not notice it: remove this manifest by hand, and the version is archived again";
const NEVER: &str = "leave it alone";
const LATER: &str = "remove it when it has been seen for an hour of log time, unless something refers to it by then";
const SOON: &str = "remove it at its next look (global.sweep_every)";

/// What was looked at in the tier.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TierSummary {
    /// Where it lies.
    pub url: String,
    /// The revision of the state that it was compared with: a running cluster may know more.
    pub revision: u64,
    /// Objects that the state refers to, good or bad.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Manifests of this cluster.
    pub manifests: u64,
    /// Backups of its metadata.
    pub backups: u64,
}

/// What lies there of an object.
#[derive(Clone, Copy, Debug, Default)]
struct There {
    bytes: Option<u64>,
    table: bool,
    manifest: bool,
}

/// Compares all that `state`'s cluster has there. `moved` is told how many more bytes were read.
///
/// # Errors
/// The tier is not reached, or is none.
pub async fn check(
    state: &State,
    objects: &dyn Objects,
    tell: &mut Tell<'_>,
    moved: &mut dyn FnMut(u64),
) -> io::Result<TierSummary> {
    let cluster = state.cluster.ok_or_else(|| io::Error::other("the node never was in a cluster"))?;
    let mark =
        read(objects, MARK, MARK_BYTES_MAX).await?.ok_or_else(|| io::Error::other(format!("there is no {MARK}")))?;
    let tier = mark::read(&mark).map_err(|e| io::Error::other(format!("{MARK}: {e}")))?;
    let (url, revision) = (objects.address(), state.revision);
    let mut summary = TierSummary { url, revision, ..TierSummary::default() };
    // A cluster that began with another one's state refers to what that one put there.
    let referred = state.archives.values().flat_map(|archive| archive.objects.values().map(|object| object.cluster));
    let clusters: BTreeSet<ClusterId> = referred.chain([cluster]).collect();
    let mut there = BTreeMap::new();
    for one in &clusters {
        list(objects, *one, &mut there, tell).await?;
    }
    summary.manifests = there.iter().filter(|(stem, found)| stem.cluster == cluster && found.manifest).count() as u64;
    let kept = objects.list(&backups(cluster)).try_collect::<Vec<_>>().await.map_err(io::Error::other)?;
    summary.backups = kept.iter().filter(|one| matches!(one.key.parse(), Ok(Key::Backup(..)))).count() as u64;
    for (id, archive) in &state.archives {
        let Some(segment) = state.segments.get(id) else { continue };
        for (version, object) in &archive.objects {
            let Some(record) = segment.versions.get(version).filter(|_| object.tier == tier) else { continue };
            let (digest, cluster, object_id) = (record.digest, object.cluster, object.id);
            let stem = Stem { cluster, segment: *id, version: *version, digest, object: object_id };
            let found = there.remove(&stem).unwrap_or_default();
            summary.objects += 1;
            summary.bytes = summary.bytes.saturating_add(record.size);
            let of = Of { segment, version: *version, record, stem };
            let wrong = of.check(objects, found, object.published, moved).await?;
            for (part, problem) in wrong {
                let key = stem.key(part).to_string();
                let known = object.state != CopyState::Durable;
                let will = match part {
                    _ if known => AGAIN,
                    Part::Manifest if found.manifest => UNSEEN,
                    Part::Bytes if found.bytes == Some(record.size) => ONLY_LOADED,
                    Part::Table if found.table => ONLY_LOADED,
                    _ => AGAIN,
                };
                tell(Finding::bad(What::Object, Path::new(&key), format!("{}: {problem}", of.name()), will));
            }
        }
    }
    for (stem, found) in there {
        let part = [(found.bytes.is_some(), Part::Bytes), (found.manifest, Part::Manifest), (true, Part::Table)];
        let part = part.into_iter().find(|(is_there, _)| *is_there).map_or(Part::Table, |(_, part)| part);
        let key = stem.key(part).to_string();
        let (problem, will) = if stem.cluster != cluster {
            ("it is another cluster's, and nothing here refers to it", NEVER)
        } else {
            match state.object_standing(stem.segment, stem.version, stem.object) {
                Standing::Ended => ("nothing refers to it any more", SOON),
                _ => ("nothing refers to it", LATER),
            }
        };
        tell(Finding::note(What::Object, Path::new(&key), problem, will));
    }
    let others = objects.folders().await.map_err(io::Error::other)?;
    for other in others.iter().filter(|name| name.parse().map_or(true, |id| !clusters.contains(&id))) {
        tell(Finding::note(What::Object, Path::new(other), "it is not this cluster's", NEVER));
    }
    Ok(summary)
}

/// What a cluster has there.
async fn list(
    objects: &dyn Objects,
    cluster: ClusterId,
    there: &mut BTreeMap<Stem, There>,
    tell: &mut Tell<'_>,
) -> io::Result<()> {
    for part in Part::ALL {
        let mut listed = objects.list(&folder(cluster, part));
        while let Some(one) = listed.try_next().await.map_err(io::Error::other)? {
            let Ok(Key::Object(stem, part)) = one.key.parse() else {
                tell(Finding::note(What::Object, Path::new(&one.key), "it has no name of this program", NEVER));
                continue;
            };
            let found = there.entry(stem).or_default();
            match part {
                Part::Bytes => found.bytes = Some(one.size),
                Part::Table => found.table = true,
                Part::Manifest => found.manifest = true,
            }
        }
    }
    Ok(())
}

/// A version that the state refers to.
struct Of<'a> {
    segment: &'a Segment,
    version: Version,
    record: &'a VersionRecord,
    stem: Stem,
}

impl Of<'_> {
    fn name(&self) -> String {
        format!("version {} of {}", self.version, self.segment.name)
    }

    /// What is wrong with its parts.
    async fn check(
        &self,
        objects: &dyn Objects,
        found: There,
        published: bool,
        moved: &mut dyn FnMut(u64),
    ) -> io::Result<Vec<(Part, String)>> {
        let mut wrong = Vec::new();
        match found.bytes {
            None => wrong.push((Part::Bytes, "its bytes are missing".into())),
            Some(size) if size != self.record.size => {
                wrong.push((Part::Bytes, format!("it has {size} bytes, and should have {}", self.record.size)));
            }
            Some(_) if !found.table => wrong.push((Part::Table, "its block table is missing".into())),
            Some(_) => wrong.extend(self.read(objects, moved).await?),
        }
        if !published {
            return Ok(wrong);
        }
        let key = self.stem.key(Part::Manifest).to_string();
        match read(objects, &key, MANIFEST_BYTES_MAX as u64).await? {
            None => wrong.push((Part::Manifest, "its manifest is missing".into())),
            Some(bytes) => match Manifest::decode(&bytes) {
                Ok(manifest) if manifest.stem() == self.stem && manifest.size == self.record.size => {}
                Ok(_) => wrong.push((Part::Manifest, "its manifest is another version's".into())),
                Err(error) => wrong.push((Part::Manifest, error.to_string())),
            },
        }
        Ok(wrong)
    }

    /// Reads all of it, against its table, and that against the digest.
    async fn read(&self, objects: &dyn Objects, moved: &mut dyn FnMut(u64)) -> io::Result<Option<(Part, String)>> {
        let (size, table) = (self.record.size, block_count(self.record.size).saturating_mul(32));
        let Some(bytes) = read(objects, &self.stem.key(Part::Table).to_string(), table).await? else {
            return Ok(Some((Part::Table, "its block table is missing".into())));
        };
        let table = match BlockTable::checked(size, &bytes, self.record.digest) {
            Ok(table) => table,
            Err(error) => return Ok(Some((Part::Table, format!("its block table: {error}")))),
        };
        let (key, mut offset) = (self.stem.key(Part::Bytes).to_string(), 0);
        while offset < size {
            let end = size.min(offset.saturating_add(PART_BYTES as u64));
            let bytes = objects.read(&key, offset..end).await.map_err(io::Error::other)?;
            moved(bytes.len() as u64);
            for (nth, block) in (offset / BLOCK_BYTES as u64..).zip(bytes.chunks(BLOCK_BYTES)) {
                if let Err(error) = table.verify(nth, block) {
                    return Ok(Some((Part::Bytes, error.to_string())));
                }
            }
            offset = end;
        }
        Ok(None)
    }
}

/// A small object, and no more of it than it may have; none if it is not there.
async fn read(objects: &dyn Objects, key: &str, most: u64) -> io::Result<Option<bytes::Bytes>> {
    let size = match objects.size(key).await {
        Ok(size) => size,
        Err(ObjectError::Missing) => return Ok(None),
        Err(error) => return Err(io::Error::other(error)),
    };
    objects.read(key, 0..size.min(most)).await.map(Some).map_err(io::Error::other)
}
