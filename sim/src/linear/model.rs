//! Linearizability by search, from what clients were told alone: stateright's tester against a model of one name.
//!
//! The search is exponential, so names with more than [`CALLS_MAX`] calls or [`OPEN_MAX`] open ones are left out.
//! What was refused changed nothing, and is left out too; what was never answered may have happened or not.
//!
//! The model knows what clients can know: of nodes their machines, because an address is another node's when disks were
//! replaced; and which of them were ever emptied: what those own may lose its owner at any time. A name without a version is as good as none to it: a first save may have
//! registered it, and a failed one may have ended that again, whereby epochs were used up.

use std::collections::BTreeSet;
use std::sync::Arc;

use cairn_store::digest::Digest;
use cairn_store::segment::{Epoch, Version};
use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

use crate::history::{Ask, Call, History, Moment, Told, machine_of};

/// The most calls about a name.
pub const CALLS_MAX: usize = 40;
/// The most calls without an answer.
pub const OPEN_MAX: usize = 6;

/// What a search over all names came to.
#[derive(Clone, Debug, Default)]
pub struct Searched {
    /// Names that were searched.
    pub names: usize,
    /// Names with too many calls, too many open ones, or one that was asked again too late.
    pub left_out: usize,
    /// Names whose answers no order explains.
    pub wrong: Vec<String>,
}

/// Searches an order for the answers about each name.
pub fn search(history: &History) -> Searched {
    let mut searched = Searched::default();
    let emptied = history.drains.iter().map(|drain| machine_of(&drain.node).to_owned());
    let emptied: Arc<BTreeSet<String>> = Arc::new(emptied.collect());
    for (name, calls) in history.by_name() {
        let Some(calls) = modelled(&calls, history) else {
            searched.left_out += 1;
            continue;
        };
        let open = calls.iter().filter(|call| call.end.is_none()).count();
        if calls.len() > CALLS_MAX || open > OPEN_MAX {
            searched.left_out += 1;
            continue;
        }
        searched.names += 1;
        if !is_linearizable(&calls, &emptied) {
            searched.wrong.push(format!("{name}: no order explains what clients were told: {calls:?}"));
        }
    }
    searched
}

/// A call that the model knows.
#[derive(Clone, Debug)]
struct Modelled {
    op: Op,
    begin: Moment,
    end: Option<(Moment, Ret)>,
}

/// What a client asks.
#[derive(Clone, Debug)]
enum Op {
    Save {
        node: String,
        digest: Digest,
        if_version: Option<Version>,
        epoch: Option<Epoch>,
    },
    Load,
    /// Of a load that takes over the taking: what it loads is a load of its own, of what the node may have saved since.
    Take {
        node: String,
    },
    Claim {
        node: String,
    },
    Release {
        epoch: Epoch,
    },
    Remove,
}

/// What it is told.
#[derive(Clone, Debug, PartialEq)]
enum Ret {
    Saved {
        version: Version,
        epoch: Epoch,
    },
    Loaded {
        version: Version,
        epoch: Epoch,
        digest: Digest,
        owner: Option<String>,
    },
    Claimed {
        head: Version,
        epoch: Epoch,
    },
    Taken {
        epoch: Epoch,
    },
    Done,
    Absent,
    /// Of a call without an answer.
    Whatever,
}

/// One name. Without a version only the lowest epoch that may follow is known.
#[derive(Clone, Debug)]
struct Model {
    head: Version,
    digest: Option<Digest>,
    owner: Option<String>,
    epoch: Epoch,
    /// Whether the epoch is just this one; else it is this one at least.
    exact: bool,
    /// Machines that were ever emptied.
    emptied: Arc<BTreeSet<String>>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            head: Version::NONE,
            digest: None,
            owner: None,
            epoch: Epoch(1),
            exact: false,
            emptied: Arc::default(),
        }
    }
}

impl Model {
    /// Nothing was registered yet. These machines are emptied at times.
    fn new(emptied: Arc<BTreeSet<String>>) -> Self {
        Self { emptied, ..Self::default() }
    }

    /// It was removed.
    fn removed(&self) -> Self {
        Self { epoch: self.epoch.next(), ..Self::new(self.emptied.clone()) }
    }

    /// Whether this can be its owner. An owner that was emptied may have lost it; if it has, it has.
    fn is_owned_by(&mut self, owner: Option<&String>) -> bool {
        if owner.is_none() && self.owner.as_ref().is_some_and(|owner| self.emptied.contains(owner)) {
            self.owner = None;
        }
        self.owner.as_ref() == owner
    }

    fn is_empty(&self) -> bool {
        self.head == Version::NONE
    }

    /// Whether the epoch can be this one. If so, it is.
    fn settle(&mut self, epoch: Epoch) -> bool {
        let can = if self.exact && !self.is_empty() { epoch == self.epoch } else { epoch >= self.epoch };
        if can {
            (self.epoch, self.exact) = (epoch, true);
        }
        can
    }

    fn save(&mut self, node: &str, digest: Digest) {
        self.head = Version(self.head.0 + 1);
        self.digest = Some(digest);
        self.owner = Some(node.to_owned());
    }

    /// Whether a claim can have led to this epoch. If so, it has.
    fn claim(&mut self, node: &str, epoch: Epoch) -> bool {
        self.epoch = self.epoch.next();
        // A name without a version was registered in an epoch of its own before.
        if self.is_empty() {
            self.exact = false;
        }
        self.owner = Some(node.to_owned());
        self.settle(epoch)
    }
}

impl SequentialSpec for Model {
    type Op = Op;
    type Ret = Ret;

    /// What a call without an answer does if it happens.
    fn invoke(&mut self, op: &Op) -> Ret {
        match op {
            Op::Save { node, digest, if_version, epoch } => {
                let guarded = if_version.is_none_or(|version| version == self.head)
                    && epoch.is_none_or(|epoch| self.clone().settle(epoch));
                if guarded && (self.is_empty() || self.owner.as_ref() == Some(node)) {
                    // It may have been registered anew, and not only once.
                    self.exact &= !self.is_empty();
                    self.save(node, *digest);
                }
            }
            Op::Claim { node } | Op::Take { node } => {
                self.epoch = self.epoch.next();
                self.owner = Some(node.to_owned());
            }
            Op::Release { epoch } => {
                if self.settle(*epoch) {
                    self.owner = None;
                }
            }
            Op::Remove => *self = self.removed(),
            Op::Load => {}
        }
        Ret::Whatever
    }

    fn is_valid_step(&mut self, op: &Op, ret: &Ret) -> bool {
        match (op, ret) {
            (Op::Save { node, digest, if_version, epoch: wanted }, Ret::Saved { version, epoch }) => {
                let valid = if_version.is_none_or(|version| version == self.head)
                    && wanted.is_none_or(|wanted| wanted == *epoch)
                    && version.0 == self.head.0 + 1
                    && self.settle(*epoch)
                    && (self.is_empty() || self.owner.as_ref() == Some(node));
                self.save(node, *digest);
                valid
            }
            (Op::Load, Ret::Loaded { version, epoch, digest, owner }) => {
                !self.is_empty()
                    && self.head == *version
                    && self.digest == Some(*digest)
                    && self.is_owned_by(owner.as_ref())
                    && self.settle(*epoch)
            }
            (Op::Take { node }, Ret::Taken { epoch }) => !self.is_empty() && self.claim(node, *epoch),
            (Op::Claim { node }, Ret::Claimed { head, epoch }) => self.head == *head && self.claim(node, *epoch),
            (Op::Release { epoch }, Ret::Done) => {
                let valid = self.is_empty() || self.owner.is_some();
                self.owner = None;
                valid && self.settle(*epoch)
            }
            (Op::Remove, Ret::Done) => {
                *self = self.removed();
                true
            }
            (_, Ret::Absent) => self.is_empty(),
            _ => false,
        }
    }
}

/// The calls as the model knows them; none if one was asked again so late, or of another node, that it may have been another
/// one.
fn modelled(calls: &[&Call], history: &History) -> Option<Vec<Modelled>> {
    let first_asked = history.first_asked();
    let mut known: Vec<Modelled> = Vec::new();
    let mut requests = Vec::new();
    for call in calls {
        let Some(op) = op_of(call) else { continue };
        // Its disks were replaced while it was asked: the one before may have done the same.
        if *call.answered_by() != call.node {
            return None;
        }
        let mut end = match call.answer() {
            Told::Refused(_) => continue,
            Told::Unknown => None,
            told => match (&call.told, ret_of(told)) {
                (Some((at, _)), Some(ret)) => Some((*at, ret)),
                _ => continue,
            },
        };
        let mut load = None;
        if let (Op::Take { .. }, Some((at, Ret::Loaded { epoch, .. }))) = (&op, &end) {
            let taken = Some((*at, Ret::Taken { epoch: *epoch }));
            load = std::mem::replace(&mut end, taken);
        }
        let begin = first_asked.get(&call.request).copied().unwrap_or(call.asked);
        // A clock that leaps lets answers be forgotten while a call lasts: its own retries may have done it once more (1613).
        if let Some((at, _)) = &call.told
            && !begin.is_remembered_at(*at)
            && !matches!(op, Op::Load)
        {
            return None;
        }
        let place = requests.iter().position(|request| *request == Some(call.request));
        // The same request asked again is the same call, while its answer is remembered.
        if let Some(earlier) = place.and_then(|place| known.get(place)) {
            let told = call.told.as_ref().map_or(call.asked, |(at, _)| *at);
            if !earlier.begin.is_remembered_at(told) {
                return None;
            }
        }
        match place {
            Some(place) => match known.get_mut(place) {
                // What found nothing may find something when it is asked again.
                Some(earlier) if matches!(earlier.end, None | Some((_, Ret::Absent))) => {
                    earlier.end = end.or(earlier.end.take());
                }
                _ => load = None,
            },
            None => {
                requests.push(Some(call.request));
                known.push(Modelled { op, begin, end });
            }
        }
        if load.is_some() {
            requests.push(None);
            known.push(Modelled { op: Op::Load, begin, end: load });
        }
    }
    // A read without an answer tells nothing.
    known.retain(|call| call.end.is_some() || !matches!(call.op, Op::Load));
    Some(known)
}

fn op_of(call: &Call) -> Option<Op> {
    let node = machine_of(&call.node).to_owned();
    Some(match call.ask {
        Ask::Save { digest, if_version, epoch, .. } => Op::Save { node, digest, if_version, epoch },
        Ask::Load { version: None, claim: true, .. } => Op::Take { node },
        Ask::Load { version: None, stale: false, .. } => Op::Load,
        Ask::Claim => Op::Claim { node },
        Ask::Release { epoch } => Op::Release { epoch },
        Ask::Remove { version: None } => Op::Remove,
        // These leave the newest version and its owner as they are.
        Ask::Load { .. } | Ask::Remove { .. } | Ask::Pin { .. } | Ask::Unpin { .. } => return None,
    })
}

fn ret_of(told: &Told) -> Option<Ret> {
    Some(match told {
        Told::Saved { version, epoch, .. } => Ret::Saved { version: *version, epoch: *epoch },
        Told::Loaded { version, epoch, digest, owner, .. } => Ret::Loaded {
            version: *version,
            epoch: *epoch,
            digest: *digest,
            owner: owner.as_ref().map(|owner| machine_of(owner).to_owned()),
        },
        Told::Claimed { epoch, head, .. } => Ret::Claimed { head: head.unwrap_or(Version::NONE), epoch: *epoch },
        Told::Done => Ret::Done,
        Told::Absent => Ret::Absent,
        Told::Refused(_) | Told::Unknown => return None,
    })
}

fn is_linearizable(calls: &[Modelled], emptied: &Arc<BTreeSet<String>>) -> bool {
    let mut tester = LinearizabilityTester::new(Model::new(emptied.clone()));
    // The tester knows threads, which do one thing after another: each call goes to one that is free by then.
    let mut busy: Vec<Option<Moment>> = Vec::new();
    let mut events = Vec::new();
    let mut order: Vec<&Modelled> = calls.iter().collect();
    order.sort_by_key(|call| call.begin);
    for call in order {
        let free = busy.iter().position(|until| until.is_some_and(|until| until < call.begin));
        let thread = free.unwrap_or(busy.len());
        if free.is_none() {
            busy.push(None);
        }
        if let Some(until) = busy.get_mut(thread) {
            *until = call.end.as_ref().map(|(at, _)| *at);
        }
        events.push((call.begin, 0, thread, call));
        if let Some((at, _)) = &call.end {
            events.push((*at, 1, thread, call));
        }
    }
    // At one moment what begins comes first: then both may have been at the same time.
    events.sort_by_key(|(at, ends, thread, _)| (*at, *ends, *thread));
    for (_, ends, thread, call) in events {
        let fed = match (ends, &call.end) {
            (0, _) => tester.on_invoke(thread, call.op.clone()).map(drop),
            (_, Some((_, ret))) => tester.on_return(thread, ret.clone()).map(drop),
            _ => Ok(()),
        };
        if fed.is_err() {
            return false;
        }
    }
    tester.is_consistent()
}

#[cfg(test)]
mod tests;
