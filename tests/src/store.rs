//! The global tier of a cluster: a folder, or a server of S3 that fails as it is told; and what lies there.
//!
//! - [`Tiered`]: a cluster that has one;
//! - [`S3`]: the server `s3d`, over a folder of its own;
//! - here: what `show`, `global status` and `/metrics` say of the tier.

mod s3;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::cluster::Cluster;
use crate::wait::{PATIENCE, until};
use crate::{prepared, site};

pub use s3::{BUCKET, S3};

/// A cluster that is to have a tier.
#[derive(Clone, Copy, Debug)]
pub struct Tiered<'a> {
    /// Executors.
    pub nodes: u32,
    /// Storage-only nodes.
    pub storage: u32,
    /// Where the tier lies.
    pub url: &'a str,
    /// The nodes that have it; all if none is named.
    pub having: &'a [&'a str],
    /// What else is set, of every node.
    pub settings: &'a [(&'a str, &'a str)],
    /// What its processes have in their environment.
    pub env: &'a [(String, String)],
}

impl<'a> Tiered<'a> {
    /// Three executors and a storage-only node, which all have this tier.
    pub fn at(url: &'a str) -> Self {
        Self { nodes: 3, storage: 1, url, having: &[], settings: &[], env: &[] }
    }

    /// Starts it, in a folder of its own.
    pub fn start(self) -> Cluster {
        self.start_in(tempfile::tempdir().expect("a temporary folder"))
    }

    /// The same, in this folder.
    pub fn start_in(self, dir: TempDir) -> Cluster {
        let names: Vec<String> = site::names(self.nodes, self.storage).into_iter().map(|(name, _)| name).collect();
        let has = |name: &str| self.having.is_empty() || self.having.contains(&name);
        let mut settings: Vec<(&str, &str, &str)> = Vec::new();
        for name in &names {
            settings.extend(self.settings.iter().map(|(key, value)| (name.as_str(), *key, *value)));
            if has(name) {
                settings.push((name, "global.url", self.url));
            }
        }
        prepared::configure(dir.path(), self.nodes, self.storage, &settings);
        Cluster::start_with(dir, self.nodes, self.storage, self.env.to_vec())
    }
}

/// A cluster whose tier is a folder beside its nodes' ([`folder`]): of so many executors and storage-only nodes, with this
/// set of every node. Only the nodes in `having` have it; all if none is named.
pub fn with_folder(nodes: u32, storage: u32, having: &[&str], settings: &[(&str, &str)]) -> Cluster {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let folder = dir.path().join(FOLDER);
    std::fs::create_dir(&folder).expect("the tier's folder");
    let url = url_of(&folder);
    Tiered { nodes, storage, having, settings, ..Tiered::at(&url) }.start_in(dir)
}

/// Where the tier of such a cluster lies.
pub fn folder(cluster: &Cluster) -> PathBuf {
    cluster.dir().join(FOLDER)
}

/// What `global.url` says of a folder.
pub fn url_of(folder: &Path) -> String {
    format!("file://{}", folder.display())
}

const FOLDER: &str = "tier";

/// Every file below a folder, by its path from there, sorted.
pub fn below(dir: &Path) -> Vec<String> {
    let (mut found, mut folders) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(folder) = folders.pop() {
        // What goes away while it is looked at is not there.
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(dir).expect("it is below").to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

/// What `show` says that the tier has of a version; null if that is nothing, or nobody can tell just now.
pub fn object(cluster: &Cluster, at: &str, name: &str, version: u64) -> Value {
    let shown = cluster.cairn(at, ["show", name]);
    if shown.code != 0 {
        return Value::Null;
    }
    let shown = shown.json();
    let versions = shown["versions"].as_array().expect("versions");
    let found = versions.iter().find(|found| found["version"] == version);
    found.map_or(Value::Null, |found| found["global"].clone())
}

/// Waits until the tier has a good object of a version, and says that it is one. Gives its key.
#[track_caller]
pub fn until_archived(cluster: &Cluster, at: &str, name: &str, version: u64) -> String {
    until_archived_as(cluster, at, name, version, |_| true)
}

/// The same, with a key like this.
#[track_caller]
pub fn until_archived_as(cluster: &Cluster, at: &str, name: &str, version: u64, is: impl Fn(&str) -> bool) -> String {
    until(&format!("version {version} of {name} lies in the tier"), || {
        let object = object(cluster, at, name, version);
        let good = object["state"] == "durable" && object["published"] == true;
        object["key"].as_str().filter(|key| good && is(key)).map(str::to_owned)
    })
}

/// What `global status` says.
#[track_caller]
pub fn status(cluster: &Cluster, at: &str) -> Value {
    cluster.cairn(at, ["global", "status"]).expect(0).json()
}

/// Waits until `global status`, asked of `at`, is like this, and gives it.
#[track_caller]
pub fn until_status(cluster: &Cluster, at: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    until(what, || {
        let told = cluster.cairn(at, ["global", "status"]);
        (told.code == 0).then(|| told.json()).filter(|told| is(told))
    })
}

/// Waits until so many nodes reach the tier.
#[track_caller]
pub fn until_reached(cluster: &Cluster, at: &str, nodes: usize) -> Value {
    until_status(cluster, at, &format!("{nodes} nodes reach the tier"), |told| reached(told) == nodes)
}

/// How many nodes reach the tier, by `global status`.
pub fn reached(status: &Value) -> usize {
    let nodes = status["nodes"].as_array().expect("nodes");
    nodes.iter().filter(|node| node["reached"] == true).count()
}

/// Waits until `cluster health`, asked of `at`, gives a reason with this in it.
#[track_caller]
pub fn until_unhealthy(cluster: &Cluster, at: &str, words: &str) {
    until(&format!("the cluster's health tells of {words:?}"), || {
        let told = cluster.cairn(at, ["cluster", "health"]);
        (told.code == 1 && told.json()["reasons"].to_string().contains(words)).then_some(())
    });
}

/// Waits until nothing is wrong with the cluster.
#[track_caller]
pub fn until_healthy(cluster: &Cluster, at: &str) {
    until("the cluster is healthy", || (cluster.cairn(at, ["cluster", "health"]).code == 0).then_some(()));
}

/// One sample of a node's `/metrics`, by everything that stands before its value.
#[track_caller]
pub fn metric(cluster: &Cluster, node: &str, name: &str) -> f64 {
    let http = cluster.node(node).http;
    let mut stream = TcpStream::connect(&http).expect("the node listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n").expect("the node listens");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("the node answers");
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name}: {text}"))
}
