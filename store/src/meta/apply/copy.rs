//! Copies: confirm a new one, lose one, let one go.

use std::sync::Arc;

use crate::digest::Digest;
use crate::id::{CopyId, SegmentId};
use crate::meta::apply::version::retain;
use crate::meta::command::{Finding, Outcome, Rejection, Reply};
use crate::meta::state::{COPIES_MAX, ENDED_MAX, State};
use crate::segment::{Copy, CopyState, Receipt, Segment, Version, VersionRecord};

impl State {
    pub(super) fn confirm(&mut self, id: SegmentId, version: Version, digest: Digest, receipt: &Receipt) -> Reply {
        let segment = self.segment(id)?;
        let record = segment.versions.get(&version).ok_or(Rejection::NoSuchVersion(version))?;
        if record.digest != digest {
            return Err(Rejection::OtherBytes);
        }
        if let Some(copy) = record.copies.iter().find(|c| c.id == receipt.copy) {
            // The same word twice is fine; a copy that was lost stays lost.
            return if copy.state == CopyState::Durable { Ok(Outcome::Done) } else { Err(Rejection::CopySpent) };
        }
        if record.ended.contains(&receipt.copy) {
            return Err(Rejection::CopySpent);
        }
        if receipt.until < self.time {
            return Err(Rejection::ReceiptExpired);
        }
        self.member(receipt.node)?;
        if record.durable().any(|c| c.node == receipt.node) {
            return Err(Rejection::Redundant);
        }
        let others = record.copies.iter().filter(|c| c.node != receipt.node).count();
        if others >= COPIES_MAX || record.ended.len() >= ENDED_MAX {
            return Err(Rejection::TooManyCopies);
        }
        self.change_version(id, version, true, |record| {
            // A good copy takes the place of a lost one on the same node.
            let (replaced, kept) = record.copies.iter().partition::<Vec<Copy>, _>(|c| c.node == receipt.node);
            record.copies = kept;
            record.ended.extend(replaced.iter().map(|c| c.id));
            record.copies.push(Copy { id: receipt.copy, node: receipt.node, state: CopyState::Durable });
        })
    }

    pub(super) fn lose(&mut self, id: SegmentId, version: Version, copy: CopyId, finding: Finding) -> Reply {
        let segment = self.segment(id)?;
        let record = segment.versions.get(&version).ok_or(Rejection::NoSuchVersion(version))?;
        let state = match finding {
            Finding::Corrupt => CopyState::Corrupt,
            Finding::Missing => CopyState::Missing,
        };
        // A corrupt copy is put aside, and whoever looks for it then misses it: that is no news.
        let news = |c: &Copy| c.id == copy && c.state != state && c.state != CopyState::Corrupt;
        if !record.copies.iter().any(news) {
            return Ok(Outcome::Done);
        }
        self.change_version(id, version, false, |record| {
            record.copies.iter_mut().filter(|c| c.id == copy).for_each(|c| c.state = state);
        })
    }

    /// Ends a reference. Enough of the copies that stay must be good, on nodes that stay, whatever was known when it was
    /// planned (R8).
    pub(super) fn retire(&mut self, id: SegmentId, version: Version, copy: CopyId, stay: &[CopyId]) -> Reply {
        let segment = self.segment(id)?;
        let record = segment.versions.get(&version).ok_or(Rejection::NoSuchVersion(version))?;
        if !record.refers_to(copy) {
            return Ok(Outcome::Done);
        }
        let owners = |c: &Copy| c.id == copy && segment.owner == Some(c.node) && self.stays(c.node);
        if record.durable().any(owners) {
            return Err(Rejection::OwnersCopy);
        }
        let stays = |c: &&Copy| c.id != copy && stay.contains(&c.id) && self.stays(c.node);
        let (have, need) = (record.durable().filter(stays).count(), record.copies_wanted());
        if have < need {
            let count = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
            return Err(Rejection::TooFewStay { have: count(have), need: count(need) });
        }
        if record.ended.len() >= ENDED_MAX {
            return Err(Rejection::TooManyCopies);
        }
        self.change_version(id, version, false, |record| {
            record.copies.retain(|c| c.id != copy);
            record.ended.push(copy);
        })
    }

    /// Ends a reference on a node that is to be removed, whether or not other copies were made in its place.
    pub(super) fn abandon(&mut self, id: SegmentId, version: Version, copy: CopyId, force: bool) -> Reply {
        let record = self.segment(id)?.versions.get(&version).ok_or(Rejection::NoSuchVersion(version))?;
        let Some(goes) = record.copies.iter().find(|c| c.id == copy) else {
            return Ok(Outcome::Done);
        };
        let holder = self.member(goes.node)?;
        if !holder.draining {
            return Err(Rejection::NotDraining(goes.node));
        }
        let last = goes.state == CopyState::Durable && !record.durable().any(|c| self.stays(c.node));
        let lost_already = force && !holder.up;
        if last && !lost_already {
            return Err(Rejection::LastCopy(version));
        }
        self.change_version(id, version, false, |record| {
            record.copies.retain(|c| c.id != copy);
            // A version that remembers as many as it may takes no new copy anyway.
            if record.ended.len() < ENDED_MAX {
                record.ended.push(copy);
            }
        })
    }

    fn change_version(
        &mut self,
        id: SegmentId,
        version: Version,
        better: bool,
        change: impl FnOnce(&mut VersionRecord),
    ) -> Reply {
        let mut segment = Segment::clone(self.segment(id)?);
        let record = segment.versions.get_mut(&version).ok_or(Rejection::NoSuchVersion(version))?;
        change(Arc::make_mut(record));
        segment.revision = self.revision;
        // A version that became whole may let go of an older one; one that lost a copy lets go of nothing.
        if better {
            retain(&mut segment);
        }
        self.put(segment);
        Ok(Outcome::Done)
    }
}
