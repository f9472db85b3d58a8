//! Which copies are to be made again, and which are not needed.
//!
//! A version wants N + 1 good copies, the owner's among them, on nodes that stay (R9). One that lacks some gets one at a
//! time, the poorest first: from a node that has one, or else from the global tier. One that has them all lets go of what it does not need: lost copies, those on nodes that are
//! being emptied, one too many (R8).

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use imbl::OrdMap;

use crate::archive::Archive;
use crate::id::{CopyId, NodeId, SegmentId, TierId};
use crate::plan::place::{Candidate, Wish, place};
use crate::segment::{Copy, CopyState, Segment, Version, VersionRecord};

/// A member, as repair sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Whether it can take a copy.
    pub candidate: Candidate,
    /// Down for so long that its copies are not counted on any more.
    pub gone: bool,
    /// The global tier that it reaches.
    pub tier: Option<TierId>,
}

/// What a plan goes by, beside the state.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// The most steps of a plan, and the most stuck versions that it names.
    pub most: usize,
    /// Versions about which something is being done.
    pub busy: BTreeSet<(SegmentId, Version)>,
    /// Bytes that are on their way to nodes.
    pub arriving: BTreeMap<NodeId, u64>,
    /// Nodes that failed to take a copy, or to let it go, a while ago.
    pub failed: BTreeSet<(SegmentId, Version, NodeId)>,
    /// What segments have in the global tier.
    pub archives: OrdMap<SegmentId, Arc<Archive>>,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The most urgent steps, in their order; one a version.
    pub steps: Vec<Step>,
    /// Some of the versions for which nothing can be done now.
    pub stuck: Vec<Stuck>,
    /// How many versions lack copies, busy ones included.
    pub lacking: u64,
    /// Bytes of all copies that are lacking.
    pub bytes: u64,
}

/// A version, as a plan speaks of it. Ordered by urgency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Case {
    /// Good copies that are counted on.
    pub live: usize,
    /// How many are wanted.
    pub wanted: usize,
    /// Its segment.
    pub segment: SegmentId,
    /// Its number.
    pub version: Version,
    /// Bytes of one copy.
    pub size: u64,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Make a copy.
    Make {
        /// Of this version.
        of: Case,
        /// On this node.
        to: NodeId,
    },
    /// Let a copy go.
    Retire {
        /// Of this version.
        of: Case,
        /// The copy.
        copy: CopyId,
        /// Its holder.
        node: NodeId,
        /// Those that stay; each must be verified first (R8).
        stay: Vec<(NodeId, CopyId)>,
    },
}

impl Step {
    /// Which version it is about.
    pub fn case(&self) -> &Case {
        match self {
            Self::Make { of, .. } | Self::Retire { of, .. } => of,
        }
    }
}

/// A version that lacks copies and cannot get one now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stuck {
    /// The version.
    pub of: Case,
    /// Why.
    pub why: Why,
}

/// Why a version cannot get a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// No node that is up has a good copy, and none reaches one in the global tier.
    NoSource,
    /// No node is left that is up, stays, has room for it and has none yet.
    NoTarget,
}

/// The plan for these members and segments.
pub fn plan<'a>(sites: &[Site], segments: impl IntoIterator<Item = &'a Segment>, rule: &Rule) -> Plan {
    let mut planner = Planner::new(sites, rule);
    for segment in segments {
        for (version, record) in &segment.versions {
            planner.look(segment, *version, record);
        }
    }
    planner.finish()
}

struct Planner<'a> {
    rule: &'a Rule,
    sites: BTreeMap<NodeId, &'a Site>,
    /// With what the plan itself sends there.
    candidates: Vec<Candidate>,
    /// The least urgent of the chosen is on top.
    steps: BinaryHeap<Step>,
    stuck: BinaryHeap<Stuck>,
    lacking: u64,
    bytes: u64,
}

impl<'a> Planner<'a> {
    fn new(sites: &'a [Site], rule: &'a Rule) -> Self {
        let mut candidates: Vec<Candidate> = sites.iter().map(|site| site.candidate.clone()).collect();
        for candidate in &mut candidates {
            let arriving = rule.arriving.get(&candidate.node).copied().unwrap_or_default();
            candidate.bytes = candidate.bytes.saturating_add(arriving);
        }
        let sites = sites.iter().map(|site| (site.candidate.node, site)).collect();
        let (steps, stuck) = (BinaryHeap::new(), BinaryHeap::new());
        Self { rule, sites, candidates, steps, stuck, lacking: 0, bytes: 0 }
    }

    fn look(&mut self, segment: &Segment, version: Version, record: &VersionRecord) {
        let wanted = record.copies_wanted();
        let live = record.durable().filter(|copy| self.counts(copy.node)).count();
        let of = Case { live, wanted, segment: segment.id, version, size: record.size };
        if live < wanted {
            self.lacking += 1;
            let missing = u64::try_from(wanted - live).unwrap_or(u64::MAX);
            self.bytes = self.bytes.saturating_add(record.size.saturating_mul(missing));
        }
        if self.rule.busy.contains(&(segment.id, version)) {
            return;
        }
        if live < wanted {
            self.make(of, record);
        } else if let Some(step) = self.retire(of, segment, record) {
            self.take(step);
        }
    }

    /// Whether a copy there is counted on: the node stays, and is up, or was a moment ago.
    fn counts(&self, node: NodeId) -> bool {
        self.sites.get(&node).is_some_and(|site| !site.gone && !site.candidate.draining)
    }

    fn is_up(&self, node: NodeId) -> bool {
        self.sites.get(&node).is_some_and(|site| site.candidate.up)
    }

    fn stays(&self, node: NodeId) -> bool {
        self.sites.get(&node).is_some_and(|site| site.candidate.up && !site.candidate.draining)
    }

    fn make(&mut self, of: Case, record: &VersionRecord) {
        // Whoever is less urgent than all that were chosen is not looked at any closer.
        let full = self.steps.len() >= self.rule.most;
        if full && self.steps.peek().is_some_and(|last| matches!(last, Step::Make { .. }) && *last.case() <= of) {
            return;
        }
        let held = record.durable().any(|copy| self.is_up(copy.node));
        let tier = self.tier_of(&of).filter(|_| !held);
        if !held && tier.is_none() {
            return self.give_up(Stuck { of, why: Why::NoSource });
        }
        match self.target(of, record, tier) {
            Some(to) => {
                let taken = self.candidates.iter_mut().find(|candidate| candidate.node == to);
                taken.into_iter().for_each(|candidate| candidate.bytes = candidate.bytes.saturating_add(of.size));
                self.take(Step::Make { of, to });
            }
            None => self.give_up(Stuck { of, why: Why::NoTarget }),
        }
    }

    /// The tier that has a good object of the version, if a node that takes copies reaches it.
    fn tier_of(&self, of: &Case) -> Option<TierId> {
        let object = self.rule.archives.get(&of.segment)?.objects.get(&of.version)?;
        let reached = self.sites.values().any(|site| site.tier == Some(object.tier) && site.candidate.up);
        Some(object.tier).filter(|_| object.state == CopyState::Durable && reached)
    }

    /// A node that lost its copy takes the new one; else the one that a save would choose. Only one that reaches the tier, if
    /// that is where it comes from.
    fn target(&self, of: Case, record: &VersionRecord, tier: Option<TierId>) -> Option<NodeId> {
        let reaches = |node: &NodeId| tier.is_none() || self.sites.get(node).is_some_and(|site| site.tier == tier);
        let failed = |node: &NodeId| self.rule.failed.contains(&(of.segment, of.version, *node));
        let holders: BTreeSet<NodeId> = record.durable().map(|copy| copy.node).collect();
        let beside: BTreeSet<NodeId> = holders.iter().copied().filter(|node| self.counts(*node)).collect();
        let losers: BTreeSet<NodeId> = record.copies.iter().map(|copy| copy.node).collect();
        let all = || self.candidates.iter().map(|candidate| candidate.node);
        let out: BTreeSet<NodeId> =
            all().filter(|node| holders.contains(node) || failed(node) || !reaches(node)).collect();
        let elsewhere = all().filter(|node| !losers.contains(node));
        let tie = u64::from_le_bytes(last_bytes(of.segment)) ^ of.version.0;
        let wish = |without| Wish { owner: None, count: 1, size: of.size, without, beside: beside.clone(), tie };
        let again = place(&self.candidates, &wish(out.iter().copied().chain(elsewhere).collect()));
        again.into_iter().chain(place(&self.candidates, &wish(out))).next()
    }

    /// What goes of a version that has all it wants, if something does.
    fn retire(&self, of: Case, segment: &Segment, record: &VersionRecord) -> Option<Step> {
        let staying: Vec<&Copy> = record.durable().filter(|copy| self.stays(copy.node)).collect();
        // Those that are down for a moment are counted on, but cannot be verified now.
        if staying.len() < of.wanted {
            return None;
        }
        let lost = record.copies.iter().find(|copy| copy.state != CopyState::Durable);
        let leaving =
            || record.durable().find(|copy| self.sites.get(&copy.node).is_none_or(|s| s.candidate.draining));
        let goes = lost.or_else(leaving).or_else(|| self.surplus(of, segment, &staying))?;
        if self.rule.failed.contains(&(of.segment, of.version, goes.node)) {
            return None;
        }
        let stay = staying.iter().filter(|copy| copy.id != goes.id).map(|copy| (copy.node, copy.id)).collect();
        Some(Step::Retire { of, copy: goes.id, node: goes.node, stay })
    }

    /// One too many: never the owner's; in the zone with the most copies, on the fullest node.
    fn surplus<'c>(&self, of: Case, segment: &Segment, staying: &[&'c Copy]) -> Option<&'c Copy> {
        if staying.len() <= of.wanted {
            return None;
        }
        let candidate = |node: NodeId| self.sites.get(&node).map(|site| &site.candidate);
        let mut zones: BTreeMap<&str, usize> = BTreeMap::new();
        for site in staying.iter().filter_map(|copy| candidate(copy.node)) {
            *zones.entry(&site.zone).or_default() += 1;
        }
        let rank = |copy: &&&Copy| {
            let site = candidate(copy.node);
            let crowd = site.and_then(|site| zones.get(site.zone.as_str()).copied());
            (crowd, site.map(|site| u128::from(site.bytes) * 1000 / u128::from(site.capacity.max(1))), copy.id)
        };
        staying.iter().filter(|copy| segment.owner != Some(copy.node)).max_by_key(rank).copied()
    }

    fn take(&mut self, step: Step) {
        self.steps.push(step);
        if self.steps.len() > self.rule.most {
            self.steps.pop();
        }
    }

    fn give_up(&mut self, stuck: Stuck) {
        self.stuck.push(stuck);
        if self.stuck.len() > self.rule.most {
            self.stuck.pop();
        }
    }

    fn finish(self) -> Plan {
        let (steps, stuck) = (self.steps.into_sorted_vec(), self.stuck.into_sorted_vec());
        Plan { steps, stuck, lacking: self.lacking, bytes: self.bytes }
    }
}

/// Any eight bytes that differ from segment to segment: the last ones of a UUIDv7 are random.
fn last_bytes(segment: SegmentId) -> [u8; 8] {
    let [.., a, b, c, d, e, f, g, h] = segment.0.into_bytes();
    [a, b, c, d, e, f, g, h]
}

#[cfg(test)]
mod tests;
