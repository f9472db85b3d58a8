//! What a save and a load print.

use std::time::Duration;

use cairn_client::api;
use cairn_store::id::SegmentId;
use cairn_store::name::Name;
use cairn_store::node::NodeName;
use cairn_store::segment::{Ack, Epoch, Kind, Version};
use serde::Serialize;

use super::{Replica, bytes, millis, or_dash, replicas, replicas_text, yes_or};
use crate::output::{View, facts};

#[derive(Debug, Serialize)]
pub(crate) struct Saved<'a> {
    name: &'a Name,
    segment: SegmentId,
    kind: Kind,
    version: Version,
    epoch: Epoch,
    size: u64,
    digest: String,
    owner: Option<&'a NodeName>,
    replicas: Vec<Replica<'a>>,
    ack: Ack,
    bytes_sent: u64,
    archived: bool,
    elapsed_ms: u64,
}

impl<'a> Saved<'a> {
    pub(crate) fn new(saved: &'a api::Saved, elapsed: Duration) -> Self {
        Self {
            name: &saved.name,
            segment: saved.segment,
            kind: saved.kind,
            version: saved.version,
            epoch: saved.epoch,
            size: saved.size,
            digest: saved.digest.to_string(),
            owner: saved.owner.as_ref(),
            replicas: replicas(&saved.replicas),
            ack: saved.ack,
            bytes_sent: saved.bytes_sent,
            archived: saved.archived,
            elapsed_ms: millis(elapsed),
        }
    }
}

impl View for Saved<'_> {
    fn table(&self) -> String {
        facts([
            ("name", self.name.to_string()),
            ("version", self.version.to_string()),
            ("epoch", self.epoch.to_string()),
            ("size", bytes(self.size)),
            ("digest", self.digest.clone()),
            ("owner", or_dash(self.owner)),
            ("replicas", replicas_text(&self.replicas)),
            ("global", yes_or(self.archived)),
            ("sent", bytes(self.bytes_sent)),
            ("took", format!("{} ms", self.elapsed_ms)),
        ])
    }
}

fn source(source: &api::Source) -> Source<'_> {
    Source { node: source.node.as_ref().map_or(GLOBAL, NodeName::as_str), bytes: source.bytes }
}

/// Where bytes came from that came from no node. No node has this name.
const GLOBAL: &str = "global";

#[derive(Debug, Serialize)]
struct Source<'a> {
    /// Of a node; the global tier is `global`.
    node: &'a str,
    bytes: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Loaded<'a> {
    name: &'a Name,
    kind: Kind,
    version: Version,
    epoch: Epoch,
    size: u64,
    digest: String,
    owner: Option<&'a NodeName>,
    claimed: bool,
    stale: bool,
    sources: Vec<Source<'a>>,
    path: String,
    elapsed_ms: u64,
}

impl<'a> Loaded<'a> {
    pub(crate) fn new(loaded: &'a api::Loaded, elapsed: Duration) -> Self {
        Self {
            name: &loaded.name,
            kind: loaded.kind,
            version: loaded.version,
            epoch: loaded.epoch,
            size: loaded.size,
            digest: loaded.digest.to_string(),
            owner: loaded.owner.as_ref(),
            claimed: loaded.claimed,
            stale: loaded.stale,
            sources: loaded.sources.iter().map(|s| source(s)).collect(),
            path: loaded.path.to_string_lossy().into_owned(),
            elapsed_ms: millis(elapsed),
        }
    }
}

impl View for Loaded<'_> {
    fn table(&self) -> String {
        let sources: Vec<String> = self.sources.iter().map(|s| format!("{} ({})", s.node, bytes(s.bytes))).collect();
        let mut rows = vec![
            ("name", self.name.to_string()),
            ("version", self.version.to_string()),
            ("epoch", self.epoch.to_string()),
            ("size", bytes(self.size)),
            ("digest", self.digest.clone()),
            ("owner", or_dash(self.owner)),
            ("sources", if sources.is_empty() { "already here".into() } else { sources.join(", ") }),
            ("path", self.path.clone()),
            ("took", format!("{} ms", self.elapsed_ms)),
        ];
        if self.claimed {
            rows.push(("claimed", "yes".into()));
        }
        if self.stale {
            rows.push(("stale", "yes: without a quorum, it may be old".into()));
        }
        facts(rows)
    }
}
