//! B: a name has never two acknowledged owners in one epoch, and no commit with an old epoch is ever applied.

use std::collections::BTreeMap;

use cairn_store::id::SegmentId;
use cairn_store::name::Name;
use cairn_store::node::NodeName;
use cairn_store::segment::{Epoch, Version};

use crate::history::{Ask, Call, History, Told};

/// What clients were told that cannot all be true.
pub fn violations(history: &History) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut owners: BTreeMap<(&Name, Epoch), &NodeName> = BTreeMap::new();
    let mut commits: BTreeMap<(SegmentId, Version), Epoch> = BTreeMap::new();
    for call in &history.calls {
        if let Some((epoch, owner)) = acknowledged(call) {
            let known = owners.entry((&call.name, epoch)).or_insert(owner);
            if *known != owner {
                wrong.push(format!("B: {known} and {owner} both own {} in epoch {epoch}", call.name));
            }
        }
        if let Told::Saved { segment, version, epoch, .. } = call.answer() {
            commits.insert((*segment, *version), *epoch);
        }
        if let (Ask::Save { epoch: Some(wanted), .. }, Told::Saved { epoch, .. }) = (&call.ask, call.answer())
            && wanted != epoch
        {
            wrong.push(format!("B: a save of {} in epoch {wanted} was acknowledged in epoch {epoch}", call.name));
        }
    }
    let pairs = commits.iter().zip(commits.iter().skip(1));
    for (((one, earlier), old), ((other, later), new)) in pairs {
        if one == other && new < old {
            wrong.push(format!("B: version {later} has epoch {new}, and version {earlier} before it {old}"));
        }
    }
    wrong
}

/// Who owns it in which epoch, by the word of the cluster.
fn acknowledged(call: &Call) -> Option<(Epoch, &NodeName)> {
    match (&call.ask, call.answer()) {
        (_, Told::Saved { epoch, owner: Some(owner), .. } | Told::Claimed { epoch, owner, .. }) => {
            Some((*epoch, owner))
        }
        // A stale load may have mixed what it knew at different times.
        (Ask::Load { stale: false, .. }, Told::Loaded { epoch, owner: Some(owner), .. }) => Some((*epoch, owner)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Moment;
    use cairn_store::digest::Digest;
    use cairn_store::id::RequestId;
    use uuid::Uuid;

    fn saved(node: &str, version: u64, epoch: u64) -> Call {
        let digest = Digest::of(node.as_bytes());
        let told = Told::Saved {
            segment: SegmentId(Uuid::nil()),
            version: Version(version),
            epoch: Epoch(epoch),
            digest,
            owner: Some(node.parse().unwrap()),
        };
        Call {
            node: node.parse().unwrap(),
            request: RequestId(Uuid::nil()),
            name: "job/a".parse().unwrap(),
            ask: Ask::Claim,
            asked: Moment::default(),
            told: Some((Moment::default(), told)),
        }
    }

    #[test]
    fn one_owner_an_epoch_and_epochs_that_only_rise() {
        let judge = |calls: Vec<Call>| violations(&History { calls, ..History::default() });
        assert!(judge(vec![saved("n1", 1, 1), saved("n1", 2, 1), saved("n2", 3, 2)]).is_empty());
        assert_eq!(judge(vec![saved("n1", 1, 1), saved("n2", 2, 1)]).len(), 1);
        assert_eq!(judge(vec![saved("n1", 1, 2), saved("n2", 2, 1)]).len(), 1);
        let mut guarded = saved("n1", 1, 2);
        guarded.ask = Ask::Save {
            digest: Digest::of(b""),
            replicas: 0,
            ack: cairn_store::segment::Ack::All,
            keep: 1,
            if_version: None,
            epoch: Some(Epoch(1)),
        };
        assert_eq!(judge(vec![guarded]).len(), 1);
    }
}
