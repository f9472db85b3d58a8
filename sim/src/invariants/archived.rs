//! A and E, of the global tier: what the cluster counts on there lies there, with the bytes that it should have.

use bytes::Bytes;
use cairn_store::archive::key::{Part, Stem};
use cairn_store::archive::manifest::Manifest;
use cairn_store::archive::{Archive, Object};
use cairn_store::digest::{BlockTable, Digest};
use cairn_store::id::SegmentId;
use cairn_store::meta::State;
use cairn_store::segment::{CopyState, Segment, VersionRecord};

/// The objects that a state counts on in these archives of its own, and that are not all there: the bytes, the table of their
/// blocks, and what says that they are a version, once the state says so too. `read` tells what lies under a key. What somebody
/// harmed where it lay is excused, until the cluster knows of it.
pub fn violations<'a>(
    state: &State,
    archives: impl IntoIterator<Item = (SegmentId, &'a Archive)>,
    read: impl Fn(&str) -> Option<Bytes>,
    excused: impl Fn(&str) -> bool,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for filed in each(state, archives).filter(|filed| filed.object.state == CopyState::Durable) {
        for part in filed.parts() {
            let key = filed.stem.key(part).to_string();
            if excused(&key) {
                continue;
            }
            match read(&key).map(|bytes| filed.is_right(&bytes, part)) {
                Some(true) => {}
                Some(false) => wrong.push(format!("A: {} is not what it should be", filed.told(part))),
                None => wrong.push(format!("A: {} is not there", filed.told(part))),
            }
        }
    }
    wrong
}

/// The objects that a state takes for lost, though they lie there as they should, and nobody harmed them.
pub fn accused<'a>(
    state: &State,
    archives: impl IntoIterator<Item = (SegmentId, &'a Archive)>,
    read: impl Fn(&str) -> Option<Bytes>,
    harmed: impl Fn(&str) -> bool,
) -> Vec<String> {
    let is_good = |filed: &Filed<'_>| {
        filed.parts().all(|part| {
            let key = filed.stem.key(part).to_string();
            !harmed(&key) && read(&key).is_some_and(|bytes| filed.is_right(&bytes, part))
        })
    };
    let lost = each(state, archives).filter(|filed| filed.object.state != CopyState::Durable);
    let told = |filed: Filed<'_>| format!("E: {} is good, and is taken for lost", filed.told(Part::Bytes));
    lost.filter(is_good).map(told).collect()
}

/// A version's object, as a state knows it.
struct Filed<'a> {
    segment: &'a Segment,
    record: &'a VersionRecord,
    object: Object,
    stem: Stem,
}

fn each<'s, 'a>(
    state: &'s State,
    archives: impl IntoIterator<Item = (SegmentId, &'a Archive)>,
) -> impl Iterator<Item = Filed<'s>> {
    let mut all = Vec::new();
    for (id, archive) in archives {
        let Some(segment) = state.segments.get(&id) else { continue };
        for (version, object) in &archive.objects {
            let Some(record) = segment.versions.get(version) else { continue };
            let (version, digest) = (*version, record.digest);
            let stem = Stem { cluster: object.cluster, segment: id, version, digest, object: object.id };
            all.push(Filed { segment, record, object: *object, stem });
        }
    }
    all.into_iter()
}

impl Filed<'_> {
    /// What must lie there of it.
    fn parts(&self) -> impl Iterator<Item = Part> {
        let published = self.object.published;
        Part::ALL.into_iter().filter(move |part| published || *part != Part::Manifest)
    }

    fn is_right(&self, bytes: &[u8], part: Part) -> bool {
        let Self { segment, record, stem, .. } = self;
        match part {
            Part::Bytes => bytes.len() as u64 == record.size && Digest::of(bytes) == record.digest,
            Part::Table => BlockTable::checked(record.size, bytes, record.digest).is_ok(),
            Part::Manifest => Manifest::decode(bytes).is_ok_and(|said| {
                let same = (&said.name, said.size, said.epoch) == (&segment.name, record.size, record.epoch);
                said.stem() == *stem && same
            }),
        }
    }

    fn told(&self, part: Part) -> String {
        let part = match part {
            Part::Bytes => "the object",
            Part::Table => "the table",
            Part::Manifest => "the manifest",
        };
        format!("{part} of version {} of {} in the global tier", self.stem.version, self.segment.name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use cairn_store::digest::TableBuilder;
    use cairn_store::id::{ClusterId, CopyId, NodeId, RequestId, TierId};
    use cairn_store::segment::{Epoch, Kind, Version};
    use cairn_store::time::{LogTime, WallTime};
    use uuid::Uuid;

    use super::*;

    const BYTES: &[u8] = b"bytes";

    fn segment() -> Segment {
        let record = VersionRecord {
            size: BYTES.len() as u64,
            digest: Digest::of(BYTES),
            created: WallTime(0),
            epoch: Epoch(3),
            owner: NodeId(1),
            request: RequestId(Uuid::nil()),
            wanted: 0,
            copies: Vec::new(),
            ended: Vec::new(),
            pinned: false,
        };
        Segment {
            id: SegmentId(Uuid::from_u128(1)),
            name: "a".parse().unwrap(),
            kind: Kind::File,
            owner: None,
            epoch: Epoch(3),
            head: Version(1),
            versions: BTreeMap::from([(Version(1), Arc::new(record))]),
            keep: 1,
            labels: BTreeMap::new(),
            registered: (RequestId(Uuid::nil()), LogTime(0), Epoch(1)),
            claimed: None,
            modified: WallTime(0),
            revision: 1,
        }
    }

    #[test]
    fn each_part_that_counts_must_be_there_and_right() {
        let segment = segment();
        let record = segment.versions.get(&Version(1)).unwrap().clone();
        let (cluster, id) = (ClusterId(Uuid::from_u128(2)), CopyId(Uuid::from_u128(3)));
        let stem = Stem { cluster, segment: segment.id, version: Version(1), digest: record.digest, object: id };
        let mut table = TableBuilder::new(BYTES.len() as u64);
        table.push(BYTES);
        let table = table.finish().unwrap();
        let manifest = Manifest::of(&segment, Version(1), &record, &stem, None).encode().unwrap();
        let parts: [(Part, Vec<u8>); 3] =
            [(Part::Bytes, BYTES.to_vec()), (Part::Table, table.as_bytes().to_vec()), (Part::Manifest, manifest)];
        let all: BTreeMap<String, Bytes> =
            parts.into_iter().map(|(part, bytes)| (stem.key(part).to_string(), Bytes::from(bytes))).collect();
        let mut state = State::default();
        state.segments.insert(segment.id, Arc::new(segment.clone()));
        let filed = |published: bool, good: CopyState| {
            let object = Object { id, tier: TierId(Uuid::from_u128(4)), cluster, published, state: good };
            Archive { objects: BTreeMap::from([(Version(1), object)]), ..Archive::default() }
        };
        let judge = |there: &BTreeMap<String, Bytes>, published: bool, good: CopyState, excused: bool| {
            let archive = filed(published, good);
            violations(&state, [(segment.id, &archive)], |key| there.get(key).cloned(), |_| excused).len()
        };
        let acquit = |there: &BTreeMap<String, Bytes>, harmed: bool| {
            let archive = filed(true, CopyState::Missing);
            accused(&state, [(segment.id, &archive)], |key| there.get(key).cloned(), |_| harmed).len()
        };
        assert_eq!((acquit(&all, false), acquit(&all, true), acquit(&BTreeMap::new(), false)), (1, 0, 0));
        assert_eq!(judge(&all, true, CopyState::Durable, false), 0);
        for key in all.keys() {
            let mut less = all.clone();
            less.remove(key);
            let counts = usize::from(*key != stem.key(Part::Manifest).to_string());
            assert_eq!(judge(&less, true, CopyState::Durable, false), 1, "{key}");
            assert_eq!(judge(&less, false, CopyState::Durable, false), counts, "{key} before it is published");
            let mut other = all.clone();
            other.insert(key.clone(), Bytes::from_static(b"other"));
            assert_eq!(judge(&other, true, CopyState::Durable, false), 1, "{key}");
            assert_eq!(judge(&other, true, CopyState::Durable, true), 0);
            assert_eq!(judge(&other, true, CopyState::Corrupt, false), 0, "nobody counts on it");
        }
        assert_eq!(judge(&BTreeMap::new(), true, CopyState::Durable, false), 3);
    }
}
