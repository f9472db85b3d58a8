//! Pins: a pinned version is kept whatever comes after it (R7). Only the segment's own end takes it along.

use std::sync::Arc;

use crate::id::SegmentId;
use crate::meta::apply::version::retain;
use crate::meta::command::{Outcome, Rejection, Reply};
use crate::meta::state::State;
use crate::segment::{PINS_MAX, Segment, Version};

impl State {
    pub(super) fn pin(&mut self, id: SegmentId, version: Version) -> Reply {
        let segment = self.segment(id)?;
        let record = segment.versions.get(&version).ok_or(Rejection::NoSuchVersion(version))?;
        if record.pinned {
            return Ok(Outcome::Done);
        }
        if segment.versions.values().filter(|record| record.pinned).count() >= PINS_MAX {
            return Err(Rejection::TooManyPins(u32::try_from(PINS_MAX).unwrap_or(u32::MAX)));
        }
        let mut segment = Segment::clone(segment);
        segment.versions.entry(version).and_modify(|record| Arc::make_mut(record).pinned = true);
        segment.revision = self.revision;
        self.put(segment);
        Ok(Outcome::Done)
    }

    /// Ends the pin of this version, or of all. What only a pin held goes at once.
    pub(super) fn unpin(&mut self, id: SegmentId, only: Option<Version>) -> Reply {
        let segment = self.segment(id)?;
        if let Some(version) = only.filter(|version| !segment.versions.contains_key(version)) {
            return Err(Rejection::NoSuchVersion(version));
        }
        let mut segment = Segment::clone(segment);
        let meant = segment.versions.iter_mut().filter(|(version, _)| only.is_none_or(|only| only == **version));
        let pinned: Vec<_> = meant.map(|(_, record)| record).filter(|record| record.pinned).collect();
        if pinned.is_empty() {
            return Ok(Outcome::Done);
        }
        pinned.into_iter().for_each(|record| Arc::make_mut(record).pinned = false);
        retain(&mut segment);
        segment.revision = self.revision;
        self.put(segment);
        Ok(Outcome::Done)
    }
}
