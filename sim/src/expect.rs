//! Which versions of a name must be there, by what clients were told and nothing else.

use std::collections::BTreeMap;

use cairn_store::digest::Digest;
use cairn_store::id::{RequestId, SegmentId};
use cairn_store::name::Name;
use cairn_store::node::NodeName;
use cairn_store::segment::Version;

use crate::history::{Ask, Call, History, Moment, Told};

/// A version that was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// What was acknowledged.
    pub digest: Digest,
    /// To whom.
    pub owner: Option<NodeName>,
    /// How many other nodes had to have it.
    pub needed: u8,
    /// What may have taken it away by now.
    let_go: LetGo,
}

/// What may have let go of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LetGo {
    /// Nothing: it is pinned.
    Never,
    /// Newer ones, of which so many were to be kept at least.
    ByRetention { keep: u32 },
    /// Somebody.
    ByHand,
}

/// What was acknowledged under the newest registration of a name.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Which registration; none if nothing was acknowledged.
    pub segment: Option<SegmentId>,
    /// Its versions.
    pub versions: BTreeMap<Version, Acknowledged>,
    /// Whether the registration may have ended since.
    removable: bool,
}

/// How a cluster shows a name.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Which registration.
    pub segment: SegmentId,
    /// Its newest version.
    pub head: Version,
    /// All that it has.
    pub versions: BTreeMap<Version, Digest>,
}

impl Expected {
    /// Gathers it from all calls about a name.
    pub fn of(calls: &[&Call], history: &History) -> Self {
        let evidence = Evidence { calls, first_asked: history.first_asked() };
        let saves: Vec<Saved<'_>> = calls.iter().filter_map(|call| Saved::of(call)).collect();
        // The newest registration is the one of the save that was begun last.
        let Some(newest) = saves.iter().max_by_key(|saved| evidence.asked(saved.call)) else {
            return Self::default();
        };
        let mut versions = BTreeMap::new();
        for saved in saves.iter().filter(|saved| saved.segment == newest.segment) {
            let (digest, owner, let_go) = (saved.digest, saved.owner.clone(), evidence.let_go(saved));
            versions.entry(saved.version).or_insert(Acknowledged { digest, owner, needed: saved.needed, let_go });
        }
        // A removal that was done before that save was begun ended an earlier registration.
        let last = evidence.asked(newest.call);
        let removable = evidence.may_have(last, |ask| *ask == Ask::Remove { version: None });
        Self { segment: Some(newest.segment), versions, removable }
    }

    /// What must load now, as the cluster shows the name (none: not at all); and what is wrong already.
    pub fn due(&self, name: &Name, listed: Option<&Listed>) -> (Vec<(Version, Digest)>, Vec<String>) {
        let Some(segment) = self.segment else { return (Vec::new(), Vec::new()) };
        let newest = self.versions.last_key_value().map_or(Version::NONE, |(version, _)| *version);
        let Some(listed) = listed.filter(|listed| listed.segment == segment) else {
            let lost = format!("A: version {newest} of {name} was acknowledged, and the name is not there");
            return (Vec::new(), if self.removable { Vec::new() } else { vec![lost] });
        };
        let head = listed.head;
        let mut wrong = Vec::new();
        if head < newest {
            wrong.push(format!("A: version {newest} of {name} was acknowledged, and the newest is {head}"));
        }
        let kept = self.versions.iter().filter(|(version, acknowledged)| match acknowledged.let_go {
            LetGo::Never => true,
            LetGo::ByRetention { keep } => version.0 + u64::from(keep) > head.0,
            LetGo::ByHand => false,
        });
        let due: Vec<_> = kept.map(|(version, acknowledged)| (*version, acknowledged.digest)).collect();
        for (version, digest) in &due {
            match listed.versions.get(version) {
                Some(found) if found == digest => {}
                Some(found) => wrong.push(format!("A: version {version} of {name} was {digest}, and is {found}")),
                None => wrong.push(format!("A: version {version} of {name} was acknowledged, and is not kept")),
            }
        }
        (due, wrong)
    }
}

/// An acknowledged save.
struct Saved<'a> {
    call: &'a Call,
    segment: SegmentId,
    version: Version,
    digest: Digest,
    owner: &'a Option<NodeName>,
    needed: u8,
}

impl<'a> Saved<'a> {
    fn of(call: &'a Call) -> Option<Self> {
        let Told::Saved { segment, version, digest, owner, .. } = call.answer() else { return None };
        let needed = match &call.ask {
            Ask::Save { ack, replicas, .. } => ack.needed(*replicas),
            _ => 0,
        };
        Some(Self { call, segment: *segment, version: *version, digest: *digest, owner, needed })
    }
}

/// All calls about a name.
struct Evidence<'a> {
    calls: &'a [&'a Call],
    first_asked: BTreeMap<RequestId, Moment>,
}

impl Evidence<'_> {
    /// When the call's request was made first.
    fn asked(&self, call: &Call) -> Moment {
        self.first_asked.get(&call.request).copied().unwrap_or(call.asked)
    }

    /// When a call had certainly done what it did; none if it still may, or did it again: its answer is forgotten in time.
    fn over(&self, call: &Call) -> Option<Moment> {
        let tries = || self.calls.iter().filter(|other| other.request == call.request);
        let told = tries().filter_map(|other| other.told.as_ref());
        let done = told.filter(|(_, told)| told.is_success()).map(|(at, _)| *at).min()?;
        let remembered =
            |other: &&Call| done.is_remembered_at(other.told.as_ref().map_or(other.asked, |(at, _)| *at));
        tries().all(remembered).then_some(done)
    }

    /// Whether such a request may have been carried out since.
    fn may_have(&self, since: Moment, is: impl Fn(&Ask) -> bool) -> bool {
        let mut such = self.calls.iter().filter(|call| is(&call.ask) && call.answer().may_have_happened());
        such.any(|call| self.over(call).is_none_or(|at| at >= since))
    }

    fn let_go(&self, saved: &Saved<'_>) -> LetGo {
        let version = saved.version;
        if self.may_have(self.asked(saved.call), |ask| *ask == Ask::Remove { version: Some(version) }) {
            LetGo::ByHand
        } else if self.is_pinned(saved) {
            LetGo::Never
        } else {
            // Only a save that may have made a newer one had a say.
            let keeps = self.calls.iter().filter_map(|call| match (&call.ask, call.answer()) {
                (Ask::Save { keep, .. }, Told::Saved { version: made, .. }) if *made > version => Some(*keep),
                (Ask::Save { keep, .. }, Told::Unknown) => Some(*keep),
                _ => None,
            });
            LetGo::ByRetention { keep: keeps.min().unwrap_or(u32::MAX) }
        }
    }

    /// Whether a pin was acknowledged after the save, and has certainly not ended.
    fn is_pinned(&self, saved: &Saved<'_>) -> bool {
        let (version, since) = (saved.version, saved.call.told.as_ref().map_or(saved.call.asked, |(at, _)| *at));
        let is_unpin = |ask: &Ask| matches!(ask, Ask::Unpin { version: one } if one.is_none_or(|it| it == version));
        let mut pins = self.calls.iter().filter(|call| {
            call.ask == Ask::Pin { version } && *call.answer() == Told::Done && self.asked(call) >= since
        });
        pins.any(|pin| !self.may_have(self.asked(pin), is_unpin))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use cairn_store::segment::{Ack, Epoch};
    use uuid::Uuid;

    fn at(ms: u64) -> Moment {
        Moment { at: Duration::from_millis(ms), ..Moment::default() }
    }

    fn call(ask: Ask, asked: u64, told: Option<(u64, Told)>) -> Call {
        let told = told.map(|(ms, told)| (at(ms), told));
        let (node, name) = ("n1".parse().unwrap(), "small/1".parse().unwrap());
        Call { node, request: RequestId(Uuid::from_u128(asked.into())), name, ask, asked: at(asked), told }
    }

    fn bytes(version: u64) -> Digest {
        Digest::of(&version.to_le_bytes())
    }

    fn save(segment: u128, version: u64, asked: u64) -> Call {
        let digest = bytes(version);
        let ask = Ask::Save { digest, replicas: 2, ack: Ack::All, keep: 2, if_version: None, epoch: None };
        let segment = SegmentId(Uuid::from_u128(segment));
        let owner = Some("n1".parse().unwrap());
        let told = Told::Saved { segment, version: Version(version), epoch: Epoch(1), digest, owner };
        call(ask, asked, Some((asked + 5, told)))
    }

    fn remove(asked: u64, done: Option<u64>) -> Call {
        call(Ask::Remove { version: None }, asked, done.map(|ms| (ms, Told::Done)))
    }

    fn done(ask: Ask, asked: u64) -> Call {
        call(ask, asked, Some((asked + 5, Told::Done)))
    }

    fn expected(calls: Vec<Call>) -> Expected {
        let history = History { calls, ..History::default() };
        Expected::of(&history.calls.iter().collect::<Vec<_>>(), &history)
    }

    fn wrong(calls: Vec<Call>, listed: Option<&[u64]>) -> Vec<String> {
        let listed = listed.map(|versions| Listed {
            segment: SegmentId(Uuid::from_u128(1)),
            head: versions.last().copied().map(Version).unwrap_or_default(),
            versions: versions.iter().map(|version| (Version(*version), bytes(*version))).collect(),
        });
        expected(calls).due(&"small/1".parse().unwrap(), listed.as_ref()).1
    }

    #[test]
    fn what_a_removal_may_have_ended_is_not_insisted_on() {
        assert!(!expected(vec![save(1, 1, 0), save(1, 2, 10)]).removable);
        assert!(expected(vec![save(1, 1, 0), remove(10, Some(20))]).removable);
        assert!(expected(vec![save(1, 1, 0), remove(10, None), save(2, 1, 40)]).removable, "it may still come");
        let again = expected(vec![save(1, 1, 0), remove(10, Some(20)), save(2, 1, 30)]);
        assert!(!again.removable);
        assert_eq!(again.segment, Some(SegmentId(Uuid::from_u128(2))));
        assert_eq!(again.versions.len(), 1);
    }

    #[test]
    fn a_name_that_is_gone_is_a_loss_unless_it_was_removed() {
        assert_eq!(wrong(vec![save(1, 1, 0)], None).len(), 1);
        assert!(wrong(vec![save(1, 1, 0), remove(10, None)], None).is_empty());
        assert!(wrong(Vec::new(), None).is_empty());
    }

    #[test]
    fn retention_takes_what_is_older_than_what_was_to_be_kept_and_nothing_else() {
        let three = || vec![save(1, 1, 0), save(1, 2, 10), save(1, 3, 20)];
        assert!(wrong(three(), Some(&[2, 3])).is_empty());
        assert!(wrong(three(), Some(&[1, 2, 3])).is_empty());
        assert_eq!(wrong(three(), Some(&[3])).len(), 1, "two were to be kept");
        assert_eq!(wrong(three(), Some(&[1, 2])).len(), 2, "the newest, and that it is the newest");
        let taken = |asked| done(Ask::Remove { version: Some(Version(2)) }, asked);
        assert!(wrong([three(), vec![taken(30)]].concat(), Some(&[3])).is_empty());
    }

    #[test]
    fn a_pin_holds_until_it_may_have_ended() {
        let three = || vec![save(1, 1, 0), save(1, 2, 10), save(1, 3, 20)];
        let pin = || done(Ask::Pin { version: Version(1) }, 12);
        let unpin = |version, asked| done(Ask::Unpin { version }, asked);
        assert_eq!(wrong([three(), vec![pin()]].concat(), Some(&[2, 3])).len(), 1);
        assert!(wrong([three(), vec![pin(), unpin(None, 40)]].concat(), Some(&[2, 3])).is_empty());
        assert!(wrong([three(), vec![pin(), unpin(Some(Version(1)), 40)]].concat(), Some(&[2, 3])).is_empty());
        assert_eq!(wrong([three(), vec![pin(), unpin(Some(Version(2)), 40)]].concat(), Some(&[2, 3])).len(), 1);
        assert_eq!(wrong([three(), vec![pin(), unpin(None, 6)]].concat(), Some(&[2, 3])).len(), 1, "it ended before");
    }
}
