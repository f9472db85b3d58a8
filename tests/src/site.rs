//! A cluster whose nodes a soak handles one by one: each has a place of its own (a folder, a file system, a network)
//! and a process that is killed, stopped, cut off, and started again.
//!
//! - `host`: one node;
//! - here: how a cluster is founded, and whether it is whole.

mod host;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use cairn_client::api::{NodeInfo, NodeState, RepairState};
use cairn_client::dial::Client;
use cairn_store::node::{NodeName, Role};
use tokio::runtime::{Handle, Runtime};

pub use host::{Addresses, Host, Sort};

use crate::wait::within;
use crate::{bins, prepared};

/// How long a start, an election and the like may take on two busy cores.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// How long one question may take.
pub const ASK: Duration = Duration::from_secs(3);

/// A cluster of processes. Its end ends all of them; its folder is its maker's.
pub struct Site {
    /// Every node, executors first.
    pub hosts: Vec<Host>,
    dev: Option<Child>,
    runtime: Runtime,
}

impl Site {
    /// Hosts with free ports on loopback, under `root`. Nothing runs yet.
    ///
    /// # Errors
    /// A configuration that cannot be written.
    pub fn plan(
        root: &Path,
        executors: u32,
        storage: u32,
        settings: &[(&str, &str)],
        node_dir: &str,
    ) -> anyhow::Result<Vec<Host>> {
        let mut ports = prepared::free_ports(u16::try_from((executors + storage) * 3)?);
        let mut hosts = Vec::new();
        for (name, role) in names(executors, storage) {
            let mut address = || ports.next().map(|port| format!("127.0.0.1:{port}")).context("three ports a node");
            let addresses = Addresses { rpc: address()?, data: address()?, http: address()?, advertise: None };
            hosts.push(Host::new(root, name.parse()?, role, addresses, settings, node_dir)?);
        }
        Ok(hosts)
    }

    /// Founds a cluster of these hosts, as an operator does it: `init`, `join`, `start`.
    ///
    /// # Errors
    /// Whatever keeps it from becoming whole.
    pub fn found(hosts: Vec<Host>) -> anyhow::Result<Self> {
        let mut site = Self { hosts, dev: None, runtime: runtime()? };
        let seed = site.hosts.first().map(|host| host.addresses.rpc.clone()).context("a cluster has a node")?;
        for index in 0..site.hosts.len() {
            let host = &site.hosts[index];
            let mut command = host.cairnd(if index == 0 { "init" } else { "join" });
            if index > 0 {
                command.args(["--seed", &seed]);
            }
            let made = command.stdin(Stdio::null()).output()?;
            ensure!(made.status.success(), "{}: {}", host.name, String::from_utf8_lossy(&made.stderr));
            site.start(index)?;
        }
        site.until_whole()?;
        Ok(site)
    }

    /// A cluster that `cairnd dev` founds and starts, as a user would. A node that is killed is started again by us.
    ///
    /// # Errors
    /// Whatever keeps it from becoming ready.
    pub fn dev(root: &Path, executors: u32, storage: u32, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let hosts = Self::plan(root, executors, storage, settings, ".")?;
        let mut site = Self { hosts, dev: None, runtime: runtime()? };
        // If we are killed ourselves, it must not stay.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(bins::cairnd());
        command.arg("dev").arg("--dir").arg(root).args(["--nodes", &executors.to_string()]);
        command.args(["--storage-nodes", &storage.to_string(), "--base-port", "0"]);
        let log = std::fs::File::create(root.join("dev.log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        site.dev = Some(command.spawn()?);
        within(PATIENCE, "dev is ready", || {
            let told = std::fs::read_to_string(root.join("dev.log"))?;
            let ended = site.dev.as_mut().map_or(Ok(None), Child::try_wait)?;
            ensure!(ended.is_none(), "dev ended: {told}");
            Ok(told.lines().any(|line| line == "ready").then_some(()))
        })?;
        let cluster: serde_json::Value = serde_json::from_slice(&std::fs::read(root.join("cluster.json"))?)?;
        let nodes = cluster["nodes"].as_array().context("nodes")?;
        let pids: BTreeMap<&str, i64> =
            nodes.iter().filter_map(|node| Some((node["name"].as_str()?, node["pid"].as_i64()?))).collect();
        for host in &mut site.hosts {
            let pid = pids.get(host.name.as_str()).with_context(|| format!("no pid of {}", host.name))?;
            host.adopt(i32::try_from(*pid)?);
        }
        site.until_whole()?;
        Ok(site)
    }

    /// Where asynchronous work goes on.
    pub fn handle(&self) -> Handle {
        self.runtime.handle().clone()
    }

    /// Waits for asynchronous work.
    pub fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// The node's place in [`Site::hosts`].
    ///
    /// # Errors
    /// There is none of that name.
    pub fn index(&self, name: &NodeName) -> anyhow::Result<usize> {
        self.hosts.iter().position(|host| host.name == *name).with_context(|| format!("no node {name}"))
    }

    /// The places of the nodes that run applications.
    pub fn executors(&self) -> Vec<usize> {
        (0..self.hosts.len()).filter(|index| self.hosts[*index].role == Role::Executor).collect()
    }

    /// Starts a node and waits until it answers.
    ///
    /// # Errors
    /// It ends instead, or says nothing.
    pub fn start(&mut self, index: usize) -> anyhow::Result<()> {
        self.hosts[index].spawn(&[])?;
        self.until_answers(index)
    }

    /// Waits until a node that was started answers.
    ///
    /// # Errors
    /// It ends instead, or says nothing.
    pub fn until_answers(&mut self, index: usize) -> anyhow::Result<()> {
        let Self { hosts, runtime, .. } = self;
        let host = &mut hosts[index];
        let client = host.client(Duration::from_millis(500));
        let name = host.name.clone();
        within(PATIENCE, &format!("{name} answers"), || {
            if let Some(status) = host.ended() {
                bail!("{name} does not start: {status}; {}", host.last_words());
            }
            Ok(runtime.block_on(client.hello()).ok().map(drop))
        })
    }

    /// Starts whoever does not run.
    ///
    /// # Errors
    /// As [`Site::start`].
    pub fn start_all(&mut self) -> anyhow::Result<()> {
        let down: Vec<usize> = (0..self.hosts.len()).filter(|index| !self.hosts[*index].runs()).collect();
        for index in &down {
            self.hosts[*index].spawn(&[])?;
        }
        down.into_iter().try_for_each(|index| self.until_answers(index))
    }

    /// Waits until every node is up and follows the same leader.
    ///
    /// # Errors
    /// It does not come to that.
    pub fn until_whole(&mut self) -> anyhow::Result<Vec<NodeInfo>> {
        let mut why = String::from("nobody was asked");
        let wanted = self.hosts.len();
        let voters = match self.executors().len() {
            0..3 => 1,
            3..5 => 3,
            _ => 5,
        };
        let found = within(PATIENCE, "the cluster is whole", || {
            let mut leaders = Vec::new();
            let mut nodes = Vec::new();
            for index in 0..self.hosts.len() {
                let host = &mut self.hosts[index];
                if let Some(status) = host.ended() {
                    bail!("{} ended by itself: {status}; {}", host.name, host.last_words());
                }
                let (name, client) = (host.name.clone(), host.client(ASK));
                match self.runtime.block_on(async { Ok((client.status().await?, client.nodes().await?)) }) {
                    Ok((status, members)) => {
                        leaders.push(status.leader);
                        nodes = members;
                    }
                    Err(error) => {
                        let error: cairn_client::api::Error = error;
                        why = format!("{name}: {error}");
                        return Ok(None);
                    }
                }
            }
            leaders.dedup();
            let up = nodes.iter().filter(|node| node.state == NodeState::Up).count();
            let voting = nodes.iter().filter(|node| node.voter).count();
            why = format!("leaders {leaders:?}, {up} of {wanted} up, {voting} vote");
            let whole = leaders.len() == 1 && leaders[0].is_some() && up == wanted && voting == voters;
            Ok(whole.then(|| nodes.clone()))
        });
        found.with_context(|| format!("G: {why}"))
    }

    /// Waits until nothing is left to be repaired, but for what cannot be.
    ///
    /// # Errors
    /// It does not come to that.
    pub fn until_repaired(&self) -> anyhow::Result<()> {
        let client = self.client(ASK);
        let mut why = String::from("nobody was asked");
        let repaired = within(PATIENCE, "every version has its copies", || {
            let told = match self.runtime.block_on(client.repairs()) {
                Ok(told) => told,
                Err(error) => {
                    why = error.to_string();
                    return Ok(None);
                }
            };
            let left = told.repairs.iter().find(|repair| repair.state != RepairState::Stuck);
            why = left.map(|repair| format!("{repair:?}")).unwrap_or_default();
            Ok(left.is_none().then_some(()))
        });
        repaired.with_context(|| why)
    }

    /// Ends every process at once.
    pub fn kill_all(&mut self) {
        if let Some(mut dev) = self.dev.take() {
            let _ = dev.kill();
            let _ = dev.wait();
        }
        self.hosts.iter().for_each(Host::send_kill);
        self.hosts.iter_mut().for_each(Host::kill);
    }

    /// Asks every node to end, and waits for it.
    ///
    /// # Errors
    /// One does not, or ends with an error.
    pub fn stop_all(&mut self) -> anyhow::Result<()> {
        self.hosts.iter_mut().try_for_each(Host::stop)
    }

    /// The folders of all nodes.
    pub fn folders(&self) -> Vec<PathBuf> {
        self.hosts.iter().map(|host| host.dir.clone()).collect()
    }

    /// A client of all executors, whichever answers.
    pub fn client(&self, timeout: Duration) -> Client {
        let executors = self.executors();
        Client::new(executors.into_iter().map(|index| self.hosts[index].addresses.rpc.clone()).collect(), timeout)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.kill_all();
    }
}

/// n1, n2, …, s1, …
pub fn names(executors: u32, storage: u32) -> Vec<(String, Role)> {
    let executors = (1..=executors).map(|n| (format!("n{n}"), Role::Executor));
    executors.chain((1..=storage).map(|n| (format!("s{n}"), Role::Storage))).collect()
}

fn runtime() -> anyhow::Result<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}
