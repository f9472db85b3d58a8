//! What the commands print that empty, remove or check a node.

use cairn_client::api;
use cairn_store::name::Name;
use cairn_store::node::NodeName;
use cairn_store::segment::Version;
use serde::Serialize;

use super::{bytes, counted, or_dash};
use crate::output::{View, table};

/// What is left on a node, in words.
pub(crate) fn left_on(drain: &api::Drain) -> String {
    let (copies, names) = (counted(drain.copies, "copy", "copies"), counted(drain.owned, "name", "names"));
    format!("{copies} ({}) and {names}", bytes(drain.bytes))
}

#[derive(Debug, Serialize)]
struct Block<'a> {
    name: &'a Name,
    version: Option<Version>,
    size: u64,
    stuck: bool,
    reason: &'a str,
}

#[derive(Debug, Serialize)]
pub(crate) struct Drain<'a> {
    node: &'a NodeName,
    draining: bool,
    drained: bool,
    copies: u64,
    bytes: u64,
    owned: u64,
    blocking: Vec<Block<'a>>,
    #[serde(skip)]
    foretold: bool,
    #[serde(skip)]
    left: String,
}

impl<'a> Drain<'a> {
    /// What is, or, if it is only foretold, what would be.
    pub(crate) fn new(told: &'a api::Drain, foretold: bool) -> Self {
        let block = |b: &'a api::Block| Block {
            name: &b.name,
            version: b.version,
            size: b.size,
            stuck: b.stuck,
            reason: &b.reason,
        };
        Self {
            node: &told.node,
            draining: told.draining,
            drained: told.is_done(),
            copies: told.copies,
            bytes: told.bytes,
            owned: told.owned,
            blocking: told.blocks.iter().map(block).collect(),
            foretold,
            left: left_on(told),
        }
    }
}

impl View for Drain<'_> {
    fn table(&self) -> String {
        let (node, left) = (self.node, &self.left);
        if self.drained {
            return format!("nothing is left on {node}: `cairn node remove {node}` removes it");
        }
        let first = match (self.foretold, self.draining) {
            (true, _) => format!("{node} would be emptied of {left}"),
            (false, true) => format!("{node} is being emptied: {left} are left"),
            (false, false) => format!("{node} takes copies: it is not being emptied"),
        };
        if self.blocking.is_empty() {
            return first;
        }
        let rows = self.blocking.iter().map(|b| {
            [
                b.name.to_string(),
                or_dash(b.version),
                bytes(b.size),
                if b.stuck { "stuck" } else { "-" }.into(),
                b.reason.to_owned(),
            ]
        });
        format!("{first}\n\n{}", table(["NAME", "VERSION", "SIZE", "STUCK", "WHY"], rows))
    }
}

#[derive(Debug, Serialize)]
struct Loss<'a> {
    name: &'a Name,
    version: Version,
    size: u64,
}

/// What is to be known before only one member votes.
pub(crate) const ONE_VOTER: &str =
    "one node votes then: while it is down nothing is decided, and no name can be changed";

#[derive(Debug, Serialize)]
pub(crate) struct Removal<'a> {
    node: &'a NodeName,
    removed: bool,
    copies: u64,
    bytes: u64,
    owned: u64,
    under_replicated: u64,
    lost: u64,
    losses: Vec<Loss<'a>>,
    voters: u64,
    refused: Option<&'a str>,
}

impl<'a> Removal<'a> {
    pub(crate) fn new(told: &'a api::Removal, removed: bool) -> Self {
        let loss = |l: &'a api::Loss| Loss { name: &l.name, version: l.version, size: l.size };
        Self {
            node: &told.node,
            removed,
            copies: told.copies,
            bytes: told.bytes,
            owned: told.owned,
            under_replicated: told.thin,
            lost: told.lost,
            losses: told.losses.iter().map(loss).collect(),
            voters: told.voters,
            refused: told.refusal.as_ref().map(|error| error.message.as_str()),
        }
    }
}

impl View for Removal<'_> {
    fn table(&self) -> String {
        let node = self.node;
        let (done, would) = if self.removed { ("was removed", "") } else { ("would be removed", "would ") };
        let versions = |count| counted(count, "version", "versions");
        let copies = counted(self.copies, "copy", "copies");
        let mut lines = vec![format!("{node} {done}, with {copies} ({})", bytes(self.bytes))];
        if self.owned > 0 {
            lines.push(format!("{} {would}have no owner any more", counted(self.owned, "name", "names")));
        }
        if self.under_replicated > 0 {
            let thin = versions(self.under_replicated);
            let have = if self.removed && self.under_replicated == 1 { "has" } else { "have" };
            lines.push(format!("{thin} {would}{have} too few copies until that is repaired"));
        }
        if self.lost > 0 {
            let lost = versions(self.lost);
            lines.push(format!("{lost} {would}be lost: no other good copy is on a node that is up and stays"));
            let rows = self.losses.iter().map(|l| [l.name.to_string(), l.version.to_string(), bytes(l.size)]);
            lines.push(table(["NAME", "VERSION", "SIZE"], rows));
        }
        if self.voters == 1 {
            lines.push(ONE_VOTER.into());
        }
        lines.join("\n")
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Check<'a> {
    node: &'a NodeName,
    pub(crate) ok: bool,
    reasons: &'a [String],
}

impl<'a> Check<'a> {
    pub(crate) fn new(node: &'a NodeName, reasons: &'a [String]) -> Self {
        Self { node, ok: reasons.is_empty(), reasons }
    }
}

impl View for Check<'_> {
    fn table(&self) -> String {
        if self.ok { format!("{} may be stopped now", self.node) } else { self.reasons.join("\n") }
    }
}
