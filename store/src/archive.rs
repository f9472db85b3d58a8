//! The global tier, as metadata knows it: which versions go there, and what of them lies there.
//!
//! - [`key`]: where in the tier something lies;
//! - [`manifest`]: what the tier itself says of a version.
//!
//! A version's bytes in the tier are a copy like any other: they have a [`CopyId`], made anew for every attempt, and a word
//! that runs out (R1). So what nobody ever referred to goes by the same rule.

pub mod key;
pub mod manifest;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::{ClusterId, CopyId, TierId};
use crate::segment::{CopyState, Version};
use crate::time::LogTime;

/// The largest K of `every:K`.
pub const EVERY_MAX: u32 = 1_000_000;

/// Which versions of a segment go into the global tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Policy {
    /// None, unless a save waits for it.
    Never,
    /// The newest. One that another follows before its turn has come is left out.
    Background,
    /// Each one that is kept for long enough.
    Always,
    /// Those whose number K divides; each of them.
    Every(u32),
}

impl Policy {
    /// Whether a version goes there by itself.
    pub fn wants(self, version: Version, head: Version) -> bool {
        match self {
            Self::Never => false,
            Self::Background => version == head,
            Self::Always => true,
            Self::Every(nth) => nth != 0 && version.0.is_multiple_of(nth.into()),
        }
    }

    /// Whether it is one that can be asked for.
    pub fn is_sound(self) -> bool {
        !matches!(self, Self::Every(nth) if !(1..=EVERY_MAX).contains(&nth))
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("never"),
            Self::Background => f.write_str("background"),
            Self::Always => f.write_str("always"),
            Self::Every(nth) => write!(f, "every:{nth}"),
        }
    }
}

/// No policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write always, background, never, or every:K with K from 1 to {EVERY_MAX}")]
pub struct PolicyError;

impl FromStr for Policy {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        match text {
            "never" => Ok(Self::Never),
            "background" => Ok(Self::Background),
            "always" => Ok(Self::Always),
            _ => {
                let nth = text.strip_prefix("every:").and_then(|nth| nth.parse().ok()).ok_or(PolicyError)?;
                Some(Self::Every(nth)).filter(|policy| policy.is_sound()).ok_or(PolicyError)
            }
        }
    }
}

/// What a member that has a tier says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reach {
    /// It reaches this one.
    Up(TierId),
    /// It does not reach it now; this is the one that it reached before.
    Down(Option<TierId>),
}

impl Reach {
    /// The tier, while it is reached.
    pub fn tier(self) -> Option<TierId> {
        match self {
            Self::Up(tier) => Some(tier),
            Self::Down(_) => None,
        }
    }

    /// The tier that it reaches, or reached last.
    pub fn known(self) -> Option<TierId> {
        match self {
            Self::Up(tier) => Some(tier),
            Self::Down(tier) => tier,
        }
    }
}

/// A version's bytes in a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Made once, as of any copy: a part of its key.
    pub id: CopyId,
    /// Where it lies.
    pub tier: TierId,
    /// The cluster that put it there: another part of its key.
    pub cluster: ClusterId,
    /// Whether the tier says of the version, too, that it is one.
    pub published: bool,
    /// What is known of it.
    pub state: CopyState,
}

impl Object {
    /// Whether it is good, and the tier says so too.
    pub fn is_whole(&self) -> bool {
        self.published && self.state == CopyState::Durable
    }
}

/// A node's word that a tier holds a version's bytes. It may be turned into a reference until `until`, never later (R1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectReceipt {
    /// The object.
    pub object: CopyId,
    /// The tier.
    pub tier: TierId,
    /// By the log time at which it was begun.
    pub until: LogTime,
}

/// What a segment has in the tier, and is to have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    /// Which versions go there; none: as the nodes are told.
    pub policy: Option<Policy>,
    /// The objects that are referred to.
    pub objects: BTreeMap<Version, Object>,
    /// Objects whose reference ended, while their version lives. They are never referred to again.
    pub ended: BTreeMap<Version, Vec<CopyId>>,
}

impl Archive {
    /// Whether the reference to this object has ended.
    pub fn has_ended(&self, version: Version, object: CopyId) -> bool {
        self.ended.get(&version).is_some_and(|ended| ended.contains(&object))
    }

    /// Without anything of versions that are not kept.
    pub fn retain(&mut self, is_kept: impl Fn(&Version) -> bool) {
        self.objects.retain(|version, _| is_kept(version));
        self.ended.retain(|version, _| is_kept(version));
    }

    /// What another cluster can know of it.
    pub fn without_ended(&self) -> Self {
        Self { ended: BTreeMap::new(), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_says_which_versions_go() {
        let wants = |policy: &str| {
            let policy: Policy = policy.parse().unwrap();
            assert_eq!(policy.to_string().parse(), Ok(policy));
            (1..=6).map(Version).filter(|version| policy.wants(*version, Version(6))).map(|v| v.0).collect::<Vec<_>>()
        };
        assert_eq!(wants("never"), Vec::<u64>::new());
        assert_eq!(wants("background"), [6]);
        assert_eq!(wants("always"), [1, 2, 3, 4, 5, 6]);
        assert_eq!(wants("every:1"), [1, 2, 3, 4, 5, 6]);
        assert_eq!(wants("every:3"), [3, 6]);
        for wrong in ["", "Always", "every", "every:", "every:0", "every:-1", "every:1000001", "every:3x"] {
            assert_eq!(wrong.parse::<Policy>(), Err(PolicyError), "{wrong}");
        }
        assert!(!Policy::Every(0).is_sound() && !Policy::Every(0).wants(Version(0), Version(0)));
    }
}
