//! What the commands about nodes and the cluster print.

use cairn_client::api;
use cairn_store::id::{ClusterId, NodeId};
use cairn_store::node::{NodeName, Role};
use serde::Serialize;

use super::{bytes, or_dash, yes_or};
use crate::output::{View, facts, lines_of, table};

#[derive(Debug, Serialize)]
struct Node<'a> {
    id: NodeId,
    name: &'a NodeName,
    role: Role,
    zone: &'a str,
    state: api::NodeState,
    voter: bool,
    leader: bool,
    endpoint: &'a str,
    data_endpoint: &'a str,
    copies: u64,
    bytes: u64,
    capacity: u64,
    last_seen_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Nodes<'a> {
    nodes: Vec<Node<'a>>,
}

impl<'a> Nodes<'a> {
    pub(crate) fn new(nodes: &'a [api::NodeInfo]) -> Self {
        let node = |n: &'a api::NodeInfo| Node {
            id: n.id,
            name: &n.name,
            role: n.role,
            zone: &n.zone,
            state: n.state,
            voter: n.voter,
            leader: n.leader,
            endpoint: &n.endpoint,
            data_endpoint: &n.data_endpoint,
            copies: n.copies,
            bytes: n.bytes,
            capacity: n.capacity,
            last_seen_ms: n.last_seen_ms,
        };
        Self { nodes: nodes.iter().map(node).collect() }
    }
}

impl View for Nodes<'_> {
    fn table(&self) -> String {
        let rows = self.nodes.iter().map(|n| {
            [
                n.name.to_string(),
                n.role.to_string(),
                n.zone.to_owned(),
                n.state.to_string(),
                yes_or(n.voter),
                yes_or(n.leader),
                n.endpoint.to_owned(),
                n.copies.to_string(),
                bytes(n.bytes),
                bytes(n.capacity),
                or_dash(n.last_seen_ms.map(|ms| format!("{ms} ms ago"))),
            ]
        });
        let header = [
            "NAME",
            "ROLE",
            "ZONE",
            "STATE",
            "VOTER",
            "LEADER",
            "ENDPOINT",
            "COPIES",
            "BYTES",
            "CAPACITY",
            "LAST SEEN",
        ];
        table(header, rows)
    }

    fn lines(&self) -> serde_json::Result<Vec<String>> {
        lines_of(&self.nodes)
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Status<'a> {
    cluster: ClusterId,
    leader: Option<&'a NodeName>,
    term: u64,
    nodes: u64,
    voters: u64,
    segments: u64,
    bytes: u64,
    under_replicated: u64,
    quorum_margin: i64,
}

impl<'a> Status<'a> {
    pub(crate) fn new(status: &'a api::ClusterStatus) -> Self {
        Self {
            cluster: status.cluster,
            leader: status.leader.as_ref(),
            term: status.term,
            nodes: status.nodes,
            voters: status.voters,
            segments: status.segments,
            bytes: status.bytes,
            under_replicated: status.under_replicated,
            quorum_margin: status.quorum_margin,
        }
    }
}

impl View for Status<'_> {
    fn table(&self) -> String {
        facts([
            ("cluster", self.cluster.to_string()),
            ("leader", or_dash(self.leader)),
            ("term", self.term.to_string()),
            ("nodes", self.nodes.to_string()),
            ("voters", self.voters.to_string()),
            ("segments", self.segments.to_string()),
            ("bytes", bytes(self.bytes)),
            ("under-replicated", self.under_replicated.to_string()),
            ("voters that may fail", self.quorum_margin.to_string()),
        ])
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Health {
    pub(crate) healthy: bool,
    reasons: Vec<String>,
}

impl Health {
    pub(crate) fn new(reasons: Vec<String>) -> Self {
        Self { healthy: reasons.is_empty(), reasons }
    }
}

impl View for Health {
    fn table(&self) -> String {
        if self.healthy { "healthy".into() } else { self.reasons.join("\n") }
    }
}
