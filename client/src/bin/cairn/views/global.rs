//! What the commands about the global tier print.

use cairn_client::api;
use cairn_store::id::TierId;
use cairn_store::node::NodeName;
use serde::Serialize;

use super::{bytes, millis, or_dash};
use crate::output::{View, facts, table};

#[derive(Debug, Serialize)]
struct TierNode<'a> {
    node: &'a NodeName,
    reached: bool,
    tier: Option<TierId>,
    url: Option<&'a str>,
    failure: Option<&'a str>,
}

#[derive(Debug, Serialize)]
pub(crate) struct GlobalStatus<'a> {
    tier: Option<TierId>,
    archive: String,
    archived: u64,
    archived_bytes: u64,
    lost: u64,
    waiting: u64,
    waiting_bytes: u64,
    oldest_ms: Option<u64>,
    nodes: Vec<TierNode<'a>>,
}

impl<'a> GlobalStatus<'a> {
    pub(crate) fn new(status: &'a api::GlobalStatus) -> Self {
        let node = |node: &'a api::TierNode| TierNode {
            node: &node.node,
            reached: node.tier.is_some(),
            tier: node.tier,
            url: node.address.as_deref(),
            failure: node.failure.as_deref(),
        };
        Self {
            tier: status.tier,
            archive: status.archive.to_string(),
            archived: status.archived,
            archived_bytes: status.archived_bytes,
            lost: status.lost,
            waiting: status.waiting,
            waiting_bytes: status.waiting_bytes,
            oldest_ms: status.oldest.map(millis),
            nodes: status.nodes.iter().map(node).collect(),
        }
    }
}

impl View for GlobalStatus<'_> {
    fn table(&self) -> String {
        let oldest = self.oldest_ms.map(|ms| format!(", the first for {}", super::span(ms))).unwrap_or_default();
        let above = facts([
            ("tier", or_dash(self.tier)),
            ("by default", self.archive.clone()),
            ("archived", format!("{} versions, {}", self.archived, bytes(self.archived_bytes))),
            ("waiting", format!("{} versions, {}{oldest}", self.waiting, bytes(self.waiting_bytes))),
            ("lost", self.lost.to_string()),
        ]);
        if self.nodes.is_empty() {
            return format!("{above}\n\nno node has a global tier: global.url sets one (docs/global.md)");
        }
        let rows = self.nodes.iter().map(|node| {
            let reached = if node.reached { "yes" } else { "no" };
            [node.node.to_string(), reached.into(), or_dash(node.url), or_dash(node.failure)]
        });
        format!("{above}\n\n{}", table(["NODE", "REACHED", "URL", "LAST FAILURE"], rows))
    }
}
