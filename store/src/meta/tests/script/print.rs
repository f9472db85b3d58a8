//! Replies and states in short words.

use super::super::ids::{self, short};
use super::clock;
use super::parse::{self, Words};
use crate::archive::{Archive, Object, Reach};
use crate::digest::Digest;
use crate::id::{CopyId, NodeId};
use crate::lease::Lease;
use crate::meta::command::{Outcome, Rejection, Reply};
use crate::meta::event::Event;
use crate::meta::history::History;
use crate::meta::state::{Origin, State};
use crate::segment::{Copy, CopyState, Segment, Version, VersionRecord};

/// Names digests by the bytes that a script gave.
#[derive(Default)]
pub(super) struct Printer {
    pub(super) bytes: Vec<(Digest, String)>,
}

impl Printer {
    pub(super) fn reply(&self, reply: &Reply) -> String {
        match reply {
            Ok(Outcome::Done) => "done".into(),
            Ok(Outcome::Joined { node, cluster }) => format!("joined {} as n{}", short(cluster.0), node.0),
            Ok(Outcome::Registered { segment, epoch }) => format!("registered {} epoch={epoch}", short(segment.0)),
            Ok(Outcome::Committed { version, epoch, digest, .. }) => {
                format!("committed v{version} epoch={epoch} bytes={}", self.named(digest))
            }
            Ok(Outcome::Claimed { epoch, head }) => format!("claimed epoch={epoch} head={head}"),
            Ok(Outcome::Renewed { span }) => format!("renewed for {span:?}"),
            Err(Rejection::NameTaken { owner: holder } | Rejection::NotOwner { owner: holder }) => {
                format!("refused: {} (owner {})", reply.as_ref().unwrap_err(), owner(*holder))
            }
            Err(rejection) => format!("refused: {}", rejection.to_string().replace('#', "n")),
        }
    }

    pub(super) fn answer(&self, state: &State, question: &str, words: &mut Words<'_>) -> Vec<String> {
        match question {
            "show" => self.show(state, words.first()),
            "standing" => {
                let (segment, version, copy) = (words.first(), words.first(), words.first());
                let segment = ids::segment(ids::number('S', segment));
                let standing = state.standing(segment, parse::version(version), ids::copy(ids::number('c', copy)));
                vec![format!("{standing:?}").to_lowercase()]
            }
            "object" => {
                let (segment, version, object) = (words.first(), words.first(), words.first());
                let segment = ids::segment(ids::number('S', segment));
                let object = ids::copy(ids::number('c', object));
                vec![format!("{:?}", state.object_standing(segment, parse::version(version), object)).to_lowercase()]
            }
            "missing" => {
                let segment = &state.segments[&ids::segment(ids::number('S', words.first()))];
                let missing = |(version, record): (_, &std::sync::Arc<VersionRecord>)| {
                    format!("v{version}: {} missing", state.missing_copies(segment, record))
                };
                segment.versions.iter().map(missing).collect()
            }
            "list" => {
                let after = words.or("after", "").parse().ok();
                let limit = words.or("limit", "100").parse().unwrap();
                let found = state.with_prefix(words.or("prefix", ""), after.as_ref()).take(limit);
                found.map(|segment| segment.name.to_string()).collect()
            }
            other => panic!("no such line: {other:?}"),
        }
    }

    pub(super) fn events(&self, history: &History, from: u64) -> Vec<String> {
        let line = |event: &Event| {
            let change = format!("{:?}", event.change).to_lowercase();
            let version = event.version.map_or_else(String::new, |version| format!(" v{version}"));
            let (revision, name, epoch) = (event.revision, &event.name, event.epoch);
            format!("{revision} {change} {name}{version} epoch={epoch} owner={}", owner(event.owner))
        };
        match history.since(from) {
            Some(entries) => entries.flat_map(|events| events.iter().map(line)).collect(),
            None => vec!["gone".into()],
        }
    }

    fn show(&self, state: &State, what: &str) -> Vec<String> {
        match what {
            "time" => vec![clock(state.time)],
            "origin" => match &state.origin {
                Some(origin) => {
                    let Origin { source, ancestors, floor, since, phase } = &**origin;
                    let (of, at) = (short(source.cluster.0), clock(*since));
                    let ancestors: Vec<String> = ancestors.iter().map(|id| short(id.0)).collect();
                    let (ancestors, revision) = (ancestors.join(" "), source.revision);
                    vec![format!("{of} at {revision}, since {at}, {phase:?}, floor={floor}, ancestors {ancestors}")]
                }
                None => vec!["none".into()],
            },
            "tiers" => {
                let tier = state.tier().map_or_else(|| "none".into(), |tier| short(tier.0));
                state.tiers.iter().map(reach).chain([format!("the cluster's is {tier}")]).collect()
            }
            "members" => state.members.values().map(|m| member(m)).collect(),
            "usage" => {
                let line = |(node, usage): (&NodeId, &crate::meta::state::Usage)| {
                    format!("n{}: {} copies, {} bytes", node.0, usage.copies, usage.bytes)
                };
                state.usage.iter().map(line).collect()
            }
            "names" => {
                let taken = state.names.iter().map(|(name, id)| format!("{name} is {}", short(id.0)));
                let free = state.epochs.iter().map(|(name, epoch)| format!("{name} is free after epoch {epoch}"));
                let gone =
                    state.gone.iter().map(|(id, until)| format!("{} is gone until {}", short(id.0), clock(*until)));
                taken.chain(free).chain(gone).collect()
            }
            "answers" => {
                let line = |(id, answer): (&crate::id::RequestId, &std::sync::Arc<crate::meta::Answer>)| {
                    format!("{} until {}: {}", short(id.0), clock(answer.until), self.reply(&answer.reply))
                };
                state.answers.iter().map(line).collect()
            }
            segment => match state.segments.get(&ids::segment(ids::number('S', segment))) {
                Some(segment) => {
                    let mut lines = self.segment(segment, state.leases.get(&segment.id));
                    lines.extend(state.archive(segment.id).map(archive));
                    lines
                }
                None => vec!["none".into()],
            },
        }
    }

    fn segment(&self, segment: &Segment, lease: Option<&Lease>) -> Vec<String> {
        let Segment { id, name, kind, epoch, head, keep, labels, registered, claimed, revision, .. } = segment;
        let mut line = format!("{} {name} owner={} epoch={epoch} head=v{head}", short(id.0), owner(segment.owner));
        line += &format!(" keep={keep} kind={kind:?} revision={revision}").to_lowercase();
        line += &format!(" registered={}@{}", short(registered.0.0), clock(registered.1));
        line += &claimed.map(|(by, head)| format!(" claimed={}@{head}", short(by.0))).unwrap_or_default();
        line += &lease.map(|l| format!(" lease={:?} until {}", l.span, clock(l.until))).unwrap_or_default();
        line += &labels.iter().map(|(key, value)| format!(" {key}:{value}")).collect::<String>();
        let version = |(version, record): (_, &std::sync::Arc<VersionRecord>)| {
            let VersionRecord { size, digest, epoch, request, wanted, copies, ended, pinned, .. } = &**record;
            let copies: String = copies.iter().map(|one| format!(" {}", copy(one))).collect();
            let ended: String = ended.iter().map(|id| format!(" {}", short(id.0))).collect();
            let ended = if ended.is_empty() { ended } else { format!("; ended{ended}") };
            let (by, bytes) = (short(request.0), self.named(digest));
            let pin = if *pinned { " pinned" } else { "" };
            format!(
                "  v{version} by={by} epoch={epoch} bytes={bytes} size={size} wanted={wanted}{pin}:{copies}{ended}"
            )
        };
        std::iter::once(line).chain(segment.versions.iter().map(version)).collect()
    }

    fn named(&self, digest: &Digest) -> String {
        let known = self.bytes.iter().find(|(known, _)| known == digest);
        known.map_or_else(|| digest.to_string(), |(_, bytes)| bytes.clone())
    }
}

/// What a segment has in the tier.
fn archive(archive: &Archive) -> String {
    let policy = archive.policy.map_or_else(|| "as told".into(), |policy| policy.to_string());
    let object = |(version, object): (&Version, &Object)| {
        let Object { id, tier, cluster, published, state } = object;
        let state = if *state == CopyState::Durable { String::new() } else { format!("({state})") };
        let secret = if *published { "" } else { " unpublished" };
        format!(" v{version}={}/{}/{}{state}{secret}", short(cluster.0), short(tier.0), short(id.0))
    };
    let ended = |(version, ids): (&Version, &Vec<CopyId>)| {
        let ids: String = ids.iter().map(|id| format!(" {}", short(id.0))).collect();
        format!("; ended of v{version}{ids}")
    };
    let objects: String = archive.objects.iter().map(object).collect();
    format!("  archive {policy}:{objects}{}", archive.ended.iter().map(ended).collect::<String>())
}

fn reach((node, reach): (&NodeId, &Reach)) -> String {
    let tier = reach.known().map_or_else(String::new, |tier| format!(" {}", short(tier.0)));
    format!("n{}{tier}{}", node.0, if reach.tier().is_some() { "" } else { " down" })
}

fn member(member: &crate::node::Member) -> String {
    let (profile, incarnation) = (&member.profile, short(member.incarnation.0));
    let up = if member.up { "up" } else { "down" };
    let draining = if member.draining { " draining" } else { "" };
    format!("n{} {incarnation} {} {} {} {up}{draining}", member.id.0, profile.name, profile.role, profile.zone)
}

fn owner(owner: Option<NodeId>) -> String {
    owner.map_or_else(|| "none".into(), |node| format!("n{}", node.0))
}

fn copy(copy: &Copy) -> String {
    let state = if copy.state == CopyState::Durable { String::new() } else { format!("({})", copy.state) };
    format!("{}/n{}{state}", short(copy.id.0), copy.node.0)
}
