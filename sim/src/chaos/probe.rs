//! Commands that must be refused, straight to the leader's log: what no honest node would propose, because it looks
//! first, but what arrives there all the same when the state has moved on in between.

use std::time::Duration;

use cairn_node::raft::rpc::Decided;
use cairn_store::digest::Digest;
use cairn_store::id::{ClusterId, CopyId, Incarnation, NodeId, RequestId, SegmentId};
use cairn_store::meta::{Command, Commit, Request, Scope, State};
use cairn_store::name::Name;
use cairn_store::node::Role;
use cairn_store::segment::{Ack, CopyState, Epoch, Kind, Receipt, Segment, Version};
use cairn_store::time::LogTime;
use uuid::Uuid;

use super::desk::Desk;
use crate::rng::SplitMix;

/// Further than anything moves on meanwhile.
const FAR: u64 = 1_000;
/// How long a request's answer is kept.
const KEPT: Duration = Duration::from_secs(20);

/// Has the leader propose one of them.
pub(super) async fn probe(desk: &Desk, name: &Name, rng: &SplitMix) -> anyhow::Result<()> {
    let leading = desk.cluster.machines().iter().filter_map(|machine| Some((machine.leads()?, machine)));
    let Some((_, leader)) = leading.max_by_key(|(term, _)| *term) else { return Ok(()) };
    let Some(state) = leader.view().map(|view| view.state) else { return Ok(()) };
    let probe = Probe { state: &state, name, rng };
    let Some(command) = probe.command() else { return Ok(()) };
    let what = format!("{command:?}").chars().take_while(|c| c.is_alphanumeric()).collect::<String>();
    let sent = command.clone();
    let proposed = leader.send(move |core| async move { core.propose_here(sent).await });
    let proposed = tokio::time::timeout(KEPT, proposed).await;
    desk.tally.call(format!("probe {what}"));
    match (command, proposed) {
        // By the time that they are applied these may be right.
        (
            Command::Register { .. }
            | Command::Unregister { .. }
            | Command::Expire { .. }
            | Command::Join { .. }
            | Command::Disown { .. }
            | Command::Abandon { .. }
            | Command::Remove { .. }
            | Command::Renew { .. }
            | Command::Lapse { .. },
            _,
        ) => Ok(()),
        (command, Ok(Some(Ok(Decided { reply: Ok(outcome), .. })))) => {
            anyhow::bail!("{command:?} was to be refused, and came to {outcome:?}")
        }
        // Refused, or on its way.
        _ => Ok(()),
    }
}

struct Probe<'a> {
    state: &'a State,
    name: &'a Name,
    rng: &'a SplitMix,
}

impl Probe<'_> {
    fn command(&self) -> Option<Command> {
        let segment = self.state.by_name(self.name).cloned();
        let with_segment = || segment.clone();
        Some(match self.rng.below(24) {
            0 => {
                let member = self.state.members.values().next()?;
                let cluster = if self.rng.below(2) == 0 { self.state.cluster? } else { ClusterId(self.uuid()) };
                let profile = member.profile.clone();
                Command::Found { cluster, incarnation: self.incarnation(), profile }
            }
            1 => {
                let profile = self.state.members.values().next()?.profile.clone();
                Command::Join { incarnation: self.incarnation(), profile }
            }
            2 => {
                let member = self.state.members.values().next()?;
                let profile = member.profile.clone();
                Command::Describe { node: member.id, incarnation: self.incarnation(), profile }
            }
            3 => Command::Mark { node: NodeId(FAR), up: true },
            4 => self.register(with_segment()?.name.clone(), self.executor()?),
            5 => self.register(self.free_name()?, self.storage()?),
            6 => {
                let segment = with_segment()?;
                self.claim(segment.id, Epoch(segment.epoch.0 + FAR), segment.head, self.executor()?, self.request())
            }
            7 => {
                let segment = with_segment()?;
                let head = Version(segment.head.0 + FAR);
                self.claim(segment.id, segment.epoch, head, self.executor()?, self.request())
            }
            8 => {
                let segment = with_segment()?;
                self.claim(segment.id, segment.epoch, segment.head, self.storage()?, self.request())
            }
            9 => self.claim(self.unknown(), Epoch(1), Version::NONE, self.executor()?, self.request()),
            10 => {
                let (request, segment) = (self.request(), with_segment()?.id);
                Command::Release { request, segment, epoch: Epoch(FAR) }
            }
            11 => match self.rng.below(2) {
                0 => self.commit(&*with_segment()?, |commit| commit.receipts.clear()),
                _ => self.commit(&*with_segment()?, |commit| commit.wanted = 2),
            },
            12 => self.commit(&*with_segment()?, |commit| commit.epoch = Epoch(commit.epoch.0 + FAR)),
            13 => self.commit(&*with_segment()?, |commit| commit.after = Version(commit.after.0 + FAR)),
            14 => self.confirm(&*with_segment()?)?,
            15 => {
                let (request, segment) = (self.request(), with_segment()?);
                let scope = match self.rng.below(3) {
                    0 if !segment.versions.is_empty() => Scope::IfEmpty,
                    1 => Scope::Version(Version(segment.head.0 + FAR)),
                    _ => return self.pinned_or_retained(),
                };
                Command::Unregister { request, segment: segment.id, scope }
            }
            16 => Command::Expire { segment: self.young_or_full()? },
            17 => {
                let segment = with_segment()?;
                let past = Request { id: self.request().id, until: LogTime(self.state.time.0.checked_sub(1)?) };
                self.claim(segment.id, Epoch(FAR), segment.head, self.executor()?, past)
            }
            18 => self.confirm_spent()?,
            19 => {
                let segment = with_segment()?;
                let far =
                    Request { id: self.request().id, until: self.state.time.after(Duration::from_secs(90_000)) };
                self.claim(segment.id, Epoch(FAR), segment.head, self.executor()?, far)
            }
            // Storage-only nodes own nothing. Of one that is emptied that is no refusal.
            20 => Command::Disown { segment: with_segment()?.id, node: self.storage()? },
            21 => self.end_too_early()?,
            22 => self.lease()?,
            _ => {
                // The id of an answered request, for something else. Its answer is kept for a while yet.
                let old = self.state.answers.iter().filter(|(_, answer)| answer.until > self.state.time.after(KEPT));
                let ids: Vec<&RequestId> = old.map(|(id, _)| id).collect();
                let request = Request { id: **ids.get(self.rng.index(ids.len()))?, until: self.until() };
                Command::Pin { request, segment: self.unknown(), version: Version(FAR) }
            }
        })
    }

    /// The end of a lease that is not over, or a renewal, by whomever.
    fn lease(&self) -> Option<Command> {
        match self.state.leases.keys().next() {
            Some(segment) if self.rng.below(2) == 0 => Some(Command::Lapse { segment: *segment }),
            _ => {
                let segment = self.state.by_name(self.name)?;
                Some(Command::Renew { request: self.request(), segment: segment.id, epoch: segment.epoch })
            }
        }
    }

    fn claim(&self, segment: SegmentId, epoch: Epoch, head: Version, node: NodeId, request: Request) -> Command {
        Command::Claim { request, segment, epoch, head, node }
    }

    fn register(&self, name: Name, owner: NodeId) -> Command {
        let (request, segment) = (self.request(), self.unknown());
        Command::Register { request, name, segment, owner, kind: Kind::File }
    }

    /// A commit that would be right, but for one thing.
    fn commit(&self, segment: &Segment, spoil: impl FnOnce(&mut Commit)) -> Command {
        let owner = segment.owner.unwrap_or(NodeId(FAR));
        let mut commit = Commit {
            segment: segment.id,
            owner,
            epoch: segment.epoch,
            after: segment.head,
            size: 1,
            digest: Digest::of(&self.rng.bytes(8)),
            receipts: vec![Receipt { copy: CopyId(self.uuid()), node: owner, until: self.until() }],
            wanted: 0,
            ack: Ack::All,
            keep: 1,
            labels: Default::default(),
        };
        spoil(&mut commit);
        Command::Commit { request: self.request(), commit }
    }

    fn confirm(&self, segment: &Segment) -> Option<Command> {
        let (version, record) = segment.versions.iter().nth(self.rng.index(segment.versions.len()))?;
        let durable = record.copies.iter().find(|copy| copy.state == CopyState::Durable)?;
        let fresh = Receipt { copy: CopyId(self.uuid()), node: durable.node, until: self.until() };
        let (mut version, mut digest, mut receipt) = (*version, record.digest, fresh);
        match self.rng.below(4) {
            0 => version = Version(FAR),
            1 => digest = Digest::of(&self.rng.bytes(8)),
            2 => receipt.until = LogTime(self.state.time.0.checked_sub(1)?),
            _ => receipt.node = NodeId(FAR),
        }
        Some(Command::Confirm { segment: segment.id, version, digest, receipt })
    }

    /// A receipt of a copy that was lost, or given up.
    fn confirm_spent(&self) -> Option<Command> {
        let mut spent = Vec::new();
        for segment in self.state.segments.values() {
            for (version, record) in &segment.versions {
                let lost = record.copies.iter().filter(|copy| copy.state != CopyState::Durable);
                let copies = lost.map(|copy| copy.id).chain(record.ended.iter().copied());
                spent.extend(copies.map(|copy| (segment.id, *version, record.digest, copy)));
            }
        }
        let (segment, version, digest, copy) = *spent.get(self.rng.index(spent.len()))?;
        let receipt = Receipt { copy, node: self.executor()?, until: self.until() };
        Some(Command::Confirm { segment, version, digest, receipt })
    }

    /// A step of a removal that comes too early: the only copy of a version is given up, or the member goes with what it has.
    fn end_too_early(&self) -> Option<Command> {
        let holds = |node: &NodeId| self.state.usage_of(*node).copies > 0;
        let going = self.state.members.values().find(|member| member.draining && holds(&member.id))?;
        if self.rng.below(2) == 0 {
            return Some(Command::Remove { node: going.id, incarnation: going.incarnation });
        }
        let versions = self.state.segments.values().flat_map(|segment| {
            segment.versions.iter().map(|(version, record)| (segment.id, *version, record.copies.as_slice()))
        });
        let mut only = versions.filter_map(|(segment, version, copies)| match copies {
            [only] if only.node == going.id => Some((segment, version, only.id)),
            _ => None,
        });
        let (segment, version, copy) = only.next()?;
        Some(Command::Abandon { segment, version, copy, force: false })
    }

    /// The removal of a version that is pinned, or must stay. Nobody else may end that meanwhile, so only a head will do.
    fn pinned_or_retained(&self) -> Option<Command> {
        let only = |segment: &&std::sync::Arc<Segment>| segment.versions.len() == 1 && segment.owner.is_none();
        let segments: Vec<_> = self.state.segments.values().filter(only).collect();
        let segment = segments.get(self.rng.index(segments.len()))?;
        let scope = Scope::Version(segment.head);
        Some(Command::Unregister { request: self.request(), segment: segment.id, scope })
    }

    /// A segment that cannot expire: it has versions, or it is young.
    fn young_or_full(&self) -> Option<SegmentId> {
        let ids: Vec<&SegmentId> = self.state.segments.keys().collect();
        ids.get(self.rng.index(ids.len())).map(|id| **id)
    }

    fn free_name(&self) -> Option<Name> {
        format!("probe/{}", self.rng.below(FAR)).parse().ok()
    }

    fn executor(&self) -> Option<NodeId> {
        self.member(Role::Executor)
    }

    fn storage(&self) -> Option<NodeId> {
        self.member(Role::Storage)
    }

    fn member(&self, role: Role) -> Option<NodeId> {
        self.state.members.values().find(|member| member.profile.role == role).map(|member| member.id)
    }

    fn unknown(&self) -> SegmentId {
        SegmentId(self.uuid())
    }

    fn incarnation(&self) -> Incarnation {
        Incarnation(self.uuid())
    }

    fn request(&self) -> Request {
        Request { id: RequestId(self.uuid()), until: self.until() }
    }

    fn until(&self) -> LogTime {
        self.state.time.after(KEPT)
    }

    fn uuid(&self) -> Uuid {
        uuid::Builder::from_random_bytes(self.rng.bytes(16).try_into().unwrap_or_default()).into_uuid()
    }
}
