//! The folder of a node that does not run, checked. Nothing in it is changed, and each finding says what the node will
//! do about it when it runs again.
//!
//! - `finding`: what is told;
//! - `state`: identity, Raft log and snapshot, and what they say of the copies of this node;
//! - `copies`: every block of every copy, what lies in quarantine, and what should lie here and does not;
//! - `listed`: the catalogue, compared with the files;
//! - `tier`: what the cluster has in the global tier;
//! - `beside`: folders that their owners cannot open without a write are copied first.
//!
//! The memory is that of a node's start: the replicated state, and one block. What a finding promises is what
//! `node::tidy`, `work::collect` and `work::verify` do: who changes them changes these words too.

#![allow(clippy::disallowed_methods, reason = "a check of real files: the simulation never runs it")]

mod beside;
mod copies;
mod finding;
mod listed;
mod state;
mod tier;

use std::io;
use std::path::Path;

use cairn_store::disk::FileDisk;
use cairn_store::meta::State;
use serde::Serialize;

pub use finding::{Finding, What};
pub use tier::{TierSummary, check as check_tier};

/// Told of each finding.
pub type Tell<'a> = dyn FnMut(Finding) + 'a;

/// What was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The folder.
    pub dir: String,
    /// The node's name, as far as its own state tells it.
    pub node: Option<String>,
    /// Its cluster.
    pub cluster: Option<String>,
    /// Copies of its cluster, good or bad.
    pub copies: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The newest state that the folder of a node that does not run leads to: that of its snapshot, with every entry of its log;
/// the last of them may never have been agreed on. With the term of that one: of two nodes the one with the higher term knows more,
/// and only of one term the one with the higher revision. Nothing is changed.
///
/// # Errors
/// As of [`fsck`]. What is damaged is told.
pub fn newest_state(dir: &Path, tell: &mut Tell<'_>) -> io::Result<Option<(State, u64)>> {
    Ok(state::read(&FileDisk::unchecked(dir), tell)?.into_newest())
}

/// Checks everything under `dir`, whose lock the caller holds; `boot_id` is the kernel's. `moved` is told how many more
/// bytes of copies were read.
///
/// # Errors
/// The check itself could not go on: no rights, no room for a copy of the log or of the catalogue. What the disk cannot
/// read is a finding.
pub fn fsck(dir: &Path, boot_id: &str, tell: &mut Tell<'_>, moved: &mut dyn FnMut(u64)) -> io::Result<Summary> {
    let disk = FileDisk::unchecked(dir);
    let known = state::read(&disk, tell)?;
    // What it would do it will not do: it does not run again.
    let tell: &mut Tell<'_> = &mut |finding| {
        tell(if known.removed { Finding { node_will: state::REMOVED.into(), ..finding } } else { finding });
    };
    let catalogue = listed::Listed::open(&disk, boot_id, tell)?;
    let (copies, bytes) = copies::check(&disk, &known, &catalogue, tell, moved)?;
    known.check_log(&disk, copies, tell)?;
    catalogue.compare(&disk, tell)?;
    Ok(Summary {
        dir: dir.display().to_string(),
        node: known.name(),
        cluster: known.identity.as_ref().map(|identity| identity.cluster.to_string()),
        copies,
        bytes,
    })
}
