//! What a check tells.

use std::fmt;
use std::path::Path;

use serde::Serialize;

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// Who the node is.
    Identity,
    /// The node's folder itself.
    Folder,
    /// The Raft log and the vote.
    Log,
    /// The metadata snapshot.
    Snapshot,
    /// The bytes of a copy.
    Copy,
    /// The `.toc` of a copy.
    Table,
    /// Something that nothing refers to.
    Orphan,
    /// A copy that was put aside.
    Quarantine,
    /// The list of what lies here.
    Catalogue,
    /// What lies in the global tier.
    Object,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As JSON has it.
        self.serialize(f)
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about.
    pub what: What,
    /// Where.
    pub path: String,
    /// What is to be seen there.
    pub problem: String,
    /// Whether something is damaged or lost. Else it is only worth knowing.
    pub bad: bool,
    /// What the node does about it, once it runs again.
    pub node_will: String,
}

impl Finding {
    /// Something that is damaged or lost.
    pub(super) fn bad(what: What, path: &Path, problem: impl fmt::Display, node_will: impl Into<String>) -> Self {
        let (path, problem) = (path.display().to_string(), problem.to_string());
        Self { what, path, problem, bad: true, node_will: node_will.into() }
    }

    /// Something that is only worth knowing.
    pub(super) fn note(what: What, path: &Path, problem: impl fmt::Display, node_will: impl Into<String>) -> Self {
        Self { bad: false, ..Self::bad(what, path, problem, node_will) }
    }
}
