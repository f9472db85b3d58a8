//! Questions about a state.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use crate::archive::{Archive, Object};
use crate::id::{CopyId, NodeId, SegmentId, TierId};
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

    /// The tier that the cluster uses: the one that the most members have, reached now or not.
    pub fn tier(&self) -> Option<TierId> {
        let mut reached: BTreeMap<TierId, usize> = BTreeMap::new();
        self.tiers.values().filter_map(|reach| reach.known()).for_each(|tier| *reached.entry(tier).or_default() += 1);
        // Of equals the first.
        reached.into_iter().rev().max_by_key(|(_, members)| *members).map(|(tier, _)| tier)
    }

    /// What a segment has in the global tier.
    pub fn archive(&self, segment: SegmentId) -> Option<&Archive> {
        self.archives.get(&segment).map(Arc::as_ref)
    }

    /// A version's object in the global tier, whatever its state.
    pub fn object_of(&self, segment: SegmentId, version: Version) -> Option<&Object> {
        self.archive(segment)?.objects.get(&version)
    }

    /// Whether a version can be had from the global tier.
    pub fn is_archived(&self, segment: SegmentId, version: Version) -> bool {
        let reached = |tier| self.tiers.values().any(|reach| reach.tier() == Some(tier));
        self.object_of(segment, version).is_some_and(|o| o.state == CopyState::Durable && reached(o.tier))
    }

    /// What this state says of an object in the global tier: by the same rule as of a copy.
    pub fn object_standing(&self, segment: SegmentId, version: Version, object: CopyId) -> Standing {
        let Some(found) = self.segments.get(&segment) else {
            return if self.gone.contains_key(&segment) { Standing::Ended } else { Standing::Open };
        };
        if !found.versions.contains_key(&version) {
            return if version <= found.head { Standing::Ended } else { Standing::Open };
        }
        let archive = self.archive(segment);
        match archive.and_then(|archive| archive.objects.get(&version)).filter(|known| known.id == object) {
            Some(known) if known.state == CopyState::Durable => Standing::Referenced,
            Some(_) => Standing::Lost,
            None if archive.is_some_and(|archive| archive.has_ended(version, object)) => Standing::Ended,
            None => Standing::Open,
        }
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
