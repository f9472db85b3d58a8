//! What the cluster knows.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use crate::archive::{Archive, Reach};
use crate::id::{ClusterId, Incarnation, NodeId, RequestId, SegmentId};
use crate::lease::Lease;
use crate::meta::command::{Reply, Source};
use crate::name::Name;
use crate::node::Member;
use crate::segment::{Epoch, Segment, Version};
use crate::time::LogTime;

/// How long after its receipt a copy may still become referenced, in log time (R1).
pub const COMMIT_WINDOW: Duration = Duration::from_secs(3600);
/// How long a name may be registered without a version, in log time (R2).
pub const REGISTRATION_TTL: Duration = Duration::from_secs(3600);
/// The furthest that a request's time may lie ahead (R6).
pub const REQUEST_WINDOW_MAX: Duration = Duration::from_secs(3600);
/// The most requests whose answers are kept (R6): 30 s at 17,000 a second.
pub const REQUESTS_MAX: usize = 1 << 19;
/// The most members.
pub const NODES_MAX: u32 = 1024;
/// The most removed members that are remembered; the lowest ids are forgotten first.
pub const REMOVED_MAX: usize = 1 << 16;
/// The most copies that a version lists.
pub const COPIES_MAX: usize = 64;
/// The most ended copies that a version remembers; no new copy is taken after that.
pub const ENDED_MAX: usize = 1024;
/// The most clusters that one can have before it.
pub const ANCESTORS_MAX: usize = 256;

/// The replicated state. Cheap to clone: the maps share their structure.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// The cluster; none before it is founded.
    pub cluster: Option<ClusterId>,
    /// Log time (R4).
    pub time: LogTime,
    /// The index of the last applied entry.
    pub revision: u64,
    /// The id that the next member gets. Ids are never reused.
    pub next_node: u64,
    /// The members.
    pub members: OrdMap<NodeId, Arc<Member>>,
    /// Since when, in log time, each member has been down that is down.
    pub down: OrdMap<NodeId, LogTime>,
    /// Where the cluster comes from, if it began with what another one knew (R12).
    pub origin: Option<Arc<Origin>>,
    /// Members that were removed: no such life of a node ever joins again (R14).
    pub removed: OrdMap<NodeId, Incarnation>,
    /// The registered segments.
    pub segments: OrdMap<SegmentId, Arc<Segment>>,
    /// The owners' leases; one whose time is over keeps nobody off, and stays until it is told (R5).
    pub leases: OrdMap<SegmentId, Lease>,
    /// What each segment has in the global tier, and is to have; nothing of one for which nobody has asked, and that has nothing.
    pub archives: OrdMap<SegmentId, Arc<Archive>>,
    /// What members say of the global tier that have one.
    pub tiers: OrdMap<NodeId, Reach>,
    /// Their names.
    pub names: OrdMap<Name, SegmentId>,
    /// The last epochs of names that are free again.
    pub epochs: OrdMap<Name, Epoch>,
    /// Segments that were unregistered, until no receipt for them can be open any more: their copies can go at once.
    pub gone: OrdMap<SegmentId, LogTime>,
    /// Answers to clients' requests, until their time is over.
    pub answers: OrdMap<RequestId, Arc<Answer>>,
    /// What each member holds of what is referred to. Derived from `segments`.
    pub usage: OrdMap<NodeId, Usage>,
    /// Registrations without a version, by time. Derived from `segments`.
    pub open: OrdSet<(LogTime, SegmentId)>,
    /// The times at which `gone` and `answers` are forgotten. Derived from both.
    pub(super) forgettable: OrdSet<(LogTime, Forgettable)>,
}

/// Where a cluster comes from that began with what another one knew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The state it began with.
    pub source: Source,
    /// That cluster, and those before it. Nodes of theirs may join with what they hold. A copy of any cluster is taken over if
    /// its segment, version and digest match.
    pub ancestors: BTreeSet<ClusterId>,
    /// All its own epochs are above this one.
    pub floor: Epoch,
    /// Since when, in log time.
    pub since: LogTime,
    /// How far it is.
    pub phase: Phase,
}

/// How far a cluster has come that began with what another one knew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    /// Segments are being taken over. No client's command is applied meanwhile.
    Loading,
    /// Nodes look for copies that they brought along. Nothing is deleted or repaired meanwhile.
    Adopting,
    /// The operator ended it.
    Over,
}

/// What a state forgets in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Forgettable {
    Answer(RequestId),
    Gone(SegmentId),
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Until when it is kept.
    pub until: LogTime,
    /// What was asked, in short: the same id with another request is refused.
    pub fingerprint: u64,
    /// What was answered, refusals too.
    pub reply: Reply,
}

/// What a member holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Copies, whatever their state.
    pub copies: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl State {
    /// Replaces a segment, and everything that is derived from it.
    pub(super) fn put(&mut self, segment: Segment) {
        // A change of owner leaves the rest as it is, and no new paths are made in maps that others share.
        let derives_the_same = |before: &Arc<Segment>| {
            before.name == segment.name
                && before.registered.1 == segment.registered.1
                && before.versions == segment.versions
        };
        if !self.segments.get(&segment.id).is_some_and(derives_the_same) {
            self.take(segment.id);
            self.derive(&segment);
            self.forget_objects(&segment);
        }
        self.segments.insert(segment.id, Arc::new(segment));
    }

    /// What a version has in the tier goes with it: nothing refers to it any more.
    fn forget_objects(&mut self, segment: &Segment) {
        let Some(archive) = self.archives.get(&segment.id) else { return };
        let is_kept = |version: &Version| segment.versions.contains_key(version);
        if !archive.objects.keys().chain(archive.ended.keys()).all(is_kept) {
            let mut archive = Archive::clone(archive);
            archive.retain(is_kept);
            self.archives.insert(segment.id, Arc::new(archive));
        }
    }

    fn derive(&mut self, segment: &Segment) {
        self.names.insert(segment.name.clone(), segment.id);
        if segment.versions.is_empty() {
            self.open.insert((segment.registered.1, segment.id));
        }
        self.count(segment, |usage, bytes| {
            // What was applied is within bounds; a snapshot can say anything.
            usage.copies = usage.copies.saturating_add(1);
            usage.bytes = usage.bytes.saturating_add(bytes);
        });
    }

    /// Takes a segment out, with everything that is derived from it.
    pub(super) fn take(&mut self, id: SegmentId) -> Option<Arc<Segment>> {
        let segment = self.segments.remove(&id)?;
        self.names.remove(&segment.name);
        self.open.remove(&(segment.registered.1, id));
        self.count(&segment, |usage, bytes| {
            usage.copies = usage.copies.saturating_sub(1);
            usage.bytes = usage.bytes.saturating_sub(bytes);
        });
        Some(segment)
    }

    pub(super) fn remember_answer(&mut self, id: RequestId, answer: Answer) {
        self.forgettable.insert((answer.until, Forgettable::Answer(id)));
        self.answers.insert(id, Arc::new(answer));
    }

    pub(super) fn remember_gone(&mut self, id: SegmentId, until: LogTime) {
        self.forgettable.insert((until, Forgettable::Gone(id)));
        self.gone.insert(id, until);
    }

    /// Version 1 of a snapshot does not say since when members are down: it counts from then.
    pub(super) fn count_down_from_now(&mut self) {
        let down = self.members.values().filter(|member| !member.up).map(|member| member.id);
        for id in down.filter(|id| !self.down.contains_key(id)).collect::<Vec<_>>() {
            self.down.insert(id, self.time);
        }
    }

    /// Forgets what is over at the present log time.
    pub(super) fn forget(&mut self) {
        while let Some((until, what)) = self.forgettable.get_min().copied() {
            if until >= self.time {
                break;
            }
            self.forgettable.remove(&(until, what));
            match what {
                Forgettable::Answer(id) => drop(self.answers.remove(&id)),
                Forgettable::Gone(id) => drop(self.gone.remove(&id)),
            }
        }
    }

    fn count(&mut self, segment: &Segment, change: impl Fn(&mut Usage, u64)) {
        for version in segment.versions.values() {
            for copy in &version.copies {
                let mut usage = self.usage.get(&copy.node).copied().unwrap_or_default();
                change(&mut usage, version.size);
                if usage == Usage::default() {
                    self.usage.remove(&copy.node);
                } else {
                    self.usage.insert(copy.node, usage);
                }
            }
        }
    }
}
