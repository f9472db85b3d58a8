//! Identities: who and what, never where.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                text.parse().map(Self)
            }
        }
    };
}

uuid_id! {
    /// One cluster, for ever: a restored cluster gets a new id.
    ClusterId
}
uuid_id! {
    /// One life of a node's folder. A node is its id *and* its incarnation, on every port.
    Incarnation
}
uuid_id! {
    /// One registration of a name. The name registered again is another segment.
    SegmentId
}
uuid_id! {
    /// One version's bytes on one node, made anew for every target and attempt, never used twice.
    CopyId
}
uuid_id! {
    /// One object store, by the mark that lies in it, whatever its address.
    TierId
}
uuid_id! {
    /// One request of a client. The same id gets the same result.
    RequestId
}

impl RequestId {
    /// The id of one step of this request, the same at every retry.
    pub fn step(&self, step: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("cairn 2026 request step");
        hasher.update(self.0.as_bytes()).update(step.as_bytes());
        let mut bytes = [0; 16];
        hasher.finalize_xof().fill(&mut bytes);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

/// A node's number in the cluster: given at join, never used twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_stable_and_differ() {
        let request = RequestId(Uuid::from_u128(7));
        assert_eq!(request.step("commit"), request.step("commit"));
        assert_ne!(request.step("commit"), request.step("register"));
        assert_ne!(request.step("commit"), RequestId(Uuid::from_u128(8)).step("commit"));
    }
}
