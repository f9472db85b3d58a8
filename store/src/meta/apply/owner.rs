//! Names and their owners: register, claim, renew, release, unregister, expire, lapse.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::id::{NodeId, SegmentId};
use crate::lease::{LEASE_MAX, LEASE_MIN, Lease};
use crate::meta::apply::version::check_removable;
use crate::meta::command::{Outcome, Rejection, Reply, Request, Scope};
use crate::meta::state::{COMMIT_WINDOW, REGISTRATION_TTL, State};
use crate::name::Name;
use crate::node::Role;
use crate::segment::{Epoch, Kind, Segment, Version};
use crate::time::WallTime;

/// What a claimant saw (R3).
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) segment: SegmentId,
    pub(super) epoch: Epoch,
    pub(super) head: Version,
}

impl State {
    pub(super) fn register(
        &mut self,
        request: &Request,
        name: &Name,
        id: SegmentId,
        owner: NodeId,
        kind: Kind,
        now: WallTime,
    ) -> Reply {
        if let Some(segment) = self.by_name(name) {
            if segment.registered.0 != request.id {
                return Err(Rejection::NameTaken { owner: segment.owner });
            }
            // A retry that comes after its answer was forgotten still gets its own success; and a first save that
            // lasts says so by it that it still goes on: the registration's time begins anew.
            let (id, epoch) = (segment.id, segment.registered.2);
            if segment.versions.is_empty() {
                let mut segment = Segment::clone(segment);
                segment.registered.1 = self.time;
                self.put(segment);
            }
            return Ok(Outcome::Registered { segment: id, epoch });
        }
        self.check_heir(owner)?;
        // An id that was used before would take the place of that segment, or of one whose copies are being deleted.
        if self.segments.contains_key(&id) || self.gone.contains_key(&id) {
            return Err(Rejection::OutOfBounds("the segment's id".into()));
        }
        let floor = self.origin.as_ref().map(|origin| origin.floor);
        let epoch = self.epochs.get(name).copied().max(floor).unwrap_or_default().next();
        self.epochs.remove(name);
        self.put(Segment {
            id,
            name: name.clone(),
            kind,
            owner: Some(owner),
            epoch,
            head: Version::NONE,
            versions: BTreeMap::new(),
            keep: 1,
            labels: BTreeMap::new(),
            registered: (request.id, self.time, epoch),
            claimed: None,
            modified: now,
            revision: self.revision,
        });
        Ok(Outcome::Registered { segment: id, epoch })
    }

    pub(super) fn claim(
        &mut self,
        request: &Request,
        seen: Seen,
        node: NodeId,
        lease: Option<Duration>,
        now: WallTime,
    ) -> Reply {
        let Seen { segment: id, epoch, head } = seen;
        let segment = self.segment(id)?;
        if let Some((by, head)) = segment.claimed
            && by == request.id
            && segment.owner == Some(node)
        {
            return Ok(Outcome::Claimed { epoch: segment.epoch, head });
        }
        self.check_heir(node)?;
        if lease.is_some_and(|span| !(LEASE_MIN..=LEASE_MAX).contains(&span)) {
            return Err(Rejection::OutOfBounds("the lease".into()));
        }
        if segment.epoch != epoch {
            return Err(Rejection::StaleEpoch { current: segment.epoch });
        }
        if segment.owner != Some(node) {
            self.check_unleased(segment)?;
        }
        // An update that was acknowledged after the load would be lost (R3).
        if segment.head != head {
            return Err(Rejection::HeadMoved { head: segment.head });
        }
        // What the owner has is never cut short but by a release.
        let held = self.lease(id).copied();
        let lease = match (lease.map(|span| Lease::given(self.time, span)), held) {
            (Some(new), Some(old)) => Some(Lease { until: new.until.max(old.until), ..new }),
            (new, old) => new.or(old),
        };
        let mut segment = Segment::clone(segment);
        segment.owner = Some(node);
        segment.epoch = epoch.next();
        segment.claimed = Some((request.id, head));
        segment.modified = now;
        segment.revision = self.revision;
        let epoch = segment.epoch;
        self.put(segment);
        match lease {
            Some(lease) => drop(self.leases.insert(id, lease)),
            None => drop(self.leases.remove(&id)),
        }
        Ok(Outcome::Claimed { epoch, head })
    }

    pub(super) fn renew(&mut self, id: SegmentId, epoch: Epoch) -> Reply {
        let segment = self.segment(id)?;
        if segment.epoch != epoch {
            return Err(Rejection::StaleEpoch { current: segment.epoch });
        }
        let lease = self.lease(id).copied().ok_or(Rejection::NoLease)?;
        let new = Lease::given(self.time, lease.span);
        self.leases.insert(id, Lease { until: new.until.max(lease.until), ..new });
        Ok(Outcome::Renewed { span: lease.span })
    }

    pub(super) fn lapse(&mut self, id: SegmentId) -> Reply {
        if self.lease(id).is_some() {
            return Err(Rejection::NotLapsed);
        }
        self.leases.remove(&id);
        Ok(Outcome::Done)
    }

    pub(super) fn release(&mut self, id: SegmentId, epoch: Epoch, now: WallTime) -> Reply {
        let segment = self.segment(id)?;
        if segment.epoch != epoch {
            return Err(Rejection::StaleEpoch { current: segment.epoch });
        }
        if segment.owner.is_none() {
            return Err(Rejection::NotOwner { owner: None });
        }
        let mut segment = Segment::clone(segment);
        segment.owner = None;
        segment.modified = now;
        segment.revision = self.revision;
        self.put(segment);
        self.leases.remove(&id);
        Ok(Outcome::Done)
    }

    /// The leader ends what a node owns that is being emptied; a node that stays keeps what it has.
    pub(super) fn disown(&mut self, id: SegmentId, node: NodeId, now: WallTime) -> Reply {
        if !self.member(node)?.draining {
            return Err(Rejection::NotDraining(node));
        }
        let segment = self.segment(id)?;
        if segment.owner != Some(node) {
            return Ok(Outcome::Done);
        }
        self.check_unleased(segment)?;
        let epoch = segment.epoch;
        self.release(id, epoch, now)
    }

    /// Whether a removal would be carried out now. Changes nothing: the same check comes first when it is applied.
    pub fn can_unregister(&self, id: SegmentId, scope: Scope) -> Result<(), Rejection> {
        let segment = self.segment(id)?;
        match scope {
            Scope::IfEmpty if !segment.versions.is_empty() => Err(Rejection::NotEmpty),
            Scope::Version(version) => check_removable(segment, version),
            Scope::Segment | Scope::IfEmpty => self.check_unleased(segment),
        }
    }

    pub(super) fn unregister(&mut self, id: SegmentId, scope: Scope) -> Reply {
        self.can_unregister(id, scope)?;
        match scope {
            Scope::Version(version) => self.remove_version(id, version),
            Scope::Segment | Scope::IfEmpty => {
                self.end(id);
                Ok(Outcome::Done)
            }
        }
    }

    pub(super) fn expire(&mut self, id: SegmentId) -> Reply {
        let segment = self.segment(id)?;
        if !segment.versions.is_empty() {
            return Err(Rejection::NotEmpty);
        }
        if self.time < segment.registered.1.after(REGISTRATION_TTL) || self.lease(id).is_some() {
            return Err(Rejection::NotExpired);
        }
        self.end(id);
        Ok(Outcome::Done)
    }

    /// The name is free again, above its last epoch; the segment id stays known as gone while receipts may be open.
    fn end(&mut self, id: SegmentId) {
        if let Some(segment) = self.take(id) {
            self.epochs.insert(segment.name.clone(), segment.epoch);
            self.remember_gone(id, self.time.after(COMMIT_WINDOW));
            self.leases.remove(&id);
            self.archives.remove(&id);
        }
    }

    /// Whether nobody has a lease that keeps others off (R5).
    fn check_unleased(&self, segment: &Segment) -> Result<(), Rejection> {
        match (segment.owner, self.lease(segment.id)) {
            (Some(owner), Some(lease)) => Err(Rejection::Leased { owner, until: lease.until }),
            _ => Ok(()),
        }
    }

    pub(super) fn segment(&self, id: SegmentId) -> Result<&Arc<Segment>, Rejection> {
        self.segments.get(&id).ok_or(Rejection::NoSuchSegment)
    }

    /// Whether a node may become an owner.
    fn check_heir(&self, node: NodeId) -> Result<(), Rejection> {
        self.check_executor(node)?;
        if self.member(node)?.draining { Err(Rejection::Draining(node)) } else { Ok(()) }
    }

    pub(super) fn check_executor(&self, node: NodeId) -> Result<(), Rejection> {
        match self.member(node)?.profile.role {
            Role::Executor => Ok(()),
            Role::Storage => Err(Rejection::StorageOnly),
        }
    }
}
