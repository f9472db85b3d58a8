//! What must hold of every state and of every step, whatever was applied. Tests and the simulation look after each entry.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::ordmap::DiffItem;

use crate::archive::{Object, Policy};
use crate::lease::{LEASE_MAX, LEASE_MIN};
use crate::meta::state::State;
use crate::name::Name;
use crate::node::{Member, Role};
use crate::segment::{Epoch, PINS_MAX, Segment, Version, VersionRecord};

/// Everything that is wrong with a state, in words; empty if nothing is.
pub fn violations(state: &State) -> Vec<String> {
    let mut wrong = Vec::new();
    if state.names.len() != state.segments.len() {
        wrong.push(format!("{} names for {} segments", state.names.len(), state.segments.len()));
    }
    for segment in state.segments.values() {
        check_segment(state, segment, &mut wrong);
    }
    if !state.members.values().filter(|member| !member.up).map(|member| member.id).eq(state.down.keys().copied()) {
        wrong.push("it is not known of each member that is down, and of no other, since when".into());
    }
    let is_back = |m: &Arc<Member>| state.removed.iter().any(|(id, life)| *id == m.id || *life == m.incarnation);
    if state.members.values().any(is_back) || state.removed.keys().any(|id| id.0 >= state.next_node) {
        wrong.push("a node that was removed is a member".into());
    }
    for (id, lease) in &state.leases {
        if state.segments.get(id).is_none_or(|segment| segment.owner.is_none()) {
            wrong.push(format!("there is a lease on segment {id}, which nobody owns"));
        }
        if !(LEASE_MIN..=LEASE_MAX).contains(&lease.span) {
            wrong.push(format!("a lease lasts {:?}", lease.span));
        }
    }
    check_archives(state, &mut wrong);
    check_derived(state, &mut wrong);
    wrong
}

fn check_segment(state: &State, segment: &Segment, wrong: &mut Vec<String>) {
    let mut must = |holds: bool, what: &str| {
        if !holds {
            wrong.push(format!("{}: {what}", segment.name));
        }
    };
    must(state.names.get(&segment.name) == Some(&segment.id), "its name leads to another segment");
    must(!state.gone.contains_key(&segment.id), "it is registered and gone at once");
    must(segment.epoch.0 >= 1, "its epoch is below 1");
    let floor = state.origin.as_ref().map(|origin| origin.floor);
    must(floor.is_none_or(|floor| segment.epoch >= floor), "its epoch may have been given by a former cluster");
    must(
        segment.versions.keys().next_back().copied().unwrap_or(Version::NONE) == segment.head,
        "the head is not kept",
    );
    must(!segment.versions.contains_key(&Version::NONE), "it has a version 0");
    let executor = |owner| state.members.get(&owner).is_some_and(|m| m.profile.role == Role::Executor);
    must(segment.owner.is_none_or(executor), "its owner is not an executor of the cluster");
    let pins = segment.versions.values().filter(|record| record.pinned).count();
    must(pins <= PINS_MAX, "it has more pins than it may");
    for record in segment.versions.values() {
        let nodes: BTreeSet<_> = record.copies.iter().map(|c| c.node).collect();
        must(nodes.len() == record.copies.len(), "a version has two copies on one node");
        must(record.copies.iter().all(|c| !record.ended.contains(&c.id)), "an ended copy is referred to");
        must(record.epoch <= segment.epoch, "a version is newer than the ownership");
    }
}

fn check_archives(state: &State, wrong: &mut Vec<String>) {
    if state.tiers.keys().any(|node| !state.members.contains_key(node)) {
        wrong.push("who is no member says something of the global tier".into());
    }
    for (id, archive) in &state.archives {
        let Some(segment) = state.segments.get(id) else {
            wrong.push(format!("segment {id} is not registered, and has something in the global tier"));
            continue;
        };
        let mut must = |holds: bool, what: &str| {
            if !holds {
                wrong.push(format!("{}: {what}", segment.name));
            }
        };
        must(archive.policy.is_none_or(Policy::is_sound), "what goes into the global tier makes no sense");
        let mut versions = archive.objects.keys().chain(archive.ended.keys());
        must(versions.all(|v| segment.versions.contains_key(v)), "a version that is gone is in the global tier");
        let spent = |(version, object): (&Version, &Object)| archive.has_ended(*version, object.id);
        must(!archive.objects.iter().any(spent), "an object whose reference ended is referred to");
    }
}

/// Everything that is wrong with a step, in words: `after` is the state one entry after `before`. Cheap if they share their
/// maps.
pub fn broken(before: &State, after: &State) -> Vec<String> {
    let mut wrong = broken_since(before, after);
    for item in before.segments.diff(&after.segments) {
        match item {
            DiffItem::Update { old: (_, old), new: (_, new) } => {
                check_step(old, new, after, &mut wrong);
                check_lease(before, after, (old, new), &mut wrong);
            }
            DiffItem::Remove(_, old) if after.epochs.get(&old.name) != Some(&old.epoch) => {
                wrong.push(format!("{}: its last epoch is not {}", old.name, old.epoch));
            }
            DiffItem::Remove(_, old) if before.leases.get(&old.id).is_some_and(|lease| lease.is_live(after.time)) => {
                wrong.push(format!("{}: it was removed under a lease", old.name));
            }
            DiffItem::Add(..) | DiffItem::Remove(..) => {}
        }
    }
    wrong
}

/// What is wrong however many entries lie between the two states.
pub fn broken_since(before: &State, after: &State) -> Vec<String> {
    let mut wrong = Vec::new();
    if after.time < before.time {
        wrong.push(format!("log time went back from {} to {}", before.time, after.time));
    }
    let (from, to) = (before.origin.as_ref(), after.origin.as_ref());
    let went_back = from.is_some_and(|from| to.is_none_or(|to| to.source != from.source || to.phase < from.phase));
    if went_back {
        wrong.push("where the cluster comes from was changed".into());
    }
    if after.next_node < before.next_node {
        wrong.push(format!("the next node is {}, and was {}", after.next_node, before.next_node));
    }
    for item in before.answers.diff(&after.answers) {
        match item {
            DiffItem::Add(..) => {}
            // Within its time, nothing else takes its place.
            DiffItem::Update { old: (id, answer), .. } | DiffItem::Remove(id, answer)
                if answer.until >= after.time =>
            {
                wrong.push(format!("the answer to request {id} is forgotten before its time"));
            }
            DiffItem::Update { .. } | DiffItem::Remove(..) => {}
        }
    }
    for item in before.archives.diff(&after.archives) {
        let DiffItem::Update { old: (id, old), new: (_, new) } = item else { continue };
        let lives = |version: &Version| after.segments.get(id).is_some_and(|s| s.versions.contains_key(version));
        for (version, object) in old.objects.iter().filter(|(version, _)| lives(version)) {
            let now = new.objects.get(version);
            if now.is_none_or(|now| now.id != object.id) && !new.has_ended(*version, object.id) {
                wrong.push(format!("segment {id}: an object of version {version} was forgotten"));
            }
            if now.is_some_and(|now| now.id == object.id && object.published && !now.published) {
                wrong.push(format!("segment {id}: version {version} is not published any more"));
            }
        }
        let ended = old.ended.iter().filter(|(version, _)| lives(version));
        if ended.into_iter().any(|(version, ids)| !ids.iter().all(|id| new.has_ended(*version, *id))) {
            wrong.push(format!("segment {id}: it is forgotten that an object's reference ended"));
        }
    }
    for item in before.segments.diff(&after.segments) {
        match item {
            DiffItem::Update { old: (_, old), new: (_, new) } => check_segment_since(old, new, &mut wrong),
            DiffItem::Add(_, new) => {
                let last = last_epoch(before, &new.name).unwrap_or_default();
                if new.epoch <= last {
                    wrong.push(format!(
                        "{}: it begins with epoch {}, and {last} was used before",
                        new.name, new.epoch
                    ));
                }
            }
            DiffItem::Remove(_, old) if last_epoch(after, &old.name) < Some(old.epoch) => {
                wrong.push(format!("{}: its last epoch {} is forgotten", old.name, old.epoch));
            }
            DiffItem::Remove(..) => {}
        }
    }
    wrong
}

/// The newest epoch that a state knows of a name, whether it is registered or was.
fn last_epoch(state: &State, name: &Name) -> Option<Epoch> {
    let here = state.by_name(name).map(|segment| segment.epoch);
    here.max(state.epochs.get(name).copied())
}

fn check_segment_since(old: &Segment, new: &Segment, wrong: &mut Vec<String>) {
    let mut must = |holds: bool, what: &str| {
        if !holds {
            wrong.push(format!("{}: {what}", new.name));
        }
    };
    must(new.epoch >= old.epoch, "its epoch went back");
    must(new.head >= old.head, "its head went back");
    must(new.owner == old.owner || new.owner.is_none() || new.epoch > old.epoch, "a new owner has the old epoch");
    for (version, record) in new.versions.iter().filter(|(version, _)| !old.versions.contains_key(version)) {
        must(*version > old.head, "a version that was let go is back");
        must(record.epoch >= old.epoch, "a version was committed in another epoch");
    }
    for (version, record) in &old.versions {
        let Some(now) = new.versions.get(version) else { continue };
        must(now.digest == record.digest && now.request == record.request, "a version became another");
        must(record.ended.iter().all(|copy| !now.refers_to(*copy)), "a copy that was given up is referred to again");
        let lost = |copy: &crate::id::CopyId| !now.refers_to(*copy) && !now.ended.contains(copy);
        must(!record.copies.iter().any(|copy| lost(&copy.id)), "a copy was forgotten while its version lives");
    }
}

fn check_step(old: &Segment, new: &Segment, after: &State, wrong: &mut Vec<String>) {
    let mut must = |holds: bool, what: &str| {
        if !holds {
            wrong.push(format!("{}: {what}", new.name));
        }
    };
    // R7: the newest version with all its copies stays until a newer one has all of its own.
    if let Some(whole) = newest_whole(old) {
        let stays = new.versions.contains_key(&whole) || newest_whole(new) > Some(whole);
        must(stays, "the newest version with all its copies was let go");
    }
    // R8: a good copy goes only where enough others are left; of a node that is emptied, while another one is.
    let up_and = |node, what: fn(&Member) -> bool| after.members.get(&node).is_some_and(|m| m.up && what(m));
    for (version, record) in &old.versions {
        let Some(now) = new.versions.get(version) else { continue };
        let went: Vec<_> = record.durable().filter(|copy| !now.refers_to(copy.id)).collect();
        let stayed = went.iter().any(|copy| after.members.get(&copy.node).is_some_and(|m| !m.draining));
        must(
            !stayed || now.durable().count() >= now.copies_wanted(),
            "a good copy was let go of, and too few are left",
        );
        let emptied = went.iter().any(|copy| up_and(copy.node, |m| m.draining));
        must(
            !emptied || now.durable().any(|copy| up_and(copy.node, |m| !m.draining)),
            "the last good copy was let go of, on a node that is up",
        );
    }
    // An unpin lets go at once of what only the pin held; a new version never does.
    let pinned = old.versions.iter().filter(|(_, record)| record.pinned);
    let all_stay = pinned.map(|(version, _)| version).all(|version| new.versions.contains_key(version));
    must(all_stay || new.head == old.head, "a new version took the place of a pinned one");
    for (version, record) in new.versions.iter().filter(|(version, _)| !old.versions.contains_key(version)) {
        must(*version == old.head.next(), "a version does not follow the head");
        must(record.epoch == old.epoch, "a version was committed in another epoch");
        must(Some(record.owner) == old.owner, "a version was committed by somebody who was not the owner");
    }
}

/// R5: whoever has a lease gives the name up itself, or keeps it for as long.
fn check_lease(before: &State, after: &State, (old, new): (&Segment, &Segment), wrong: &mut Vec<String>) {
    let Some(lease) = before.leases.get(&old.id).filter(|lease| lease.is_live(after.time)) else { return };
    if new.owner.is_some() && new.owner != old.owner {
        wrong.push(format!("{}: it was taken over before the lease was over, at {}", new.name, lease.until));
    }
    let until = after.leases.get(&new.id).map(|lease| lease.until);
    if new.owner == old.owner && until < Some(lease.until) {
        wrong.push(format!("{}: its lease was cut short, from {} to {until:?}", new.name, lease.until));
    }
}

fn newest_whole(segment: &Segment) -> Option<Version> {
    let whole = |record: &Arc<VersionRecord>| record.durable().count() >= record.copies_wanted();
    segment.versions.iter().rev().find(|(_, record)| whole(record)).map(|(version, _)| *version)
}

fn check_derived(state: &State, wrong: &mut Vec<String>) {
    let mut again = State::default();
    for segment in state.segments.values() {
        again.put(Segment::clone(segment));
    }
    if again.usage != state.usage {
        wrong.push("the usage of nodes is not the sum of their copies".into());
    }
    if again.open != state.open {
        wrong.push("the open registrations are not those without a version".into());
    }
    if state.forgettable.len() != state.answers.len() + state.gone.len() {
        wrong.push("something is kept that will never be forgotten".into());
    }
}
