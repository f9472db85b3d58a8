//! Whether a standby may take a name over, and how soon: a decision, without IO.

use std::time::Duration;

use cairn_client::standby::Standing;
use cairn_store::node::NodeName;
use cairn_store::segment::Version;

/// How much later a standby claims for each version that it lacks: the one with the newest comes first.
const BEHIND: Duration = Duration::from_millis(300);
/// The most of them that count.
const BEHIND_MAX: u32 = 5;

/// What to do about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Another node has the lease.
    Wait,
    /// Nobody keeps it: claim it, after so long.
    Claim(Duration),
}

/// Whose turn it is, by what is known of the name; `own` is the node of this agent, the only one on it.
pub(super) fn turn(standing: &Standing, own: &NodeName) -> Turn {
    // What this node has, an earlier agent on it had: that one is gone.
    if standing.lease.is_some() && standing.owner.as_ref() != Some(own) {
        return Turn::Wait;
    }
    let number = |version: Option<Version>| version.map_or(0, |version| version.0);
    let lacking = number(standing.head).saturating_sub(number(standing.received));
    let lacking = u32::try_from(lacking).unwrap_or(u32::MAX).min(BEHIND_MAX);
    Turn::Claim(BEHIND.saturating_mul(lacking))
}

#[cfg(test)]
mod tests {
    use cairn_store::id::SegmentId;
    use cairn_store::segment::{Epoch, Kind};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_newest_version_comes_first_and_a_lease_before_all() {
        let node = |name: &str| name.parse::<NodeName>().unwrap();
        let standing = |owner: Option<&str>, lease, received| Standing {
            segment: SegmentId(Uuid::nil()),
            kind: Kind::File,
            owner: owner.map(node),
            epoch: Epoch(3),
            lease,
            head: Some(Version(9)),
            digest: None,
            received,
            applied: None,
            revision: 1,
        };
        let (own, lease) = (node("n2"), Some(Duration::from_secs(1)));
        let of = |owner, lease, received| turn(&standing(owner, lease, received), &own);
        assert_eq!(of(Some("n1"), lease, Some(Version(9))), Turn::Wait);
        assert_eq!(of(Some("n2"), lease, Some(Version(9))), Turn::Claim(Duration::ZERO));
        assert_eq!(of(Some("n1"), None, Some(Version(9))), Turn::Claim(Duration::ZERO));
        assert_eq!(of(None, None, Some(Version(8))), Turn::Claim(BEHIND));
        assert_eq!(of(None, None, None), Turn::Claim(BEHIND * BEHIND_MAX));
    }
}
