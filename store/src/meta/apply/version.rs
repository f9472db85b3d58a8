//! Versions: commit, retention, removal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::id::SegmentId;
use crate::meta::apply::archive::Filing;
use crate::meta::command::{Commit, Outcome, Rejection, Reply, Request};
use crate::meta::state::State;
use crate::segment::{
    Copy, CopyState, KEEP_MAX, LABEL_BYTES_MAX, LABELS_MAX, REPLICAS_MAX, SIZE_MAX, Segment, Version, VersionRecord,
};
use crate::time::WallTime;

impl State {
    pub(super) fn commit(&mut self, request: &Request, commit: &Commit, filing: Filing, now: WallTime) -> Reply {
        let segment = self.segment(commit.segment)?;
        if let Some((version, record)) = segment.versions.iter().find(|(_, v)| v.request == request.id) {
            let (segment, version) = (commit.segment, *version);
            let (epoch, digest, size) = (record.epoch, record.digest, record.size);
            return Ok(Outcome::Committed { segment, version, epoch, digest, size });
        }
        self.check_executor(commit.owner)?;
        if segment.owner != Some(commit.owner) {
            return Err(Rejection::NotOwner { owner: segment.owner });
        }
        if segment.epoch != commit.epoch {
            return Err(Rejection::StaleEpoch { current: segment.epoch });
        }
        if segment.head != commit.after {
            return Err(Rejection::HeadMoved { head: segment.head });
        }
        let labels = merged_labels(segment, commit);
        check_bounds(commit, &labels)?;
        let copies = self.countable(commit);
        check_enough(commit, &copies)?;
        let filing = self.check_filing(commit.ack, filing)?;

        let mut segment = Segment::clone(segment);
        let version = segment.head.next();
        segment.head = version;
        segment.keep = commit.keep;
        segment.labels = labels;
        segment.modified = now;
        segment.revision = self.revision;
        let record = VersionRecord {
            size: commit.size,
            digest: commit.digest,
            created: now,
            epoch: commit.epoch,
            owner: commit.owner,
            request: request.id,
            wanted: commit.wanted,
            copies,
            ended: Vec::new(),
            pinned: false,
        };
        segment.versions.insert(version, Arc::new(record));
        retain(&mut segment);
        self.put(segment);
        self.file(commit.segment, version, filing);
        let Commit { segment, epoch, digest, size, .. } = *commit;
        Ok(Outcome::Committed { segment, version, epoch, digest, size })
    }

    /// Removes a version that [`check_removable`] let go.
    pub(super) fn remove_version(&mut self, id: SegmentId, version: Version) -> Reply {
        let mut segment = Segment::clone(self.segment(id)?);
        segment.versions.remove(&version);
        segment.revision = self.revision;
        self.put(segment);
        Ok(Outcome::Done)
    }

    /// The copies that count: open receipts of members, one a node (R1).
    fn countable(&self, commit: &Commit) -> Vec<Copy> {
        let (mut nodes, mut ids) = (BTreeSet::new(), BTreeSet::new());
        let counts = |receipt: &&crate::segment::Receipt| {
            receipt.until >= self.time
                && self.members.contains_key(&receipt.node)
                && !nodes.contains(&receipt.node)
                && ids.insert(receipt.copy)
                && nodes.insert(receipt.node)
        };
        let copy = |r: &crate::segment::Receipt| Copy { id: r.copy, node: r.node, state: CopyState::Durable };
        commit.receipts.iter().filter(counts).map(copy).collect()
    }
}

/// Whether the version is there and nothing holds it (R7).
pub(super) fn check_removable(segment: &Segment, version: Version) -> Result<(), Rejection> {
    let record = segment.versions.get(&version).ok_or(Rejection::NoSuchVersion(version))?;
    if record.pinned {
        return Err(Rejection::Pinned(version));
    }
    if version == segment.head || newest_whole(segment) == Some(version) {
        return Err(Rejection::Retained(version));
    }
    Ok(())
}

/// Whether the owner's own copy and enough others are there (R9).
fn check_enough(commit: &Commit, copies: &[Copy]) -> Result<(), Rejection> {
    let others = copies.iter().filter(|c| c.node != commit.owner).count();
    if others == copies.len() {
        return Err(Rejection::NoOwnCopy);
    }
    let (have, need) = (u8::try_from(others).unwrap_or(u8::MAX), commit.ack.needed(commit.wanted));
    if have < need { Err(Rejection::TooFewCopies { have, need }) } else { Ok(()) }
}

fn merged_labels(segment: &Segment, commit: &Commit) -> BTreeMap<String, String> {
    let mut labels = segment.labels.clone();
    labels.extend(commit.labels.clone());
    labels
}

fn check_bounds(commit: &Commit, labels: &BTreeMap<String, String>) -> Result<(), Rejection> {
    let wrong = if commit.size > SIZE_MAX {
        "the size"
    } else if !(1..=KEEP_MAX).contains(&commit.keep) {
        "the number of versions to keep"
    } else if commit.wanted > REPLICAS_MAX || commit.receipts.len() > usize::from(REPLICAS_MAX) + 1 {
        "the number of replicas"
    } else {
        return check_labels(labels);
    };
    Err(Rejection::OutOfBounds(wrong.into()))
}

pub(super) fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), Rejection> {
    let long = |text: &String| text.len() > LABEL_BYTES_MAX;
    if labels.len() > LABELS_MAX || labels.iter().any(|(key, value)| long(key) || long(value)) {
        return Err(Rejection::OutOfBounds("the labels".into()));
    }
    Ok(())
}

/// Drops what need not be kept: all but the newest K, the newest that has all its copies, and pins (R7).
pub(super) fn retain(segment: &mut Segment) {
    let best = fewest_missing(segment);
    let keep = usize::try_from(segment.keep).unwrap_or(usize::MAX);
    let newest: BTreeSet<Version> = segment.versions.keys().rev().take(keep).copied().collect();
    let kept = |version: &Version, record: &VersionRecord| {
        newest.contains(version) || Some(*version) == best || record.pinned
    };
    segment.versions.retain(|version, record| kept(version, record));
}

/// The newest version with as many durable copies as were wanted, the owner's included.
fn newest_whole(segment: &Segment) -> Option<Version> {
    let whole = |v: &VersionRecord| v.durable().count() >= v.copies_wanted();
    segment.versions.iter().rev().find(|(_, v)| whole(v)).map(|(version, _)| *version)
}

/// The newest of the versions that lack the fewest copies: the newest whole one, if there is one.
fn fewest_missing(segment: &Segment) -> Option<Version> {
    let missing = |v: &VersionRecord| v.copies_wanted().saturating_sub(v.durable().count());
    segment.versions.iter().rev().min_by_key(|(_, v)| missing(v)).map(|(version, _)| *version)
}
