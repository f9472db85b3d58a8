//! Questions about a state.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use crate::id::{CopyId, NodeId, SegmentId};
use crate::lease::Lease;
use crate::meta::state::{State, Usage};
use crate::name::Name;
use crate::node::{Member, NodeName};
use crate::segment::{CopyState, Segment, Standing, Version, VersionRecord};

impl State {
    /// The segment with this name.
    pub fn by_name(&self, name: &Name) -> Option<&Arc<Segment>> {
        self.names.get(name).and_then(|id| self.segments.get(id))
    }

    /// Segments whose names start with `prefix`, after `after`, in the order of their names.
    pub fn with_prefix<'a>(&'a self, prefix: &'a str, after: Option<&'a Name>) -> impl Iterator<Item = &'a Segment> {
        // Names sort as their texts do, so the first one with the prefix is found by a range, not by a scan.
        let start = match after {
            Some(after) if after.as_str() >= prefix => Bound::Excluded(after.as_str()),
            _ => Bound::Included(prefix),
        };
        self.names
            .range::<(Bound<&str>, Bound<&str>), str>((start, Bound::Unbounded))
            .take_while(move |(name, _)| name.as_str().starts_with(prefix))
            .filter_map(|(_, id)| self.segments.get(id))
            .map(Arc::as_ref)
    }

    /// The owner's lease on a segment, while it keeps others off (R5).
    pub fn lease(&self, segment: SegmentId) -> Option<&Lease> {
        self.leases.get(&segment).filter(|lease| lease.is_live(self.time))
    }

    /// The member with this name.
    pub fn node_named(&self, name: &NodeName) -> Option<&Arc<Member>> {
        self.members.values().find(|m| m.profile.name == *name)
    }

    /// What a member holds of what is referred to.
    pub fn usage_of(&self, node: NodeId) -> Usage {
        self.usage.get(&node).copied().unwrap_or_default()
    }

    /// The segments that a node owns. Looks at every segment.
    pub fn owned_by(&self, node: NodeId) -> impl Iterator<Item = &Segment> {
        self.segments.values().map(Arc::as_ref).filter(move |segment| segment.owner == Some(node))
    }

    /// Whether copies on this node count as safe: it is a member, up, and stays.
    pub fn stays(&self, node: NodeId) -> bool {
        self.members.get(&node).is_some_and(|m| m.up && !m.draining)
    }

    /// Whether a node has been down for so long, in log time, that it is not waited for.
    pub fn is_gone(&self, node: NodeId, after: Duration) -> bool {
        self.down.get(&node).is_some_and(|since| since.after(after) <= self.time)
    }

    /// How many durable copies are missing; 0 if the version is fully replicated.
    ///
    /// By R9: on nodes that are up and stay, the owner's not counted. And in all, wherever: an owner whose own copy was
    /// lost has fewer than were made.
    pub fn missing_copies(&self, segment: &Segment, version: &VersionRecord) -> usize {
        let (others, all) = (usize::from(version.wanted), version.copies_wanted());
        let safe = version.durable().filter(|c| self.stays(c.node));
        let missing = match segment.owner {
            Some(owner) => others.saturating_sub(safe.filter(|c| c.node != owner).count()),
            None => all.saturating_sub(safe.count()),
        };
        missing.max(all.saturating_sub(version.durable().count()))
    }

    /// Whether the newest version has too few copies.
    pub fn under_replicated(&self, segment: &Segment) -> bool {
        segment.versions.get(&segment.head).is_some_and(|version| self.missing_copies(segment, version) > 0)
    }

    /// The copies that versions list on a node, whatever their state. Looks at every segment.
    pub fn copies_on(&self, node: NodeId) -> BTreeSet<CopyId> {
        let versions = self.segments.values().flat_map(|segment| segment.versions.values());
        versions.flat_map(|version| &version.copies).filter(|c| c.node == node).map(|c| c.id).collect()
    }

    /// What this state says of a copy.
    pub fn standing(&self, segment: SegmentId, version: Version, copy: CopyId) -> Standing {
        let Some(segment) = self.segments.get(&segment) else {
            return if self.gone.contains_key(&segment) { Standing::Ended } else { Standing::Open };
        };
        match segment.versions.get(&version) {
            // Versions count without gaps and are never reused: at or below the head, it was retired.
            None if version <= segment.head => Standing::Ended,
            None => Standing::Open,
            Some(record) if record.ended.contains(&copy) => Standing::Ended,
            Some(record) => match record.copies.iter().find(|c| c.id == copy) {
                Some(found) if found.state == CopyState::Durable => Standing::Referenced,
                Some(_) => Standing::Lost,
                None => Standing::Open,
            },
        }
    }
}
