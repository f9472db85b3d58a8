//! A cluster that begins with what another one knew (R12): its segments come without owners and copies, and their epochs
//! are above all that were given there.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::id::ClusterId;
use crate::meta::apply::version::check_labels;
use crate::meta::command::{Outcome, Rejection, Reply, Source};
use crate::meta::state::{ANCESTORS_MAX, Origin, Phase, State};
use crate::segment::{Epoch, KEEP_MAX, PINS_MAX, REPLICAS_MAX, SIZE_MAX, Segment, Version, VersionRecord};

/// The most versions of a segment that is taken over: those that it keeps, the newest whole one, and pins.
const VERSIONS_MAX: usize = KEEP_MAX as usize + PINS_MAX + 1;

impl State {
    /// How far the cluster has come, if it began with what another one knew.
    pub fn phase(&self) -> Option<Phase> {
        self.origin.as_ref().map(|origin| origin.phase)
    }

    /// Whether copies may lie on nodes that this state does not know of yet: nothing is deleted or repaired then.
    pub fn is_recovering(&self) -> bool {
        self.phase().is_some_and(|phase| phase != Phase::Over)
    }

    pub(super) fn restore(&mut self, source: Source, ancestors: &[ClusterId], floor: Epoch) -> Reply {
        if let Some(origin) = &self.origin {
            return if origin.source == source {
                Ok(Outcome::Done)
            } else {
                Err(Rejection::OtherSource(origin.source))
            };
        }
        if !self.segments.is_empty() {
            return Err(Rejection::HasSegments);
        }
        if Some(source.cluster) == self.cluster {
            return Err(Rejection::OutOfBounds("a state of this very cluster".into()));
        }
        if !floor.begins_generation() {
            return Err(Rejection::OutOfBounds("the first epoch".into()));
        }
        let ancestors: BTreeSet<ClusterId> = ancestors.iter().copied().chain([source.cluster]).collect();
        if ancestors.len() > ANCESTORS_MAX {
            return Err(Rejection::OutOfBounds("the number of ancestors".into()));
        }
        let (since, phase) = (self.time, Phase::Loading);
        self.origin = Some(Arc::new(Origin { source, ancestors, floor, since, phase }));
        Ok(Outcome::Done)
    }

    pub(super) fn readmit(&mut self, source: Source, segments: &[Segment]) -> Reply {
        let origin = self.origin_of(source)?;
        if origin.phase != Phase::Loading {
            // A step that was sent twice.
            return Ok(Outcome::Done);
        }
        // What came before may have been removed again.
        let is_new =
            |segment: &&Segment| !self.segments.contains_key(&segment.id) && !self.gone.contains_key(&segment.id);
        let new: Vec<&Segment> = segments.iter().filter(is_new).collect();
        let mut names = BTreeSet::new();
        for segment in &new {
            self.check_readmitted(segment, origin.floor)?;
            if self.names.contains_key(&segment.name) || !names.insert(&segment.name) {
                return Err(Rejection::NameTaken { owner: None });
            }
        }
        let floor = origin.floor;
        for segment in new {
            self.epochs.remove(&segment.name);
            self.put(Segment { epoch: floor, revision: self.revision, ..segment.without_holders() });
        }
        Ok(Outcome::Done)
    }

    pub(super) fn restored(&mut self, source: Source) -> Reply {
        self.origin_of(source)?;
        self.advance(Phase::Adopting)
    }

    pub(super) fn resume(&mut self) -> Reply {
        match self.phase() {
            None => Err(Rejection::NotRecovering),
            Some(Phase::Loading) => Err(Rejection::Restoring),
            Some(Phase::Adopting | Phase::Over) => self.advance(Phase::Over),
        }
    }

    pub(super) fn origin_of(&self, source: Source) -> Result<&Origin, Rejection> {
        let origin = self.origin.as_ref().ok_or(Rejection::NotRecovering)?;
        if origin.source == source { Ok(origin) } else { Err(Rejection::OtherSource(origin.source)) }
    }

    /// Phases only follow one another.
    fn advance(&mut self, phase: Phase) -> Reply {
        if let Some(origin) = &self.origin
            && origin.phase < phase
        {
            self.origin = Some(Arc::new(Origin { phase, ..Origin::clone(origin) }));
        }
        Ok(Outcome::Done)
    }

    /// What is taken over comes from a file: nothing is believed of it that this state must hold.
    fn check_readmitted(&self, segment: &Segment, floor: Epoch) -> Result<(), Rejection> {
        let Segment { versions, head, .. } = segment;
        let sound = |(version, record): (&Version, &Arc<VersionRecord>)| {
            *version != Version::NONE
                && record.size <= SIZE_MAX
                && record.wanted <= REPLICAS_MAX
                && record.epoch <= segment.epoch
        };
        let wrong = if versions.is_empty() || versions.keys().next_back() != Some(head) {
            "the head of a segment"
        } else if versions.len() > VERSIONS_MAX || !(1..=KEEP_MAX).contains(&segment.keep) {
            "the number of versions to keep"
        } else if !versions.iter().all(sound) || versions.values().filter(|record| record.pinned).count() > PINS_MAX {
            "a version"
        } else if segment.epoch >= floor {
            "the epoch of a segment"
        } else {
            return check_labels(&segment.labels);
        };
        Err(Rejection::OutOfBounds(format!("{wrong} ({})", segment.name)))
    }
}
