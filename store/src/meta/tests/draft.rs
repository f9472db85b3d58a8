//! Random logs that mean something: a draft says what kind of command comes and how far it is off the mark; the
//! state that it meets makes a command of it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use proptest::prelude::*;

use super::{ids, script};
use crate::archive::{ObjectReceipt, Policy, Reach};
use crate::digest::Digest;
use crate::id::{CopyId, NodeId, SegmentId};
use crate::lease::{LEASE_MAX, LEASE_MIN};
use crate::meta::apply::Position;
use crate::meta::command::{Command, Commit, Entry, Finding, Request, Scope, Stamp};
use crate::meta::state::State;
use crate::node::Role;
use crate::segment::{Ack, Epoch, Kind, Receipt, Segment, Version};
use crate::time::{LogTime, WallTime};

/// The most entries of a random log.
const ENTRIES_MAX: usize = 80;
const MINUTE: u64 = 60_000;

/// One entry to be.
#[derive(Clone, Debug)]
struct Draft {
    /// How far the stamp's clock is ahead; far steps make answers and registrations run out.
    ahead: u64,
    /// Whether the stamp is of the entry's term.
    own_term: bool,
    /// Raises the term.
    elected: bool,
    /// A request id that others use too; else a new one.
    by: Option<u64>,
    /// How long the request lasts; negative if it is over.
    lasts: i64,
    what: What,
    /// Numbers for whatever is to be chosen.
    dice: [u8; 32],
}

#[derive(Clone, Copy, Debug)]
enum What {
    Tick,
    Again,
    Join,
    Describe,
    Mark,
    Drain,
    Register,
    Commit,
    Confirm,
    Lose,
    Claim,
    Renew,
    Lapse,
    Release,
    Unregister,
    Expire,
    Pin,
    Unpin,
    Retire,
    Disown,
    Abandon,
    Remove,
    Reach,
    Deposited,
    LoseObject,
}

/// A log, printed with an entry a line.
#[derive(Clone)]
pub(super) struct Log(pub(super) Vec<(Position, Entry)>);

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(at, entry)| writeln!(f, "{}@{} {entry:?}", at.index, at.term))
    }
}

/// Logs of a small cluster, which begin with its founding.
pub(super) fn logs() -> impl Strategy<Value = Log> {
    prop::collection::vec(draft(), 1..ENTRIES_MAX).prop_map(|drafts| {
        let mut writer = Writer::new();
        drafts.iter().for_each(|draft| writer.write(draft));
        Log(writer.log)
    })
}

fn draft() -> impl Strategy<Value = Draft> {
    let ahead = prop_oneof![6 => Just(0), 6 => 1..100u64, 2 => Just(20 * MINUTE), 1 => Just(61 * MINUTE)];
    let lasts = prop_oneof![8 => Just(1), 4 => Just(30), 1 => Just(60), 1 => Just(61), 1 => Just(-1)];
    let by = prop_oneof![4 => Just(None), 1 => (1..6u64).prop_map(Some)];
    let what = prop_oneof![
        1 => Just(What::Tick), 4 => Just(What::Again), 1 => Just(What::Join), 1 => Just(What::Describe),
        2 => Just(What::Mark), 1 => Just(What::Drain), 4 => Just(What::Register), 12 => Just(What::Commit),
        6 => Just(What::Confirm), 5 => Just(What::Lose), 4 => Just(What::Claim), 2 => Just(What::Release), 2 => Just(What::Renew), 2 => Just(What::Lapse),
        2 => Just(What::Unregister), 2 => Just(What::Expire), 2 => Just(What::Pin), 1 => Just(What::Unpin),
        3 => Just(What::Retire), 2 => Just(What::Disown), 3 => Just(What::Abandon), 2 => Just(What::Remove),
        1 => Just(What::Reach), 5 => Just(What::Deposited), 2 => Just(What::LoseObject),
    ];
    (ahead, prop::bool::weighted(0.9), prop::bool::weighted(0.1), by, lasts, what, any::<[u8; 32]>()).prop_map(
        |(ahead, own_term, elected, by, lasts, what, dice)| Draft { ahead, own_term, elected, by, lasts, what, dice },
    )
}

/// Writes a log, and applies it to aim at what is there.
struct Writer {
    state: State,
    term: u64,
    log: Vec<(Position, Entry)>,
    segments: u64,
    copies: u64,
}

impl Writer {
    fn new() -> Self {
        let mut writer = Self { state: State::default(), term: 1, log: Vec::new(), segments: 0, copies: 0 };
        for number in 1..=4 {
            let role = if number == 4 { Role::Storage } else { Role::Executor };
            let (incarnation, profile) = (ids::incarnation(number), script::profile(number, role));
            let command = match number {
                1 => Command::Found { cluster: ids::cluster(1), incarnation, profile },
                _ => Command::Join { incarnation, profile },
            };
            writer.push(Stamp::default(), command);
        }
        let (name, segment) = ("a".parse().unwrap(), writer.fresh_segment());
        let request = Request { id: ids::request(99), until: LogTime(MINUTE) };
        let register = Command::Register { request, name, segment, owner: ids::node(1), kind: Kind::File };
        writer.push(Stamp::default(), register);
        writer
    }

    fn write(&mut self, draft: &Draft) {
        self.term += u64::from(draft.elected);
        let stamp = Stamp {
            clock: LogTime(self.state.time.0 + draft.ahead),
            term: if draft.own_term { self.term } else { self.term - 1 },
        };
        let command = self.command(draft);
        self.push(stamp, command);
    }

    fn push(&mut self, stamp: Stamp, command: Command) {
        let position = Position { term: self.term, index: self.state.revision + 1 };
        let entry = Entry { stamp, at: WallTime(position.index), command };
        let _ = self.state.apply(position, &entry);
        self.log.push((position, entry));
    }

    fn command(&mut self, draft: &Draft) -> Command {
        let dice = &mut Dice(draft.dice.iter());
        let number = draft.by.unwrap_or(100 + self.state.revision);
        let until = self.state.time.0.saturating_add_signed(draft.lasts * MINUTE as i64);
        let request = Request { id: ids::request(number), until: LogTime(until) };
        match draft.what {
            What::Tick => Command::Tick,
            What::Again => self.again(dice, LogTime(until)),
            What::Join => {
                let number = 1 + dice.below(7);
                let profile = script::profile(1 + dice.below(7), Role::Executor);
                Command::Join { incarnation: ids::incarnation(number), profile }
            }
            What::Describe => {
                let number = 1 + dice.below(5);
                let role = if number == 4 { Role::Storage } else { Role::Executor };
                let profile = script::profile(1 + dice.below(7), role);
                Command::Describe { node: ids::node(number), incarnation: ids::incarnation(number), profile }
            }
            What::Mark => Command::Mark { node: self.node(dice), up: dice.one_in(2) },
            What::Drain => Command::Drain { node: self.node(dice), draining: dice.one_in(2) },
            What::Register => {
                let name = ["a", "b", "b/c", "b.c"][dice.below(4) as usize].parse().unwrap();
                let segment = self.new_segment(dice, LogTime(self.state.time.0 + draft.ahead));
                Command::Register { request, name, segment, owner: self.node(dice), kind: Kind::File }
            }
            What::Commit => {
                let commit = self.commit(dice);
                if commit.ack != Ack::Global && dice.one_in(2) {
                    return Command::Commit { request, commit };
                }
                let policies = [None, Some(Policy::Always), Some(Policy::Every(2)), Some(Policy::Every(0))];
                let policy = policies[dice.below(7).saturating_sub(3) as usize];
                let object = Some(self.object(dice)).filter(|_| !dice.one_in(3));
                Command::Save { request, commit, policy, object }
            }
            What::Confirm => {
                let (segment, found) = self.segment(dice);
                let found = found.cloned();
                let version = dice.version(found.as_ref());
                let receipt = self.receipt(dice);
                let copy = dice.known_copy(found.as_ref(), version).filter(|_| dice.one_in(4));
                let receipt = Receipt { copy: copy.unwrap_or(receipt.copy), ..receipt };
                let record = found.as_ref().and_then(|segment| segment.versions.get(&version));
                let digest = record.filter(|_| !dice.one_in(8)).map_or(Digest::of(b"other"), |record| record.digest);
                Command::Confirm { segment, version, digest, receipt }
            }
            What::Lose => {
                let (segment, found) = self.segment(dice);
                let version = dice.version(found);
                let finding = if dice.one_in(2) { Finding::Corrupt } else { Finding::Missing };
                let copy = dice.known_copy(found, version).filter(|_| !dice.one_in(8));
                let copy = copy.unwrap_or_else(|| ids::copy(1 + dice.below(self.copies + 1)));
                Command::Lose { segment, version, copy, finding }
            }
            What::Claim => {
                let (segment, found) = self.segment(dice);
                let (epoch, head) = found.map_or((Epoch(1), Version::NONE), |s| (s.epoch, s.head));
                let (epoch, head) = (Epoch(dice.near(epoch.0)), Version(dice.near(head.0)));
                let node = self.node(dice);
                if dice.one_in(2) {
                    return Command::Claim { request, segment, epoch, head, node };
                }
                let spans = [Duration::ZERO, LEASE_MIN, LEASE_MAX, LEASE_MAX, 2 * LEASE_MAX];
                let span = spans[dice.below(5) as usize];
                Command::Lease { request, segment, epoch, head, node, span }
            }
            What::Renew => {
                let (segment, found) = self.segment(dice);
                Command::Renew { request, segment, epoch: Epoch(dice.near(found.map_or(1, |s| s.epoch.0))) }
            }
            What::Lapse => Command::Lapse { segment: self.segment(dice).0 },
            What::Release => {
                let (segment, found) = self.segment(dice);
                Command::Release { request, segment, epoch: Epoch(dice.near(found.map_or(1, |s| s.epoch.0))) }
            }
            What::Unregister => {
                let (segment, found) = self.segment(dice);
                let scopes = [Scope::Segment, Scope::IfEmpty, Scope::Version(dice.version(found))];
                Command::Unregister { request, segment, scope: scopes[dice.below(5).min(2) as usize] }
            }
            What::Expire => Command::Expire { segment: self.segment(dice).0 },
            What::Pin => {
                let (segment, found) = self.segment(dice);
                Command::Pin { request, segment, version: dice.version(found) }
            }
            What::Retire => {
                let (segment, found) = self.segment(dice);
                let version = dice.version(found);
                let copy =
                    dice.known_copy(found, version).unwrap_or_else(|| ids::copy(1 + dice.below(self.copies + 1)));
                let record = found.and_then(|segment| segment.versions.get(&version));
                let others = record.into_iter().flat_map(|record| &record.copies).map(|copy| copy.id);
                let stay = others.filter(|other| *other != copy && !dice.one_in(8)).collect();
                Command::Retire { segment, version, copy, stay }
            }
            What::Disown => {
                let (segment, found) = self.segment(dice);
                let owner = found.and_then(|segment| segment.owner).filter(|_| !dice.one_in(4));
                Command::Disown { segment, node: owner.unwrap_or_else(|| self.node(dice)) }
            }
            What::Abandon => {
                let (segment, found) = self.segment(dice);
                let version = dice.version(found);
                let copy =
                    dice.known_copy(found, version).unwrap_or_else(|| ids::copy(1 + dice.below(self.copies + 1)));
                Command::Abandon { segment, version, copy, force: dice.one_in(2) }
            }
            What::Remove => {
                let node = self.node(dice);
                let life = self.state.members.get(&node).map(|member| member.incarnation);
                let life = life.filter(|_| !dice.one_in(8));
                Command::Remove { node, incarnation: life.unwrap_or_else(|| ids::incarnation(1 + dice.below(7))) }
            }
            What::Reach => {
                let node = self.node(dice);
                let life = self.state.members.get(&node).map(|member| member.incarnation);
                let incarnation = life.filter(|_| !dice.one_in(8)).unwrap_or_else(|| ids::incarnation(9));
                let reach = [
                    None,
                    Some(Reach::Down(None)),
                    Some(Reach::Down(Some(ids::tier(2)))),
                    Some(Reach::Up(ids::tier(1))),
                ];
                let reach = reach[dice.below(4) as usize];
                Command::Reach { node, incarnation, reach }
            }
            What::Deposited => {
                let (segment, found) = self.segment(dice);
                let found = found.cloned();
                let version = dice.version(found.as_ref());
                let receipt = self.object(dice);
                let known = dice.known_object(&self.state, segment, version).filter(|_| dice.one_in(3));
                let receipt = ObjectReceipt { object: known.unwrap_or(receipt.object), ..receipt };
                let record = found.as_ref().and_then(|segment| segment.versions.get(&version));
                let digest = record.filter(|_| !dice.one_in(8)).map_or(Digest::of(b"other"), |record| record.digest);
                Command::Deposited { segment, version, digest, receipt }
            }
            What::LoseObject => {
                let (segment, found) = self.segment(dice);
                let version = dice.version(found);
                let finding = if dice.one_in(2) { Finding::Corrupt } else { Finding::Missing };
                let object = dice.known_object(&self.state, segment, version).filter(|_| !dice.one_in(8));
                let object = object.unwrap_or_else(|| ids::copy(1 + dice.below(self.copies + 1)));
                Command::LoseObject { segment, version, object, finding }
            }
            What::Unpin => {
                let (segment, found) = self.segment(dice);
                let version = dice.version(found);
                Command::Unpin { request, segment, version: Some(version).filter(|_| dice.one_in(2)) }
            }
        }
    }

    /// An earlier command once more: the same to the letter, or planned anew with more time.
    fn again(&mut self, dice: &mut Dice<'_>, later: LogTime) -> Command {
        let at = self.log.len() - 1 - dice.below(self.log.len().min(12) as u64) as usize;
        let mut command = self.log[at].1.command.clone();
        if dice.one_in(2) {
            match &mut command {
                Command::Register { request, segment, .. } => {
                    request.until = later;
                    *segment = self.fresh_segment();
                }
                Command::Commit { request, .. }
                | Command::Save { request, .. }
                | Command::Claim { request, .. }
                | Command::Lease { request, .. } => {
                    request.until = later;
                }
                _ => {}
            }
        }
        command
    }

    fn commit(&mut self, dice: &mut Dice<'_>) -> Commit {
        let (segment, found) = self.segment(dice);
        let found = found.cloned();
        let (owner, epoch, head) = found.map_or((None, Epoch(1), Version::NONE), |s| (s.owner, s.epoch, s.head));
        let owner = owner.filter(|_| !dice.one_in(16)).unwrap_or_else(|| self.node(dice));
        let mut receipts: Vec<Receipt> = (0..dice.below(4)).map(|_| self.receipt(dice)).collect();
        if !dice.one_in(16) {
            receipts.push(Receipt { node: owner, ..self.receipt(dice) });
        }
        Commit {
            segment,
            owner,
            epoch: Epoch(dice.near(epoch.0)),
            after: Version(dice.near(head.0)),
            size: dice.below(100),
            digest: Digest::of(&[u8::try_from(dice.below(3)).unwrap()]),
            receipts,
            wanted: u8::try_from(dice.below(4)).unwrap(),
            ack: [Ack::Local, Ack::One, Ack::Quorum, Ack::All, Ack::Global][dice.below(5) as usize],
            keep: u32::try_from(1 + dice.below(3)).unwrap(),
            labels: BTreeMap::from([("k".into(), "v".repeat(dice.below(3) as usize))]),
        }
    }

    /// Mostly a new copy, sometimes one that was named before; mostly open, by a millisecond at the least.
    fn receipt(&mut self, dice: &mut Dice<'_>) -> Receipt {
        let copy = if dice.one_in(6) { 1 + dice.below(self.copies + 1) } else { self.copies + 1 };
        self.copies = self.copies.max(copy);
        let until = [0, 0, 60 * MINUTE, 60 * MINUTE, 60 * MINUTE][dice.below(5) as usize] + self.state.time.0;
        let until = if dice.one_in(10) { self.state.time.0.saturating_sub(1) } else { until };
        Receipt { copy: ids::copy(copy), node: self.node(dice), until: LogTime(until) }
    }

    /// As of a copy.
    fn object(&mut self, dice: &mut Dice<'_>) -> ObjectReceipt {
        let Receipt { copy, until, .. } = self.receipt(dice);
        ObjectReceipt { object: copy, tier: ids::tier(1 + dice.below(2)), until }
    }

    /// Mostly new; sometimes one that is registered, or that was and is still known to be gone at `clock`.
    fn new_segment(&mut self, dice: &mut Dice<'_>, clock: LogTime) -> SegmentId {
        let gone = self.state.gone.iter().filter(|(_, until)| **until >= clock).map(|(id, _)| *id);
        let used: Vec<_> = self.state.segments.keys().copied().chain(gone).collect();
        if dice.one_in(8) && !used.is_empty() {
            return used[dice.below(used.len() as u64) as usize];
        }
        self.fresh_segment()
    }

    fn fresh_segment(&mut self) -> SegmentId {
        self.segments += 1;
        ids::segment(self.segments)
    }

    /// Mostly one that is registered.
    fn segment(&self, dice: &mut Dice<'_>) -> (SegmentId, Option<&Segment>) {
        let registered: Vec<_> = self.state.segments.values().collect();
        if registered.is_empty() || dice.one_in(16) {
            return (ids::segment(1 + dice.below(self.segments + 2)), None);
        }
        let found = registered[dice.below(registered.len() as u64) as usize];
        (found.id, Some(found))
    }

    fn node(&self, dice: &mut Dice<'_>) -> NodeId {
        if dice.one_in(24) { ids::node(9) } else { ids::node(1 + dice.below(4)) }
    }
}

/// Bytes that were drawn before, used one by one; when they are used up, all that follow are ones.
struct Dice<'a>(std::slice::Iter<'a, u8>);

impl Dice<'_> {
    fn below(&mut self, limit: u64) -> u64 {
        u64::from(self.0.next().copied().unwrap_or(1)) % limit
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    /// The number, or sometimes one beside it.
    fn near(&mut self, number: u64) -> u64 {
        match self.below(24) {
            0 => number + 1,
            1 => number.saturating_sub(1),
            _ => number,
        }
    }

    /// The head, or sometimes one beside it.
    fn version(&mut self, segment: Option<&Segment>) -> Version {
        let head = segment.map_or(1, |segment| segment.head.0);
        Version([head, head, head.saturating_sub(1), head.saturating_sub(2), head + 1][self.below(5) as usize])
    }

    /// An object that the version has, or had.
    fn known_object(&mut self, state: &State, segment: SegmentId, version: Version) -> Option<CopyId> {
        let archive = state.archive(segment)?;
        let ended = archive.ended.get(&version).into_iter().flatten().copied();
        let known: Vec<_> = archive.objects.get(&version).map(|object| object.id).into_iter().chain(ended).collect();
        known.get(self.below(known.len() as u64 + 1) as usize).copied()
    }

    /// A copy that the version lists, or remembers.
    fn known_copy(&mut self, segment: Option<&Segment>, version: Version) -> Option<CopyId> {
        let record = segment?.versions.get(&version)?;
        let known: Vec<_> = record.copies.iter().map(|copy| copy.id).chain(record.ended.iter().copied()).collect();
        known.get(self.below(known.len() as u64 + 1) as usize).copied()
    }
}
