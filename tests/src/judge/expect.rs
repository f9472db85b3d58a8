//! Which versions of a name must be there, by what clients were told.

use std::collections::BTreeMap;

use cairn_client::api::SegmentDetail;
use cairn_sim::history::{Ask, Call, History, Moment, Told};
use cairn_store::digest::Digest;
use cairn_store::id::SegmentId;
use cairn_store::name::Name;
use cairn_store::node::NodeName;
use cairn_store::segment::Version;

use crate::load::keep_of;

/// A version that was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Acknowledged {
    pub(super) digest: Digest,
    pub(super) owner: NodeName,
    /// How many other nodes had to have it.
    pub(super) needed: u8,
}

/// What was acknowledged under the newest registration of a name.
#[derive(Clone, Debug, Default)]
pub(super) struct Expected {
    pub(super) segment: Option<SegmentId>,
    pub(super) versions: BTreeMap<Version, Acknowledged>,
    /// Whether the registration may have ended since.
    pub(super) removable: bool,
    keep: u32,
}

/// Gathers it.
pub(super) fn expect(name: &Name, calls: &[&Call], history: &History) -> Expected {
    let first_asked = history.first_asked();
    let asked = |call: &Call| first_asked.get(&call.request).copied().unwrap_or(call.asked);
    // The newest registration is the one of the save that was begun last.
    let saves = calls.iter().filter_map(|call| match call.answer() {
        Told::Saved { segment, version, digest, owner, .. } => {
            Some((*call, *segment, *version, *digest, owner.clone()))
        }
        _ => None,
    });
    let saves: Vec<_> = saves.collect();
    let Some((_, segment, ..)) = saves.iter().max_by_key(|(call, ..)| asked(call)) else {
        return Expected::default();
    };
    let segment = *segment;
    let own = || saves.iter().filter(|(_, of, ..)| *of == segment);
    let last = own().map(|(call, ..)| asked(call)).max().unwrap_or_default();
    let mut versions = BTreeMap::new();
    for (call, _, version, digest, owner) in own() {
        let needed = match &call.ask {
            Ask::Save { ack, replicas, .. } => ack.needed(*replicas),
            _ => 0,
        };
        versions.entry(*version).or_insert(Acknowledged { digest: *digest, owner: owner.clone(), needed });
    }
    // A removal that was done before that save was begun ended an earlier registration.
    let over = |call: &Call| -> Option<Moment> {
        let tries = calls.iter().filter(|other| other.request == call.request);
        tries.filter_map(|other| other.told.as_ref()).filter(|(_, told)| told.is_success()).map(|(at, _)| *at).min()
    };
    let removals =
        calls.iter().filter(|call| matches!(call.ask, Ask::Remove { .. }) && call.answer().may_have_happened());
    let removable = removals.into_iter().any(|call| over(call).is_none_or(|at| at >= last));
    Expected { segment: Some(segment), versions, removable, keep: keep_of(name) }
}

impl Expected {
    /// What must load now, as the cluster shows the name; and what is wrong already.
    pub(super) fn due(&self, name: &Name, detail: Option<&SegmentDetail>) -> (Vec<(Version, Digest)>, Vec<String>) {
        let Some(segment) = self.segment else { return (Vec::new(), Vec::new()) };
        let here = detail.filter(|detail| detail.segment == segment);
        let newest = self.versions.last_key_value().map_or(Version::NONE, |(version, _)| *version);
        let Some(detail) = here else {
            let lost = format!("A: version {newest} of {name} was acknowledged, and the name is not there");
            return (Vec::new(), if self.removable { Vec::new() } else { vec![lost] });
        };
        let head = detail.summary.head.unwrap_or_default();
        let mut wrong = Vec::new();
        if head < newest {
            wrong.push(format!("A: version {newest} of {name} was acknowledged, and the newest is {head}"));
        }
        let kept = self.versions.iter().filter(|(version, _)| version.0 + u64::from(self.keep) > head.0);
        let due: Vec<_> = kept.map(|(version, acknowledged)| (*version, acknowledged.digest)).collect();
        for (version, digest) in &due {
            match detail.versions.iter().find(|found| found.version == *version) {
                Some(found) if found.digest == *digest => {}
                Some(found) => {
                    wrong.push(format!("A: version {version} of {name} was {digest}, and is {}", found.digest))
                }
                None => wrong.push(format!("A: version {version} of {name} was acknowledged, and is not kept")),
            }
        }
        (due, wrong)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use cairn_client::request;
    use cairn_store::segment::{Ack, Epoch};

    fn at(ms: u64) -> Moment {
        Moment { at: Duration::from_millis(ms), ..Moment::default() }
    }

    fn call(ask: Ask, asked: u64, told: Option<(u64, Told)>) -> Call {
        let told = told.map(|(ms, told)| (at(ms), told));
        let (node, name) = ("n1".parse().unwrap(), "small/1".parse().unwrap());
        Call { node, request: request::new_id(), name, ask, asked: at(asked), told }
    }

    fn save(segment: u128, version: u64, asked: u64) -> Call {
        let digest = Digest::of(&version.to_le_bytes());
        let ask = Ask::Save { digest, replicas: 2, ack: Ack::All, keep: 64, if_version: None, epoch: None };
        let segment = SegmentId(uuid::Uuid::from_u128(segment));
        let owner = "n1".parse().unwrap();
        let told = Told::Saved { segment, version: Version(version), epoch: Epoch(1), digest, owner };
        call(ask, asked, Some((asked + 5, told)))
    }

    fn remove(asked: u64, done: Option<u64>) -> Call {
        call(Ask::Remove { version: None }, asked, done.map(|ms| (ms, Told::Done)))
    }

    fn expected(calls: Vec<Call>) -> Expected {
        let history = History { calls };
        expect(&"small/1".parse().unwrap(), &history.calls.iter().collect::<Vec<_>>(), &history)
    }

    #[test]
    fn what_a_removal_may_have_ended_is_not_insisted_on() {
        assert!(!expected(vec![save(1, 1, 0), save(1, 2, 10)]).removable);
        assert!(expected(vec![save(1, 1, 0), remove(10, Some(20))]).removable);
        assert!(expected(vec![save(1, 1, 0), remove(10, None), save(2, 1, 40)]).removable, "it may still come");
        let again = expected(vec![save(1, 1, 0), remove(10, Some(20)), save(2, 1, 30)]);
        assert!(!again.removable);
        assert_eq!(again.segment, Some(SegmentId(uuid::Uuid::from_u128(2))));
        assert_eq!(again.versions.len(), 1);
    }

    #[test]
    fn a_name_that_is_gone_is_a_loss_unless_it_was_removed() {
        let name = "small/1".parse().unwrap();
        assert_eq!(expected(vec![save(1, 1, 0)]).due(&name, None).1.len(), 1);
        assert!(expected(vec![save(1, 1, 0), remove(10, None)]).due(&name, None).1.is_empty());
        assert!(expected(Vec::new()).due(&name, None).1.is_empty());
    }
}
