//! Every answer against the order of commits. A change must stand at a revision between the newest one that anybody had
//! applied when it was asked for, and the newest when it was answered; a read must tell what was true somewhere there.
//!
//! That is the whole of linearizability once the order is given: the order of revisions is an order of all effects, and
//! the bounds are real time. It also finds what no history shows: a version that nobody saved, a name that nobody took
//! away, a refused save that was committed after all.

use std::collections::{BTreeMap, BTreeSet};

use cairn_store::digest::Digest;
use cairn_store::id::RequestId;
use cairn_store::meta::{Change, Event};
use cairn_store::name::Name;
use cairn_store::node::NodeName;
use cairn_store::segment::{Epoch, Version};

use crate::chronicle::Chronicle;
use crate::history::{Ask, Call, Drained, History, Moment, Told, machine_of};

/// A name after an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Standing {
    registered: bool,
    owner: Option<NodeName>,
    epoch: Epoch,
    head: Version,
    versions: BTreeMap<Version, Option<Digest>>,
    pinned: BTreeSet<Version>,
}

/// All that became of a name: each standing holds from its revision on.
struct Timeline<'a> {
    events: Vec<&'a Event>,
    standings: Vec<(u64, Standing)>,
}

impl<'a> Timeline<'a> {
    fn of(events: Vec<&'a Event>, chronicle: &Chronicle) -> Self {
        let mut standings = vec![(0, Standing::default())];
        let mut now = Standing::default();
        for event in &events {
            now.owner = event.owner.and_then(|node| chronicle.name_of(node).cloned());
            now.epoch = event.epoch;
            match (event.change, event.version) {
                (Change::Created, _) => {
                    now = Standing { registered: true, owner: now.owner, epoch: now.epoch, ..Standing::default() };
                }
                (Change::Version, Some(version)) => {
                    let record = chronicle.version(&event.name, event.epoch, version);
                    now.head = version;
                    now.versions.insert(version, record.map(|record| record.digest));
                }
                (Change::Pinned, Some(version)) => drop(now.pinned.insert(version)),
                (Change::Unpinned, Some(version)) => drop(now.pinned.remove(&version)),
                (Change::Removed, Some(version)) => {
                    now.versions.remove(&version);
                    now.pinned.remove(&version);
                }
                (Change::Removed, None) => now = Standing { epoch: now.epoch, ..Standing::default() },
                _ => {}
            }
            // Several changes of one entry are one step: what lies between them never was.
            standings.pop_if(|(revision, _)| *revision == event.revision);
            standings.push((event.revision, now.clone()));
        }
        Self { events, standings }
    }

    /// What held before this revision.
    fn before(&self, revision: u64) -> Option<&Standing> {
        let count = self.standings.partition_point(|(at, _)| *at < revision);
        self.standings.get(count.checked_sub(1)?).map(|(_, standing)| standing)
    }

    /// What held at some moment of a call.
    fn during(&self, from: Moment, to: Moment) -> impl Iterator<Item = &Standing> {
        let begin = self.standings.partition_point(|(revision, _)| *revision <= from.revision).saturating_sub(1);
        let later = self.standings.get(begin..).unwrap_or_default().iter();
        later.take_while(move |(revision, _)| *revision <= to.revision).map(|(_, standing)| standing)
    }

    /// The changes during a call.
    fn changes(&self, from: Moment, to: Moment) -> impl Iterator<Item = &'a Event> {
        let within = move |event: &&&Event| event.revision > from.revision && event.revision <= to.revision;
        self.events.iter().filter(within).copied()
    }
}

/// What cannot have happened in the order in which the cluster committed.
pub fn violations(history: &History, chronicle: &Chronicle) -> Vec<String> {
    let mut events: BTreeMap<&Name, Vec<&Event>> = BTreeMap::new();
    chronicle.events().for_each(|event| events.entry(&event.name).or_default().push(event));
    let (first_asked, committed) = (history.first_asked(), chronicle.committed());
    let mut wrong = Vec::new();
    let calls = history.by_name();
    let names: BTreeSet<&Name> = calls.keys().chain(events.keys()).copied().collect();
    for name in names {
        let timeline = Timeline::of(events.remove(name).unwrap_or_default(), chronicle);
        let calls = calls.get(name).map(Vec::as_slice).unwrap_or_default();
        let done: BTreeSet<_> =
            calls.iter().filter(|call| call.answer().is_success()).map(|call| call.request).collect();
        for call in calls {
            let Some((to, told)) = &call.told else { continue };
            let from = first_asked.get(&call.request).copied().unwrap_or(call.asked);
            let explained = match (&call.ask, told) {
                // Unless it was told before and asked again, or so long ago, in log time, that nobody knows of it any more.
                (Ask::Save { digest, .. }, Told::Refused(_) | Told::Absent)
                    if committed.contains_key(digest)
                        && !done.contains(&call.request)
                        && from.is_remembered_at(*to) =>
                {
                    Err("it was committed".into())
                }
                _ => explain(call, told, &timeline, from, *to, chronicle),
            };
            if let Err(what) = explained {
                let (revision, until) = (from.revision, to.revision);
                wrong.push(format!(
                    "{name}: {:?} of {} at {:?} gave {told:?}, but {what} (revisions {revision} to {until})",
                    call.ask, call.node, call.asked.at,
                ));
            }
        }
        wrong.extend(unexplained(name, &timeline, calls, &first_asked, &history.drains, chronicle));
    }
    wrong
}

fn explain(
    call: &Call,
    told: &Told,
    timeline: &Timeline<'_>,
    from: Moment,
    to: Moment,
    chronicle: &Chronicle,
) -> Result<(), String> {
    let some = |found: bool, what: &str| if found { Ok(()) } else { Err(what.to_owned()) };
    let by = |event: &Event, node: &NodeName| event.owner.and_then(|owner| chronicle.name_of(owner)) == Some(node);
    match (&call.ask, told) {
        (
            Ask::Save { digest, if_version, epoch: wanted, .. },
            Told::Saved { version, epoch, digest: said, owner, .. },
        ) => {
            // Of one that was removed since no name is told.
            let same = owner.as_ref().is_none_or(|owner| machine_of(&call.node) == machine_of(owner));
            some(digest == said && same, "that is another save")?;
            some(if_version.is_none_or(|head| *version == head.next()), "another head was to stand before")?;
            some(wanted.is_none_or(|wanted| *epoch == wanted), "another epoch was to stand")?;
            let mut commits = timeline.changes(from, to).filter(|event| event.change == Change::Version);
            let by_owner = |event: &Event| owner.as_ref().is_none_or(|owner| by(event, owner));
            let this = |event: &Event| event.version == Some(*version) && event.epoch == *epoch && by_owner(event);
            some(commits.any(this), "no such commit came in between")?;
            let record = chronicle.version(&call.name, *epoch, *version);
            some(record.is_none_or(|record| record.digest == *digest), "that version has other bytes")
        }
        (Ask::Load { claim: true, .. }, Told::Loaded { version, epoch, owner: Some(owner), claimed: true, .. }) => {
            let mut claims = timeline.changes(from, to).filter(|event| event.change == Change::Owner);
            // Asked again, it gives what the new owner saved since.
            let this = |event: &Event| event.version <= Some(*version) && event.epoch == *epoch && by(event, owner);
            some(claims.any(this), "no such claim came in between")
        }
        (Ask::Load { stale: false, version: wanted, .. }, Told::Loaded { version, epoch, digest, owner, .. }) => {
            let this = |standing: &Standing| {
                let newest = wanted.is_some() || standing.head == *version;
                let known = standing.versions.get(version);
                let owned = standing.epoch == *epoch && standing.owner == *owner;
                owned && newest && known.is_some_and(|known| known.is_none_or(|it| it == *digest))
            };
            some(timeline.during(from, to).any(this), "that was never so in between")
        }
        (Ask::Load { stale: true, .. }, Told::Loaded { version, digest, .. }) => {
            let this = |(_, standing): &(u64, Standing)| {
                standing.versions.get(version).is_some_and(|known| known.is_none_or(|known| known == *digest))
            };
            some(timeline.standings.iter().any(this), "that never was")
        }
        (Ask::Load { stale: false, version, .. }, Told::Absent) => {
            let absent = |standing: &Standing| match version {
                Some(version) => !standing.versions.contains_key(version),
                None => standing.versions.is_empty(),
            };
            some(timeline.during(from, to).any(absent), "it was there all the time")
        }
        (Ask::Claim, Told::Claimed { epoch, head, owner }) => {
            let mut claims = timeline.changes(from, to).filter(|event| event.change == Change::Owner);
            let this = |event: &Event| event.version == *head && event.epoch == *epoch && by(event, owner);
            some(claims.any(this), "no such claim came in between")
        }
        (Ask::Release { epoch }, Told::Done) => {
            let mut releases = timeline.changes(from, to).filter(|event| event.change == Change::Owner);
            some(releases.any(|event| event.owner.is_none() && event.epoch == *epoch), "no release came in between")
        }
        (Ask::Remove { version }, Told::Done) => {
            let mut removals = timeline.changes(from, to).filter(|event| event.change == Change::Removed);
            some(removals.any(|event| event.version == *version), "nothing was removed in between")
        }
        (Ask::Claim | Ask::Release { .. } | Ask::Remove { version: None }, Told::Absent) => {
            some(timeline.during(from, to).any(|standing| !standing.registered), "it was there all the time")
        }
        _ => Ok(()),
    }
}

/// Changes that nobody asked for.
fn unexplained(
    name: &Name,
    timeline: &Timeline<'_>,
    calls: &[&Call],
    first_asked: &BTreeMap<RequestId, Moment>,
    drains: &[Drained],
    chronicle: &Chronicle,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let possible = |call: &&&Call, event: &Event| {
        let asked = first_asked.get(&call.request).copied().unwrap_or(call.asked);
        // Who is answered so late, in log time, that an earlier try of the same call is forgotten is told of what came after it.
        let forgotten = call.told.as_ref().is_some_and(|(told, _)| !asked.is_remembered_at(*told));
        (call.answer().may_have_happened() || forgotten) && asked.revision < event.revision
    };
    let mut takeovers = Takeovers::of(calls);
    for event in &timeline.events {
        let mut asked = calls.iter().filter(|call| possible(call, event));
        let owner = event.owner.and_then(|owner| chronicle.name_of(owner));
        let before = timeline.before(event.revision);
        let explained = match (event.change, event.version) {
            (Change::Version, Some(version)) => {
                let record = chronicle.version(name, event.epoch, version);
                asked.any(|call| match &call.ask {
                    Ask::Save { digest, .. } => record.is_none_or(|record| record.digest == *digest),
                    _ => false,
                })
            }
            (Change::Owner, _) => match owner {
                Some(owner) => takeovers.explain(event, owner, |call| possible(&call, event)),
                None => {
                    let owner = before.and_then(|standing| standing.owner.as_ref());
                    let emptied = |owner| drains.iter().any(|drain| drain.covers(owner, event.revision));
                    asked.any(|call| call.ask == Ask::Release { epoch: event.epoch }) || owner.is_some_and(emptied)
                }
            },
            (Change::Pinned, Some(version)) => asked.any(|call| call.ask == Ask::Pin { version }),
            (Change::Unpinned, Some(version)) => asked.any(|call| is_unpin(&call.ask, version)),
            (Change::Removed, Some(version)) => {
                let unpinned = asked.clone().any(|call| is_unpin(&call.ask, version));
                let pinned = before.is_some_and(|standing| standing.pinned.contains(&version));
                let by_hand = asked.clone().any(|call| call.ask == Ask::Remove { version: Some(version) });
                by_hand || ((!pinned || unpinned) && asked.any(|call| is_outlived(call, version, before)))
            }
            (Change::Removed, None) => {
                // A name without a version may go by itself: its first save failed, or never came back.
                before.is_none_or(|standing| standing.versions.is_empty())
                    || asked.any(|call| matches!(call.ask, Ask::Remove { version: None }))
            }
            _ => true,
        };
        if !explained {
            wrong.push(format!("{name}: nobody asked for {event:?}"));
        }
    }
    wrong
}

fn is_unpin(ask: &Ask, version: Version) -> bool {
    matches!(ask, Ask::Unpin { version: one } if one.is_none_or(|one| one == version))
}

/// Whether retention may take this version, by what the save of a newer one asked to keep.
fn is_outlived(call: &Call, version: Version, before: Option<&Standing>) -> bool {
    // The entry may be the commit of the next one.
    let head = before.map_or(Version::NONE, |standing| standing.head).next();
    let newer = match call.answer() {
        Told::Saved { version: made, .. } => *made > version,
        told => *told == Told::Unknown,
    };
    matches!(call.ask, Ask::Save { keep, .. } if newer && version.0 + u64::from(keep) <= head.0)
}

/// Who may have taken over: one request takes over once, for one node, as long as its answer is remembered. At the address of
/// a node whose disks were replaced it is another node that is asked again.
struct Takeovers<'a> {
    told: BTreeMap<Epoch, &'a NodeName>,
    calls: Vec<&'a Call>,
    used: BTreeSet<(RequestId, NodeName)>,
    /// Asked again so late that it may have been done again.
    forgotten: BTreeSet<RequestId>,
}

impl<'a> Takeovers<'a> {
    fn of(calls: &[&'a Call]) -> Self {
        let takes = |call: &&&Call| matches!(call.ask, Ask::Claim | Ask::Load { claim: true, .. });
        let calls: Vec<&Call> = calls.iter().filter(takes).copied().collect();
        let told = calls.iter().filter_map(|call| match call.answer() {
            Told::Claimed { epoch, owner, .. } => Some((call.request, *epoch, owner)),
            Told::Loaded { epoch, owner: Some(owner), claimed: true, .. } => Some((call.request, *epoch, owner)),
            _ => None,
        });
        let told: Vec<_> = told.collect();
        let mut first: BTreeMap<RequestId, Moment> = BTreeMap::new();
        let mut forgotten = BTreeSet::new();
        for call in &calls {
            let since = *first.entry(call.request).or_insert(call.asked);
            if !since.is_remembered_at(call.told.as_ref().map_or(call.asked, |(at, _)| *at)) {
                forgotten.insert(call.request);
            }
        }
        Self {
            forgotten,
            told: told.iter().map(|(_, epoch, owner)| (*epoch, *owner)).collect(),
            used: told.iter().map(|(request, _, owner)| (*request, NodeName::clone(owner))).collect(),
            calls,
        }
    }

    fn explain(&mut self, event: &Event, owner: &NodeName, possible: impl Fn(&&Call) -> bool) -> bool {
        if self.told.get(&event.epoch).is_some_and(|told| *told == owner) {
            return true;
        }
        let used = |call: &Call| self.used.contains(&(call.request, owner.clone()));
        let free = |call: &&&Call| self.forgotten.contains(&call.request) || !used(call);
        let here = |call: &&&Call| machine_of(&call.node) == machine_of(owner);
        match self.calls.iter().filter(here).filter(free).find(|call| possible(call)) {
            Some(call) => {
                self.used.insert((call.request, owner.clone()));
                true
            }
            None => false,
        }
    }
}
