//! `cluster.json`: who is where, for scripts.

use std::path::{Path, PathBuf};

use cairn_store::node::Role;
use serde::Serialize;

use super::NodePlan;
use crate::failure::Failure;
use crate::{durable, output};

/// The file's name.
pub(super) const RECORD: &str = "cluster.json";

/// What it says.
#[derive(Debug, Serialize)]
pub(crate) struct Record {
    nodes: Vec<Node>,
}

#[derive(Debug, Serialize)]
struct Node {
    id: Option<u64>,
    name: String,
    role: Role,
    zone: String,
    /// None once it has ended.
    pid: Option<u32>,
    endpoint: String,
    data_endpoint: String,
    http: String,
    dir: PathBuf,
}

impl Record {
    pub(super) fn new<'a>(nodes: impl Iterator<Item = (&'a NodePlan, Option<u64>, Option<u32>)>) -> Self {
        let node = |(node, id, pid): (&NodePlan, _, _)| Node {
            id,
            name: node.name.to_string(),
            role: node.role,
            zone: node.zone.clone(),
            pid,
            endpoint: node.rpc.clone(),
            data_endpoint: node.data.clone(),
            http: node.http.clone(),
            dir: node.dir.clone(),
        };
        Self { nodes: nodes.map(node).collect() }
    }

    /// Replaces the file in `dir`, whole.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(self).map_err(|e| Failure::new(e.to_string()))?;
        Ok(durable::write(&dir.join(RECORD), &format!("{text}\n"))?)
    }

    /// The same, without what a short story does not need.
    pub(crate) fn brief(&self) -> String {
        let pid = |n: &Node| n.pid.map_or_else(|| "-".into(), |pid| pid.to_string());
        let row = |n: &Node| [n.name.clone(), n.role.to_string(), pid(n), n.endpoint.clone()];
        output::table(["NAME", "ROLE", "PID", "ENDPOINT"], self.nodes.iter().map(row))
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let header = ["NAME", "ROLE", "ZONE", "PID", "ENDPOINT", "DATA", "DIR"];
        let row = |n: &Node| {
            let pid = n.pid.map_or_else(|| "-".into(), |pid| pid.to_string());
            let dir = n.dir.display().to_string();
            [
                n.name.clone(),
                n.role.to_string(),
                n.zone.clone(),
                pid,
                n.endpoint.clone(),
                n.data_endpoint.clone(),
                dir,
            ]
        };
        output::table(header, self.nodes.iter().map(row))
    }
}
