//! A cluster that begins with what another one knew.

use std::path::PathBuf;
use std::time::Duration;

use cairn_store::id::ClusterId;
use cairn_store::meta::{Phase, RestoreStep, Source};
use cairn_store::name::Name;
use cairn_store::node::NodeName;
use cairn_store::segment::Version;
use serde::{Deserialize, Serialize};

use super::Loss;

/// One step of taking over what another cluster knew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreRequest {
    /// The step.
    pub step: RestoreStep,
    /// How long to wait for a quorum.
    pub wait: Duration,
}

/// Where a cluster comes from, and what it still misses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// The state it began with.
    pub source: Source,
    /// The cluster it began with, and those before it: their nodes may join with what they hold.
    pub ancestors: Vec<ClusterId>,
    /// How far it is.
    pub phase: Phase,
    /// Versions of which no good copy was found yet.
    pub missing: u64,
    /// The first of them; [`super::LEFTOVERS_MAX`] at most.
    pub first_missing: Vec<Loss>,
    /// Versions with fewer copies than they want.
    pub thin: u64,
    /// What each member brought along.
    pub nodes: Vec<Adoption>,
}

/// What a member brought along.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adoption {
    /// The member.
    pub node: NodeName,
    /// What it says; none if it did not answer.
    pub said: Option<Adopted>,
}

/// The copies of former clusters on a node, since it was started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    /// Not looked at yet.
    pub waiting: u64,
    /// Verified, and taken over.
    pub adopted: u64,
    /// Of versions of which this node has a copy already.
    pub spare: u64,
    /// Of no version that was taken over, or damaged: they stay where they are.
    pub left: u64,
    /// The first of those that are left; [`super::LEFTOVERS_MAX`] at most, of all members together.
    pub leftovers: Vec<Leftover>,
}

/// A copy that was not taken over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leftover {
    /// Its bytes, as a file of its node.
    pub path: PathBuf,
    /// The name under which they were saved; none if its table cannot be read.
    pub name: Option<Name>,
    /// The version that they were, or were to become.
    pub version: Option<Version>,
    /// In bytes.
    pub size: Option<u64>,
    /// Why it was not taken over.
    pub why: String,
}
