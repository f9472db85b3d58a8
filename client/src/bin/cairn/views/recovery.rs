//! Backups, and clusters that began with one.

use std::path::Path;

use cairn_client::api;
use cairn_store::id::ClusterId;
use cairn_store::meta::{self, Phase};
use cairn_store::name::Name;
use cairn_store::node::NodeName;
use cairn_store::segment::Version;
use serde::Serialize;

use super::{bytes, counted, or_dash, time};
use crate::output::{View, facts, table};

/// What one cluster knew at one moment.
#[derive(Debug, Serialize)]
struct Source {
    cluster: ClusterId,
    revision: u64,
}

impl From<meta::Source> for Source {
    fn from(source: meta::Source) -> Self {
        Self { cluster: source.cluster, revision: source.revision }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Backup<'a> {
    path: String,
    cluster: Option<ClusterId>,
    revision: u64,
    taken: Option<String>,
    segments: u64,
    versions: u64,
    bytes: u64,
    nodes: Vec<&'a NodeName>,
    ancestors: Vec<ClusterId>,
}

impl<'a> Backup<'a> {
    pub(crate) fn new(path: &Path, backup: &'a meta::Backup) -> Self {
        let state = &backup.state;
        let records = || state.segments.values().flat_map(|segment| segment.versions.values());
        Self {
            path: path.display().to_string(),
            cluster: state.cluster,
            revision: state.revision,
            taken: time(backup.taken),
            segments: count(state.segments.len()),
            versions: count(records().count()),
            bytes: records().map(|record| record.size).fold(0, u64::saturating_add),
            nodes: state.members.values().map(|member| &member.profile.name).collect(),
            ancestors: state.origin.iter().flat_map(|origin| origin.ancestors.iter().copied()).collect(),
        }
    }
}

impl View for Backup<'_> {
    fn table(&self) -> String {
        let nodes: Vec<String> = self.nodes.iter().map(ToString::to_string).collect();
        facts([
            ("file", self.path.clone()),
            ("cluster", or_dash(self.cluster)),
            ("revision", self.revision.to_string()),
            ("taken", or_dash(self.taken.as_ref())),
            ("segments", self.segments.to_string()),
            ("versions", self.versions.to_string()),
            ("bytes of one copy of each", bytes(self.bytes)),
            ("nodes", nodes.join(", ")),
        ])
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Restored {
    cluster: ClusterId,
    source: Option<Source>,
    segments: u64,
    /// Names without a version: they are free.
    left_out: u64,
    restored: bool,
}

impl Restored {
    pub(crate) fn new(cluster: ClusterId, backup: &meta::Backup, restored: bool) -> Self {
        let all = backup.state.segments.values();
        let empty = all.filter(|segment| segment.versions.is_empty()).count();
        Self {
            cluster,
            source: backup.source().map(Source::from),
            segments: count(backup.state.segments.len() - empty),
            left_out: count(empty),
            restored,
        }
    }
}

impl View for Restored {
    fn table(&self) -> String {
        let segments = counted(self.segments, "segment", "segments");
        if !self.restored {
            return format!("cluster {} would begin with {segments}", self.cluster);
        }
        format!(
            "cluster {} begins with {segments}; nobody owns them yet\n\
             bring their copies along: cairnd join --config FILE --seed HOST:PORT --adopt\n\
             then look: cairn cluster recovery",
            self.cluster
        )
    }
}

#[derive(Debug, Serialize)]
struct Missing<'a> {
    name: &'a Name,
    version: Version,
    size: u64,
}

#[derive(Debug, Serialize)]
struct Leftover<'a> {
    path: String,
    name: Option<&'a Name>,
    version: Option<Version>,
    size: Option<u64>,
    why: &'a str,
}

#[derive(Debug, Serialize)]
struct Brought<'a> {
    node: &'a NodeName,
    waiting: Option<u64>,
    adopted: Option<u64>,
    spare: Option<u64>,
    left: Option<u64>,
    leftovers: Vec<Leftover<'a>>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Recovery<'a> {
    recovering: bool,
    phase: Option<&'static str>,
    /// What it means, for people.
    #[serde(skip)]
    verdict: &'static str,
    source: Option<Source>,
    ancestors: &'a [ClusterId],
    versions_missing: u64,
    missing: Vec<Missing<'a>>,
    versions_under_replicated: u64,
    nodes: Vec<Brought<'a>>,
}

impl<'a> Recovery<'a> {
    pub(crate) fn new(told: Option<&'a api::Recovery>) -> Self {
        let Some(told) = told else {
            return Self {
                recovering: false,
                phase: None,
                verdict: "the cluster began with nothing: there is nothing to recover",
                source: None,
                ancestors: &[],
                versions_missing: 0,
                missing: Vec::new(),
                versions_under_replicated: 0,
                nodes: Vec::new(),
            };
        };
        let (phase, verdict) = match told.phase {
            Phase::Loading => {
                ("loading", "a backup is being restored: `cairn meta restore` with the same file goes on with it")
            }
            Phase::Adopting => (
                "adopting",
                "the cluster recovers: nothing is deleted or repaired until `cairn cluster recovery --end`",
            ),
            Phase::Over => ("over", "the recovery is over"),
        };
        let missing = |l: &'a api::Loss| Missing { name: &l.name, version: l.version, size: l.size };
        Self {
            recovering: told.phase != Phase::Over,
            phase: Some(phase),
            verdict,
            source: Some(told.source.into()),
            ancestors: &told.ancestors,
            versions_missing: told.missing,
            missing: told.first_missing.iter().map(missing).collect(),
            versions_under_replicated: told.thin,
            nodes: told.nodes.iter().map(brought).collect(),
        }
    }
}

fn brought<'a>(told: &'a api::Adoption) -> Brought<'a> {
    let said = told.said.as_ref();
    let leftover = |l: &'a api::Leftover| {
        let api::Leftover { path, name, version, size, why } = l;
        Leftover { path: path.display().to_string(), name: name.as_ref(), version: *version, size: *size, why }
    };
    Brought {
        node: &told.node,
        waiting: said.map(|said| said.waiting),
        adopted: said.map(|said| said.adopted),
        spare: said.map(|said| said.spare),
        left: said.map(|said| said.left),
        leftovers: said.into_iter().flat_map(|said| &said.leftovers).map(leftover).collect(),
    }
}

impl View for Recovery<'_> {
    fn table(&self) -> String {
        let mut parts = vec![self.verdict.to_owned()];
        if self.phase.is_none() {
            return parts.remove(0);
        }
        let rows = self
            .nodes
            .iter()
            .map(|n| [n.node.to_string(), or_dash(n.waiting), or_dash(n.adopted), or_dash(n.spare), or_dash(n.left)]);
        parts.push(table(["NODE", "NOT LOOKED AT YET", "TAKEN OVER", "NOT NEEDED", "LEFT"], rows));
        parts.push("Counted since each node was started last; `cairn node ls` shows what it holds.".into());
        parts.push(match self.versions_missing {
            0 => "of every version a good copy was found".into(),
            missing => format!("no good copy was found yet of {}", counted(missing, "version", "versions")),
        });
        if !self.missing.is_empty() {
            let rows = self.missing.iter().map(|m| [m.name.to_string(), m.version.to_string(), bytes(m.size)]);
            parts.push(table(["NAME", "VERSION", "SIZE"], rows));
        }
        let left = self.nodes.iter().flat_map(|n| n.leftovers.iter().map(move |l| (n.node, l)));
        let rows: Vec<[String; 5]> = left
            .map(|(node, l)| [node.to_string(), l.path.clone(), or_dash(l.name), or_dash(l.version), l.why.into()])
            .collect();
        if !rows.is_empty() {
            parts.push(table(["LEFT ON", "FILE", "NAME", "VERSION", "WHY"], rows));
        }
        parts.join("\n\n")
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
