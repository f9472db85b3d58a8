//! What the commands about nodes and the cluster print.

use std::time::Duration;

use cairn_client::api;
use cairn_store::id::{ClusterId, NodeId};
use cairn_store::name::Name;
use cairn_store::node::{NodeName, Role};
use cairn_store::segment::Version;
use serde::Serialize;

use super::{bytes, millis, or_dash, yes_or};
use crate::output::{View, facts, lines_of, table};

#[derive(Debug, Serialize)]
pub(crate) struct Node<'a> {
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

impl<'a> Node<'a> {
    pub(crate) fn new(node: &'a api::NodeInfo) -> Self {
        Self {
            id: node.id,
            name: &node.name,
            role: node.role,
            zone: &node.zone,
            state: node.state,
            voter: node.voter,
            leader: node.leader,
            endpoint: &node.endpoint,
            data_endpoint: &node.data_endpoint,
            copies: node.copies,
            bytes: node.bytes,
            capacity: node.capacity,
            last_seen_ms: node.last_seen_ms,
        }
    }

    fn last_seen(&self) -> String {
        or_dash(self.last_seen_ms.map(|ms| format!("{ms} ms ago")))
    }
}

impl View for Node<'_> {
    fn table(&self) -> String {
        facts([
            ("name", self.name.to_string()),
            ("id", self.id.0.to_string()),
            ("role", self.role.to_string()),
            ("zone", self.zone.to_owned()),
            ("state", self.state.to_string()),
            ("voter", yes_or(self.voter)),
            ("leader", yes_or(self.leader)),
            ("endpoint", self.endpoint.to_owned()),
            ("data endpoint", self.data_endpoint.to_owned()),
            ("copies", self.copies.to_string()),
            ("bytes", bytes(self.bytes)),
            ("capacity", bytes(self.capacity)),
            ("last seen", self.last_seen()),
        ])
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Nodes<'a> {
    nodes: Vec<Node<'a>>,
}

impl<'a> Nodes<'a> {
    pub(crate) fn new(nodes: &'a [api::NodeInfo]) -> Self {
        Self { nodes: nodes.iter().map(Node::new).collect() }
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
                n.last_seen(),
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
struct Peer<'a> {
    node: &'a NodeName,
    endpoint: &'a str,
    reachable: bool,
    rtt_ms: Option<u64>,
    /// Finer than milliseconds, for people.
    #[serde(skip)]
    round_trip: Option<Duration>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Peers<'a> {
    peers: Vec<Peer<'a>>,
}

impl<'a> Peers<'a> {
    pub(crate) fn new(peers: &'a [api::PeerInfo]) -> Self {
        let peer = |p: &'a api::PeerInfo| Peer {
            node: &p.node,
            endpoint: &p.endpoint,
            reachable: p.round_trip.is_some(),
            rtt_ms: p.round_trip.map(millis),
            round_trip: p.round_trip,
        };
        Self { peers: peers.iter().map(peer).collect() }
    }
}

impl View for Peers<'_> {
    fn table(&self) -> String {
        let rows = self.peers.iter().map(|p| {
            let span = p.round_trip.map(|span| format!("{:.1} ms", span.as_secs_f64() * 1000.0));
            [p.node.to_string(), p.endpoint.to_owned(), yes_or(p.reachable), or_dash(span)]
        });
        table(["NODE", "ENDPOINT", "REACHABLE", "ROUND TRIP"], rows)
    }

    fn lines(&self) -> serde_json::Result<Vec<String>> {
        lines_of(&self.peers)
    }
}

#[derive(Debug, Serialize)]
struct Repair<'a> {
    name: &'a Name,
    version: Version,
    action: api::RepairKind,
    state: api::RepairState,
    node: Option<&'a NodeName>,
    size: u64,
    live: u32,
    wanted: u32,
    why: Option<&'a str>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Repairs<'a> {
    repairs: Vec<Repair<'a>>,
    versions_lacking: u64,
    bytes_lacking: u64,
}

impl<'a> Repairs<'a> {
    pub(crate) fn new(told: &'a api::Repairs) -> Self {
        let repair = |r: &'a api::Repair| Repair {
            name: &r.name,
            version: r.version,
            action: r.kind,
            state: r.state,
            node: r.node.as_ref(),
            size: r.size,
            live: r.live,
            wanted: r.wanted,
            why: r.why.as_deref(),
        };
        let repairs = told.repairs.iter().map(repair).collect();
        Self { repairs, versions_lacking: told.lacking, bytes_lacking: told.bytes }
    }
}

impl View for Repairs<'_> {
    fn table(&self) -> String {
        if self.repairs.is_empty() {
            return "nothing is to be repaired".into();
        }
        let rows = self.repairs.iter().map(|r| {
            [
                r.name.to_string(),
                r.version.to_string(),
                r.action.to_string(),
                or_dash(r.node),
                bytes(r.size),
                format!("{} of {}", r.live, r.wanted),
                r.state.to_string(),
                or_dash(r.why),
            ]
        });
        let rows = table(["NAME", "VERSION", "ACTION", "NODE", "SIZE", "LIVE", "STATE", "WHY"], rows);
        let lack = if self.versions_lacking == 1 { "version lacks" } else { "versions lack" };
        format!("{rows}\n\n{} {lack} copies of {} in all", self.versions_lacking, bytes(self.bytes_lacking))
    }

    fn lines(&self) -> serde_json::Result<Vec<String>> {
        lines_of(&self.repairs)
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
