//! What a cluster knew, as far as its manifests in the global tier tell it: a backup, when nothing else is left.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::archive::manifest::Manifest;
use crate::archive::{Archive, Object};
use crate::id::{ClusterId, CopyId, SegmentId, TierId};
use crate::meta::backup::Backup;
use crate::meta::state::State;
use crate::name::Name;
use crate::segment::{CopyState, Segment, Version, VersionRecord};
use crate::time::{LogTime, WallTime};

/// A backup of manifests, and what of them is not in it.
#[derive(Debug)]
pub struct Salvage {
    /// Its revision is 0: the same cluster's manifests are one source, whenever they are read.
    pub backup: Backup,
    /// Versions of names that were registered anew later, and lie there still.
    pub left: Vec<(Name, Version)>,
    /// Objects that lie there, whether or not a manifest tells of them.
    pub there: BTreeSet<CopyId>,
}

/// Gathers manifests of one cluster, whose objects lie in this tier.
///
/// A segment's words are those of its newest version. Of two segments of one name the one counts that was committed to last.
pub fn salvage(
    cluster: ClusterId,
    tier: TierId,
    taken: WallTime,
    manifests: impl IntoIterator<Item = Manifest>,
) -> Salvage {
    let mut segments: BTreeMap<SegmentId, BTreeMap<Version, Manifest>> = BTreeMap::new();
    for manifest in manifests.into_iter().filter(|manifest| manifest.cluster == cluster) {
        segments.entry(manifest.segment).or_default().insert(manifest.version, manifest);
    }
    let mut state = State { cluster: Some(cluster), ..State::default() };
    let mut left: Vec<(Name, Version)> = Vec::new();
    // The segment of each name, and when it was committed to last.
    let mut names: BTreeMap<Name, (WallTime, SegmentId)> = BTreeMap::new();
    for (id, versions) in segments {
        let Some((segment, archive)) = segment_of(id, tier, &versions) else { continue };
        let key = (segment.modified, id);
        match names.entry(segment.name.clone()) {
            Entry::Vacant(free) => drop(free.insert(key)),
            Entry::Occupied(taken) if *taken.get() > key => {
                left.extend(segment.versions.keys().map(|version| (segment.name.clone(), *version)));
                continue;
            }
            Entry::Occupied(mut taken) => {
                let (_, older) = taken.insert(key);
                state.archives.remove(&older);
                let older = state.take(older);
                left.extend(older.iter().flat_map(|old| old.versions.keys().map(|v| (old.name.clone(), *v))));
            }
        }
        state.put(segment);
        state.archives.insert(id, Arc::new(archive));
    }
    Salvage { backup: Backup { taken, state }, left, there: BTreeSet::new() }
}

impl Salvage {
    /// A backup with what its cluster has archived since, and without what it has let go of meanwhile.
    ///
    /// Where manifests know newer versions of a segment, those of the backup that are not archived, and not pinned, are taken for
    /// let go: a newer one took their place. A name that the backup has for another segment stays that one's.
    pub fn over(self, stored: Backup) -> Backup {
        let mut state = stored.state;
        let newer = self.backup.state;
        for segment in newer.segments.values() {
            let mut merged = match state.segments.get(&segment.id) {
                Some(known) => Segment::clone(known),
                None if state.by_name(&segment.name).is_none() => {
                    Segment { versions: BTreeMap::new(), ..Segment::clone(segment) }
                }
                None => continue,
            };
            // A manifest may be damaged of which the backup knows the object.
            let known = state.archive(segment.id).into_iter().flat_map(|archive| &archive.objects);
            let mut archived: BTreeMap<Version, Object> = known
                .filter(|(_, object)| self.there.contains(&object.id))
                .map(|(v, object)| (*v, *object))
                .collect();
            archived.extend(newer.archive(segment.id).into_iter().flat_map(|archive| archive.objects.clone()));
            if segment.head > merged.head {
                merged.versions.retain(|version, record| archived.contains_key(version) || record.pinned);
                (merged.head, merged.modified) = (segment.head, segment.modified);
                (merged.keep, merged.labels) = (segment.keep, segment.labels.clone());
            }
            merged.epoch = merged.epoch.max(segment.epoch);
            for (version, record) in &segment.versions {
                merged.versions.entry(*version).or_insert_with(|| record.clone());
            }
            let policy = state.archive(segment.id).and_then(|archive| archive.policy);
            let policy = policy.or(newer.archive(segment.id).and_then(|archive| archive.policy));
            let mut archive = Archive { policy, objects: archived, ended: BTreeMap::new() };
            archive.retain(|version| merged.versions.contains_key(version));
            state.archives.insert(segment.id, Arc::new(archive));
            state.put(merged);
        }
        // Of what no manifest tells that counts which lies there.
        let untold = state.archives.keys().copied().filter(|id| !newer.segments.contains_key(id));
        for id in untold.collect::<Vec<SegmentId>>() {
            let mut archive = state.archive(id).cloned().unwrap_or_default();
            archive.objects.retain(|_, object| self.there.contains(&object.id));
            state.archives.insert(id, Arc::new(archive));
        }
        Backup { taken: stored.taken, state }
    }
}

fn segment_of(id: SegmentId, tier: TierId, versions: &BTreeMap<Version, Manifest>) -> Option<(Segment, Archive)> {
    let (head, newest) = versions.last_key_value()?;
    let epoch = versions.values().map(|manifest| manifest.epoch.max(manifest.segment_epoch)).max()?;
    let object = |manifest: &Manifest| Object {
        id: manifest.object,
        tier,
        cluster: manifest.cluster,
        published: true,
        state: CopyState::Durable,
    };
    let objects = versions.iter().map(|(version, manifest)| (*version, object(manifest))).collect();
    let record = |manifest: &Manifest| -> VersionRecord { manifest.record() };
    let segment = Segment {
        id,
        name: newest.name.clone(),
        kind: newest.kind,
        owner: None,
        epoch,
        head: *head,
        versions: versions.iter().map(|(version, manifest)| (*version, Arc::new(record(manifest)))).collect(),
        keep: newest.keep,
        labels: newest.labels.clone(),
        registered: (newest.request, LogTime(0), epoch),
        claimed: None,
        modified: WallTime(newest.created_ms),
        revision: 0,
    };
    Some((segment, Archive { policy: newest.archive, objects, ended: BTreeMap::new() }))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::archive::Policy;
    use crate::digest::Digest;
    use crate::id::{Incarnation, NodeId, RequestId};
    use crate::meta::apply::Position;
    use crate::meta::command::{Command, Entry, Stamp};
    use crate::meta::invariant::violations;
    use crate::node::{Profile, Role};
    use crate::segment::{Epoch, Kind};

    const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(1));
    const TIER: TierId = TierId(Uuid::from_u128(2));

    fn manifest(segment: u128, name: &str, version: u64) -> Manifest {
        Manifest {
            cluster: CLUSTER,
            segment: SegmentId(Uuid::from_u128(segment)),
            name: name.parse().unwrap(),
            kind: Kind::File,
            version: Version(version),
            epoch: Epoch(version),
            segment_epoch: Epoch(version),
            owner: NodeId(1),
            request: RequestId(Uuid::from_u128(version.into())),
            created_ms: 1000 * u64::try_from(segment).unwrap() + version,
            size: 10 * version,
            digest: Digest::of(&version.to_le_bytes()),
            object: CopyId(Uuid::from_u128(segment * 100 + u128::from(version))),
            replicas: 1,
            keep: u32::try_from(version).unwrap(),
            archive: Some(Policy::Always),
            labels: BTreeMap::from([("v".into(), version.to_string())]),
        }
    }

    #[test]
    fn another_cluster_begins_with_all_that_manifests_tell() {
        let stranger = Manifest { cluster: ClusterId(Uuid::nil()), ..manifest(9, "stranger", 1) };
        let all = [manifest(1, "a", 4), manifest(1, "a", 2), manifest(2, "b", 1), manifest(3, "a", 1), stranger];
        let Salvage { backup, left, .. } = salvage(CLUSTER, TIER, WallTime(5), all);
        // The name "a" was registered anew, and that one was committed to last.
        let mut left: Vec<_> = left.iter().map(|(name, version)| (name.as_str(), version.0)).collect();
        left.sort_unstable();
        assert_eq!(left, [("a", 2), ("a", 4)]);
        let mut new = State::default();
        let mut apply = |command| {
            let at = Position { term: 1, index: new.revision + 1 };
            new.apply(at, &Entry { stamp: Stamp::default(), at: WallTime(1), command }).unwrap();
            assert_eq!(violations(&new), Vec::<String>::new());
        };
        let profile = Profile {
            name: "n1".parse().unwrap(),
            role: Role::Executor,
            zone: String::new(),
            rpc: String::new(),
            data: String::new(),
            http: String::new(),
            capacity: 1,
        };
        apply(Command::Found {
            cluster: ClusterId(Uuid::from_u128(7)),
            incarnation: Incarnation(Uuid::nil()),
            profile,
        });
        backup.steps().unwrap().for_each(|step| apply(step.into()));
        let names: Vec<_> = new.names.keys().map(Name::as_str).collect();
        assert_eq!(names, ["a", "b"]);
        let segment = new.by_name(&"a".parse().unwrap()).unwrap();
        assert_eq!((segment.id.0.as_u128(), segment.head, segment.owner), (3, Version(1), None));
        assert!(segment.epoch.begins_generation());
        let object = new.object_of(segment.id, Version(1)).unwrap();
        assert_eq!((object.id.0.as_u128(), object.tier, object.cluster), (301, TIER, CLUSTER));
        assert_eq!(new.archive(segment.id).unwrap().policy, Some(Policy::Always));
    }

    #[test]
    fn a_backup_gets_what_was_archived_since_and_loses_what_was_let_go() {
        let objects = |state: &State, id: u128| -> Vec<u64> {
            let archive = state.archive(SegmentId(Uuid::from_u128(id))).unwrap();
            archive.objects.keys().map(|version| version.0).collect()
        };
        let of = |all: Vec<Manifest>| salvage(CLUSTER, TIER, WallTime(5), all);
        let mut stored =
            of(vec![manifest(1, "a", 1), manifest(1, "a", 2), manifest(2, "b", 1), manifest(4, "d", 1)]).backup;
        stored.state.revision = 70;
        // The first version of "a" is not kept any more; "c" is new; what another segment is called "b" is left out.
        let mut now = of(vec![manifest(1, "a", 2), manifest(1, "a", 3), manifest(3, "c", 1), manifest(5, "b", 9)]);
        now.there.insert(manifest(4, "d", 1).object);
        let merged = now.over(stored).state;
        assert_eq!(violations(&merged), Vec::<String>::new());
        assert_eq!((merged.revision, merged.names.len()), (70, 4));
        let segment = merged.by_name(&"a".parse().unwrap()).unwrap();
        let versions: Vec<u64> = segment.versions.keys().map(|version| version.0).collect();
        assert_eq!((segment.head, segment.epoch, versions), (Version(3), Epoch(3), vec![2, 3]));
        assert_eq!((objects(&merged, 1), objects(&merged, 3)), (vec![2, 3], vec![1]));
        // Known to the backup; of "d" the object lies there, whatever became of its manifest, and of "b" none: it may lie on a node.
        assert_eq!((objects(&merged, 2), objects(&merged, 4)), (vec![], vec![1]));
        assert_eq!(merged.by_name(&"b".parse().unwrap()).unwrap().id.0.as_u128(), 2);
    }

    #[test]
    fn a_segment_has_the_words_of_its_newest_version_and_the_epoch_of_all() {
        let all = [manifest(1, "a", 2), Manifest { segment_epoch: Epoch(9), ..manifest(1, "a", 1) }];
        let Salvage { backup, left, .. } = salvage(CLUSTER, TIER, WallTime(5), all);
        assert!(left.is_empty());
        let segment = backup.state.segments.values().next().unwrap();
        assert_eq!((segment.head, segment.epoch, segment.keep), (Version(2), Epoch(9), 2));
        assert_eq!(segment.labels["v"], "2");
        assert_eq!(backup.source().unwrap().revision, 0);
    }
}
