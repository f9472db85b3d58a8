//! Whether a file on disk may go.

use crate::id::ClusterId;
use crate::segment::Standing;
use crate::time::LogTime;

/// A copy on disk, and what one applied prefix of this node says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The cluster in its `.toc`.
    pub cluster: ClusterId,
    /// What the state says.
    pub standing: Standing,
    /// Until when it may become referenced.
    pub until: LogTime,
}

/// Whether to unlink it (R1): its reference ended, or its time is over without one. Never a copy of another cluster.
pub fn collectable(found: Found, cluster: ClusterId, time: LogTime) -> bool {
    if found.cluster != cluster {
        return false;
    }
    match found.standing {
        // A lost copy is kept to be looked at, until its reference ends.
        Standing::Referenced | Standing::Lost => false,
        Standing::Ended => true,
        Standing::Open => time > found.until,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn only_what_can_never_be_referenced_goes() {
        let ours = ClusterId(Uuid::from_u128(1));
        let found = |standing| Found { cluster: ours, standing, until: LogTime(100) };
        let cases = [
            (Standing::Referenced, 1000, false),
            (Standing::Lost, 1000, false),
            (Standing::Ended, 0, true),
            (Standing::Open, 100, false),
            (Standing::Open, 101, true),
        ];
        for (standing, time, goes) in cases {
            assert_eq!(collectable(found(standing), ours, LogTime(time)), goes, "{standing:?} at {time}");
            let foreign = Found { cluster: ClusterId(Uuid::from_u128(2)), ..found(standing) };
            assert!(!collectable(foreign, ours, LogTime(time)));
        }
    }
}
