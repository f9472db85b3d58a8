//! The steps of the story, and what is told of them.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cairn_store::name::Name;
use cairn_store::node::Role;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::app::{self, Told};
use super::compare::same_bytes;
use crate::cluster::{Cluster, NodePlan};
use crate::failure::Failure;
use crate::output::{line, table};

/// The name under which the application saves.
const NAME: &str = "demo/state";
/// How long one question may take.
const ASK_PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn tell(cluster: &mut Cluster, file: &Path) -> Result<(), Failure> {
    line("A cluster of processes on this machine: three nodes that run applications, one that only holds copies.\n");
    let begun = Instant::now();
    cluster.start().await?;
    line(&cluster.record().brief());
    line(&format!("ready after {}\n", took(begun)));

    let owner = executors(cluster).next().ok_or_else(|| Failure::new("there is no node"))?;
    line(&format!("1. Beside {}, an application saves its state, {}.", owner.name, file.display()));
    let begun = Instant::now();
    let saved = app::start(&owner.rpc, &words("save", file)).await?;
    let (version, epoch) = (saved.version, saved.epoch);
    line(&format!(
        "   pid {}: {NAME}, version {version}, epoch {epoch}, {} bytes, {}",
        saved.pid,
        saved.size,
        took(begun)
    ));
    line(&format!("   blake3 {}\n", saved.digest));

    line("2. Where it lies, as plain files:");
    let holders = holders(cluster, &saved).await?;
    line(&format!(
        "{}\n",
        indented(&table(["NODE", "STATE", "BYTES", "FILE"], holders.iter().map(|h| h.row(cluster))))
    ));

    let pid = cluster.pid(&owner).unwrap_or_default();
    let begun = Instant::now();
    cluster.kill(&owner).await;
    line(&format!("3. {} (pid {pid}) is killed with SIGKILL. Nothing was said goodbye to.\n", owner.name));

    // Best one that has no copy yet: then one really travels.
    let held = |node: &NodePlan| holders.iter().any(|h| h.node == node.name.as_str());
    let others = || executors(cluster).filter(|node| node.name != owner.name);
    let next = others().find(|node| !held(node)).or_else(|| others().next());
    let next = next.ok_or_else(|| Failure::new("there is no other node"))?;
    line(&format!("4. Beside {}, the application starts again: it takes {NAME} over, and loads it.", next.name));
    let resumed = cluster.plan.dir.join("resumed-state");
    let loaded = app::start(&next.rpc, &words("load", &resumed)).await?;
    let (version, epoch, from) = (loaded.version, loaded.epoch, loaded.nodes.join(", "));
    line(&format!(
        "   pid {}: version {version} from {from}; {} owns it now, epoch {epoch}",
        loaded.pid, loaded.owner
    ));
    line(&format!("   blake3 {}, {} after the kill", loaded.digest, took(begun)));
    if let Some(path) = &loaded.path {
        line(&format!("   local copy {}\n", brief(cluster, path)));
    }

    let (one, other) = (file.to_path_buf(), resumed);
    let same = spawn_blocking(move || same_bytes(&one, &other)).await.map_err(|e| Failure::new(e.to_string()))?;
    if !same.map_err(Failure::io("cannot compare"))? || loaded.digest != saved.digest {
        return Err(Failure::new("the bytes differ").hint("was the file changed meanwhile? Else this is a defect"));
    }
    line(&format!("5. Compared with the file, byte for byte: all {} bytes are identical.", loaded.size));
    Ok(())
}

fn words<'a>(what: &'a str, file: &'a Path) -> [&'a OsStr; 4] {
    [OsStr::new(what), OsStr::new(NAME), OsStr::new("--"), file.as_os_str()]
}

fn executors(cluster: &Cluster) -> impl Iterator<Item = NodePlan> {
    cluster.plan.nodes.iter().filter(|node| node.role == Role::Executor).cloned()
}

/// A node that has a copy.
struct Holder {
    node: String,
    state: String,
    size: u64,
    file: Option<PathBuf>,
}

impl Holder {
    fn row(&self, cluster: &Cluster) -> [String; 4] {
        let file = self.file.as_deref().map_or_else(|| "-".into(), |file| brief(cluster, file));
        [self.node.clone(), self.state.clone(), self.size.to_string(), file]
    }
}

async fn holders(cluster: &Cluster, saved: &Told) -> Result<Vec<Holder>, Failure> {
    let name: Name = NAME.parse().map_err(|e| Failure::new(format!("{NAME}: {e}")))?;
    let shown = cluster.client(ASK_PATIENCE).show(&name).await?;
    let version = shown.versions.into_iter().find(|version| version.version.0 == saved.version);
    let version = version.ok_or_else(|| Failure::new("the cluster does not know the version that it committed"))?;
    let holder = |holder: cairn_client::api::Replica| {
        let node = cluster.plan.nodes.iter().find(|node| node.name == holder.node);
        Holder {
            node: holder.node.to_string(),
            state: holder.state.to_string(),
            size: version.size,
            file: node.and_then(|node| segment_file(&node.dir)),
        }
    };
    Ok(version.holders.into_iter().map(holder).collect())
}

/// The only segment file of a node.
fn segment_file(dir: &Path) -> Option<PathBuf> {
    let shards = fs::read_dir(dir.join("segments")).ok()?.flatten();
    let mut files = shards.filter_map(|shard| fs::read_dir(shard.path()).ok()).flat_map(|files| files.flatten());
    files.find(|file| file.path().extension() == Some(OsStr::new("seg"))).map(|file| file.path())
}

/// A path below the cluster's folder.
fn brief(cluster: &Cluster, path: &Path) -> String {
    path.strip_prefix(&cluster.plan.dir).unwrap_or(path).display().to_string()
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("   {line}")).collect::<Vec<_>>().join("\n")
}

fn took(begun: Instant) -> String {
    format!("{:.2} s", begun.elapsed().as_secs_f64())
}
