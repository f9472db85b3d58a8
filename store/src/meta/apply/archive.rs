//! The global tier: who reaches it, what lies there, what was found of it.

use std::sync::Arc;

use crate::archive::{Archive, Object, ObjectReceipt, Policy, Reach};
use crate::digest::Digest;
use crate::id::{CopyId, Incarnation, NodeId, SegmentId};
use crate::meta::command::{Finding, Outcome, Rejection, Reply, Source};
use crate::meta::state::{ENDED_MAX, Phase, State};
use crate::segment::{Ack, CopyState, Version};

/// What a save says of the global tier.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Filing {
    /// Which versions go there from now on; none: as before.
    pub(super) policy: Option<Policy>,
    /// Where the new version's bytes lie already.
    pub(super) object: Option<ObjectReceipt>,
}

impl State {
    pub(super) fn reach(&mut self, node: NodeId, incarnation: Incarnation, reach: Option<Reach>) -> Reply {
        if self.member(node)?.incarnation != incarnation {
            return Err(Rejection::NoSuchNode(node));
        }
        match reach {
            Some(reach) => drop(self.tiers.insert(node, reach)),
            None => drop(self.tiers.remove(&node)),
        }
        Ok(Outcome::Done)
    }

    /// What of it counts: a word that is open. An acknowledgement that waits for the tier needs one.
    pub(super) fn check_filing(&self, ack: Ack, filing: Filing) -> Result<Filing, Rejection> {
        if !filing.policy.is_none_or(Policy::is_sound) {
            return Err(Rejection::OutOfBounds("which versions go into the global tier".into()));
        }
        let object = filing.object.filter(|receipt| receipt.until >= self.time);
        if ack == Ack::Global && object.is_none() {
            return Err(Rejection::NoObject);
        }
        Ok(Filing { object, ..filing })
    }

    /// Notes what a save said, of a version that is committed by now.
    pub(super) fn file(&mut self, id: SegmentId, version: Version, filing: Filing) {
        let Filing { policy, object } = filing;
        let object = object.and_then(|receipt| self.object(&receipt, false));
        if policy.is_none() && object.is_none() {
            return;
        }
        self.change_archive(id, |archive| {
            archive.policy = policy.or(archive.policy);
            archive.objects.extend(object.map(|object| (version, object)));
        });
    }

    /// A version lies in the tier, and the tier says so.
    pub(super) fn deposited(
        &mut self,
        id: SegmentId,
        version: Version,
        digest: Digest,
        receipt: &ObjectReceipt,
    ) -> Reply {
        let record = self.segment(id)?.versions.get(&version).ok_or(Rejection::NoSuchVersion(version))?;
        if record.digest != digest {
            return Err(Rejection::OtherBytes);
        }
        let new = self.object(receipt, true).ok_or(Rejection::NotFounded)?;
        let archive = self.archives.get(&id);
        let known = archive.and_then(|archive| archive.objects.get(&version)).copied();
        if let Some(known) = known.filter(|known| known.id == new.id) {
            // The same word twice is fine; what was lost stays lost.
            if known.state != CopyState::Durable {
                return Err(Rejection::CopySpent);
            }
            if !known.published {
                self.change_archive(id, |archive| {
                    archive.objects.entry(version).and_modify(|object| object.published = true);
                });
            }
            return Ok(Outcome::Done);
        }
        if archive.is_some_and(|archive| archive.has_ended(version, new.id)) {
            return Err(Rejection::CopySpent);
        }
        if receipt.until < self.time {
            return Err(Rejection::ReceiptExpired);
        }
        let same_place = |known: &Object| (known.tier, known.cluster) == (new.tier, new.cluster);
        if known.is_some_and(|known| known.state == CopyState::Durable && same_place(&known)) {
            return Err(Rejection::Archived);
        }
        let ended = archive.and_then(|archive| archive.ended.get(&version)).map_or(0, Vec::len);
        if ended >= ENDED_MAX {
            return Err(Rejection::TooManyCopies);
        }
        self.change_archive(id, |archive| {
            if let Some(old) = archive.objects.insert(version, new) {
                archive.ended.entry(version).or_default().push(old.id);
            }
        });
        Ok(Outcome::Done)
    }

    /// An object was found damaged, or not at all. It is referred to until another one takes its place.
    pub(super) fn lose_object(&mut self, id: SegmentId, version: Version, object: CopyId, finding: Finding) -> Reply {
        self.segment(id)?.versions.get(&version).ok_or(Rejection::NoSuchVersion(version))?;
        let state = match finding {
            Finding::Corrupt => CopyState::Corrupt,
            Finding::Missing => CopyState::Missing,
        };
        let known = self.archives.get(&id).and_then(|archive| archive.objects.get(&version));
        if known.is_none_or(|known| known.id != object || known.state == state) {
            return Ok(Outcome::Done);
        }
        self.change_archive(id, |archive| {
            archive.objects.entry(version).and_modify(|object| object.state = state);
        });
        Ok(Outcome::Done)
    }

    /// What another cluster had in the tier, of segments that were taken over (R12).
    pub(super) fn refile(&mut self, source: Source, archives: &[(SegmentId, Archive)]) -> Reply {
        if self.origin_of(source)?.phase != Phase::Loading {
            // A step that was sent twice.
            return Ok(Outcome::Done);
        }
        for (id, archive) in archives {
            if !archive.policy.is_none_or(Policy::is_sound) || !archive.ended.is_empty() {
                return Err(Rejection::OutOfBounds("what a segment has in the global tier".into()));
            }
            // What was taken over may have been removed again.
            let Some(segment) = self.segments.get(id) else { continue };
            let mut archive = archive.clone();
            archive.retain(|version| segment.versions.contains_key(version));
            self.archives.insert(*id, Arc::new(archive));
        }
        Ok(Outcome::Done)
    }

    fn object(&self, receipt: &ObjectReceipt, published: bool) -> Option<Object> {
        let ObjectReceipt { object: id, tier, .. } = *receipt;
        Some(Object { id, tier, cluster: self.cluster?, published, state: CopyState::Durable })
    }

    fn change_archive(&mut self, id: SegmentId, change: impl FnOnce(&mut Archive)) {
        let mut archive = self.archives.get(&id).map(|archive| Archive::clone(archive)).unwrap_or_default();
        change(&mut archive);
        self.archives.insert(id, Arc::new(archive));
    }
}
