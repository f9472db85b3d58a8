//! The cluster that is measured: a running one, or one of our own that goes afterwards.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cairn_client::api::NodeInfo;
use cairn_client::dial::Client;
use cairn_client::request;
use cairn_client::spool::Spool;
use cairn_store::name::Name;
use cairn_store::node::{NodeName, Role};
use futures::{StreamExt, TryStreamExt, stream};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::ground::{Ground, failed};
use super::program::Running;
use crate::daemon::find_cairnd;
use crate::report::Report;

/// What to do when there is no `cairnd` to start a cluster with.
const NO_DAEMON: &str = "install it beside cairn or on PATH, or name a running cluster with --endpoint";
/// How long it may take to be ready; `dev` gives up by itself before.
const READY_PATIENCE: Duration = Duration::from_secs(90);
/// How many names are removed at a time.
const REMOVALS_AT_ONCE: usize = 16;
/// How long the copies of what was removed may take to go, before the next run.
const COLLECT_PATIENCE: Duration = Duration::from_secs(20);
/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// A node whose process is on this machine, as `dev` wrote it down.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct NodeProcess {
    pub(super) name: NodeName,
    pub(super) pid: Option<u32>,
    pub(super) endpoint: String,
    pub(super) dir: PathBuf,
}

impl NodeProcess {
    /// Its process ends at once, as if its machine were lost.
    pub(super) fn kill(&self) -> Result<(), Report> {
        let pid = self.pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let pid = pid.ok_or_else(|| Report::internal(format!("{} does not run", self.name)))?;
        kill_process(pid, Signal::KILL)
            .map_err(|error| Report::internal(format!("cannot end {}: {error}", self.name)))
    }

    /// Starts it again. Dropped, it has ended.
    pub(super) fn start(&mut self) -> Result<Running, Report> {
        let started = Running::node(&self.dir.join("cairnd.toml"))?;
        self.pid = Some(started.pid());
        Ok(started)
    }
}

/// What `dev` wrote down.
#[derive(Deserialize)]
struct Record {
    nodes: Vec<NodeProcess>,
}

/// The cluster that is measured.
pub(super) struct Site {
    pub(super) client: Client,
    pub(super) endpoints: Vec<String>,
    timeout: Duration,
    spool: PathBuf,
    /// Those on this machine, if `dev` started them.
    nodes: Vec<NodeProcess>,
    /// What all names begin with that are made here.
    prefix: String,
    own: Option<Own>,
}

/// What a cluster of our own is like.
pub(super) struct Shape {
    /// How many nodes it has.
    pub(super) nodes: u16,
    /// What is set of their configuration, as `KEY=VALUE`.
    pub(super) set: Vec<String>,
}

impl Default for Shape {
    /// An owner and two others, as they are configured by default.
    fn default() -> Self {
        Self { nodes: 3, set: Vec::new() }
    }
}

/// A cluster of our own. Dropped, it has ended.
struct Own {
    _dev: Running,
    ready: Duration,
}

impl Site {
    /// A cluster that runs.
    pub(super) async fn running(endpoints: Vec<String>, timeout: Duration) -> Result<Self, Report> {
        let client = Client::new(endpoints.clone(), timeout);
        let spool = client.hello().await?.spool;
        // A node of `dev` lies beside the others, and the record beside them all.
        let nodes = spool.ancestors().nth(2).and_then(|dir| record_in(dir).ok()).unwrap_or_default();
        let prefix = format!("bench-{}/", Uuid::now_v7().simple());
        Ok(Self { client, endpoints, timeout, spool, nodes, prefix, own: None })
    }

    /// A new one, whose folders lie in `dir`.
    pub(super) async fn start(dir: &Path, shape: &Shape, timeout: Duration) -> Result<Self, Report> {
        let (begun, program) = (Instant::now(), find_cairnd(NO_DAEMON)?);
        let log = dir.join("dev.log");
        let errors = File::create(&log).map_err(failed("create", &log))?;
        let mut dev = Command::new(program.as_os_str());
        dev.arg("dev").arg("--dir").arg(dir).args(["--base-port", "0", "--storage-nodes", "0"]);
        dev.args(["--nodes", &shape.nodes.to_string()]);
        dev.args(shape.set.iter().flat_map(|set| ["--set", set]));
        // Should this process be killed, nothing of it may stay. The thread that starts it is the one that waits for all.
        dev.args(["--die-with-parent", &std::process::id().to_string()]);
        let mut dev = Running::spawn(dev.stdout(Stdio::piped()).stderr(errors))?;
        let (tell, ready) = oneshot::channel();
        if let Some(stdout) = dev.child().stdout.take() {
            // It reads to the end of `dev`, which must never wait for it.
            std::thread::spawn(move || {
                let mut tell = Some(tell);
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    if line == "ready" {
                        tell.take().map(|tell| tell.send(()));
                    }
                }
            });
        }
        if !matches!(timeout_of(ready).await, Some(Ok(()))) {
            let why = fs::read_to_string(&log).unwrap_or_default();
            return Err(Report::internal(format!("`cairnd dev` did not become ready: {}", why.trim())));
        }
        let own = Own { _dev: dev, ready: begun.elapsed() };
        let endpoints = record_in(dir)?.into_iter().map(|node| node.endpoint).collect();
        Ok(Self { own: Some(own), ..Self::running(endpoints, timeout).await? })
    }

    /// How long a cluster of our own took to be ready.
    pub(super) fn ready(&self) -> Option<Duration> {
        self.own.as_ref().map(|own| own.ready)
    }

    /// For what would harm one that runs.
    pub(super) fn must_be_own(&self, what: &str) -> Result<(), Report> {
        let hint = "leave --endpoint and CAIRN_ENDPOINTS away";
        self.own.as_ref().map(drop).ok_or_else(|| Report::invalid(format!("{what} in a cluster of its own"), hint))
    }

    /// A folder on the file system of the node asked, if that is on this machine.
    pub(super) fn beside_spool(&self) -> &Path {
        self.spool.parent().filter(|dir| dir.is_dir()).unwrap_or(Path::new("/tmp"))
    }

    /// A name of our own.
    pub(super) fn name(&self, last: &str) -> Result<Name, Report> {
        let name = format!("{}{last}", self.prefix);
        name.parse().map_err(|error| Report::internal(format!("{name}: {error}")))
    }

    /// A client of one node only.
    pub(super) fn client_of(&self, endpoint: &str) -> Client {
        Client::new(vec![endpoint.to_owned()], self.timeout)
    }

    /// So many clients, each with a connection of its own, spread over the endpoints.
    pub(super) fn clients(&self, count: u32) -> impl Iterator<Item = Client> {
        self.endpoints.iter().cycle().map(|endpoint| self.client_of(endpoint)).take(count as usize)
    }

    /// The spool of the node that a client asks; it must be on this machine.
    pub(super) async fn spool_of(&self, client: &Client) -> Result<Spool, Report> {
        let hello = client.hello().await?;
        let spool = Spool::recognise(&hello.spool, hello.incarnation).map_err(failed("read", &hello.spool))?;
        spool.ok_or_else(|| {
            let message = format!("{} is not on this machine", hello.node);
            Report::invalid(message, "saves are measured on the nodes' machine: name its endpoints, or none")
        })
    }

    /// An executor that is up and has no copy of this name.
    pub(super) async fn without_copy(&self, name: &Name) -> Result<NodeInfo, Report> {
        let detail = self.client.show(name).await?;
        let holders: Vec<_> = detail.versions.iter().flat_map(|v| &v.holders).map(|holder| &holder.node).collect();
        let fits = |node: &NodeInfo| {
            let up = node.state == cairn_client::api::NodeState::Up;
            up && node.role == Role::Executor && !holders.contains(&&node.name)
        };
        let found = self.client.nodes().await?.into_iter().find(fits);
        found.ok_or_else(|| {
            Report::invalid("every executor has a copy: nothing is left to load on", "add an executor")
        })
    }

    /// The processes of the nodes; none if they are not all known.
    pub(super) fn pids(&self) -> Option<Vec<u32>> {
        let known = self.nodes.iter().map(|node| node.pid).collect::<Option<Vec<u32>>>();
        known.filter(|pids| !pids.is_empty())
    }

    /// The nodes whose processes are on this machine.
    pub(super) fn nodes(&self) -> &[NodeProcess] {
        &self.nodes
    }

    /// Takes a name away, and waits until no more than `left` copies lie on the nodes of this machine.
    pub(super) async fn remove(&self, name: &Name, left: usize) -> Result<(), Report> {
        self.client.remove(request::new_id(), name, None).await?;
        let deadline = Instant::now() + COLLECT_PATIENCE;
        while self.copies().len() > left && Instant::now() < deadline {
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Has the kernel forget what it has in memory of the copies, and of `file`: the next reader asks the disk.
    pub(super) async fn forget(&self, ground: &Ground, file: &Path) -> Result<(), Report> {
        ground.cool(self.copies().into_iter().chain([file.to_owned()]).collect()).await
    }

    /// The files of all copies on nodes of this machine.
    pub(super) fn copies(&self) -> Vec<PathBuf> {
        let folders = self.nodes.iter().flat_map(|node| entries(&node.dir.join("segments")));
        folders
            .flat_map(|folder| entries(&folder))
            .filter(|path| path.extension().is_some_and(|e| e == "seg"))
            .collect()
    }

    /// Takes away what was made here: the names, or the cluster.
    pub(super) async fn tidy(self) -> Result<(), Report> {
        if self.own.is_some() {
            return Ok(());
        }
        let left = self.client.list_all(&self.prefix, None).await?;
        let removed = stream::iter(left).map(|segment| {
            let client = &self.client;
            async move { client.remove(request::new_id(), &segment.name, None).await }
        });
        let removed = removed.buffer_unordered(REMOVALS_AT_ONCE).try_collect::<()>().await;
        removed.map_err(|error| {
            let hint = format!("see `cairn ls {}`, and remove them with `cairn rm`", self.prefix);
            Report { hint: Some(hint), ..error.into() }
        })
    }
}

async fn timeout_of<T>(ready: oneshot::Receiver<T>) -> Option<Result<T, oneshot::error::RecvError>> {
    timeout(READY_PATIENCE, ready).await.ok()
}

fn record_in(dir: &Path) -> Result<Vec<NodeProcess>, Report> {
    let path = dir.join("cluster.json");
    let text = fs::read_to_string(&path).map_err(failed("read", &path))?;
    let record: Record = serde_json::from_str(&text)
        .map_err(|error| Report::internal(format!("{} is not what dev writes: {error}", path.display())))?;
    Ok(record.nodes)
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
