//! A cluster of processes on this machine, for `dev` and `demo`.
//!
//! - `plan`: which nodes, where, on which ports; `earlier`: what an earlier run left, which is taken as it is;
//! - `child`: one node's process, which ends with this one;
//! - `record`: `cluster.json`;
//! - here: from the plan to a cluster that is ready, and its end.
//!
//! Every step may be taken again, so a folder whose first set-up was interrupted is no special case.

mod child;
mod earlier;
mod plan;
mod record;

use std::path::PathBuf;
use std::time::Duration;

use cairn_client::api::{NodeInfo, NodeState};
use cairn_client::dial::Client;
use cairn_store::node::{NodeName, Role};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use self::child::Child;
pub(crate) use self::plan::{BasePort, NodePlan, Plan, Wish};
pub(crate) use self::record::Record;
use crate::failure::{Failure, UNAVAILABLE};
use crate::join::Prepared;
use crate::{folder, init, join, output};

/// How long the whole start may take.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long one question of a start may take.
const ASK_PATIENCE: Duration = Duration::from_secs(2);
/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(30);
/// How long nodes may take to end by themselves.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// A cluster of processes. Dropped, its processes are killed.
pub(crate) struct Cluster {
    pub(crate) plan: Plan,
    program: PathBuf,
    children: Vec<Child>,
    ids: Vec<Option<u64>>,
}

impl Cluster {
    /// Nothing runs yet.
    pub(crate) fn new(plan: Plan) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(Failure::io("cannot find this program's own file"))?;
        let ids = vec![None; plan.nodes.len()];
        Ok(Self { plan, program, children: Vec::new(), ids })
    }

    /// Sets up what is missing, starts every node, and waits until all are up.
    pub(crate) async fn start(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + START_PATIENCE;
        let (removed, nodes) = self.by_standing()?;
        removed.iter().for_each(|node| note_removed(&node.name));
        // The folders take some hundred fsyncs each: all at once.
        let mut prepared = Vec::new();
        let mut members = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            match folder::identity(&node.dir)? {
                Some(_) => members.push(node),
                None if index == 0 => {
                    let config = node.config()?;
                    spawn_blocking(move || init::found(&config)).await.map_err(|e| Failure::new(e.to_string()))??;
                    members.push(node);
                }
                None => {
                    let dir = node.dir.clone();
                    prepared.push((node, spawn_blocking(move || Prepared::make(&dir))));
                }
            }
        }
        for node in &members {
            self.spawn(node)?;
        }
        let seeds = Client::new(members.iter().map(|node| node.rpc.clone()).collect(), START_PATIENCE);
        let executors = nodes.iter().filter(|node| node.role == Role::Executor).count();
        let (first, later): (Vec<_>, Vec<_>) =
            prepared.into_iter().partition(|(node, _)| node.role == Role::Executor);
        for (node, folder) in first {
            self.join(node, folder, &seeds, deadline).await?;
        }
        if !later.is_empty() {
            // Storage nodes come when executors have become the voters.
            self.wait(deadline, "for its voters", |nodes| {
                nodes.iter().filter(|n| n.voter).count() >= voters(executors)
            })
            .await?;
        }
        for (node, folder) in later {
            self.join(node, folder, &seeds, deadline).await?;
        }
        let planned: Vec<NodeName> = nodes.iter().map(|node| node.name.clone()).collect();
        let all_up = move |nodes: &[NodeInfo]| {
            // Who was removed while it was off is not among them.
            let ours: Vec<&NodeInfo> = nodes.iter().filter(|n| planned.contains(&n.name)).collect();
            let executors = ours.iter().filter(|n| n.role == Role::Executor).count();
            ours.iter().all(|n| n.state != NodeState::Down)
                && nodes.iter().any(|n| n.leader)
                && nodes.iter().filter(|n| n.voter).count() >= voters(executors)
        };
        let found = self.wait(deadline, "until every node is up", all_up).await?;
        let id_of = |node: &NodePlan| found.iter().find(|info| info.name == node.name).map(|info| info.id.0);
        self.ids = self.plan.nodes.iter().map(id_of).collect();
        Ok(())
    }

    /// Who was removed from the cluster, and the others.
    fn by_standing(&self) -> Result<(Vec<NodePlan>, Vec<NodePlan>), Failure> {
        let (mut removed, mut others) = (Vec::new(), Vec::new());
        for node in &self.plan.nodes {
            if folder::is_removed(&node.dir)? { &mut removed } else { &mut others }.push(node.clone());
        }
        Ok((removed, others))
    }

    async fn join(
        &mut self,
        node: &NodePlan,
        folder: tokio::task::JoinHandle<Result<Prepared, Failure>>,
        seeds: &Client,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let prepared = folder.await.map_err(|e| Failure::new(e.to_string()))??;
        let config = node.config()?;
        tokio::select! {
            joined = join::join(&config, prepared, seeds) => joined.map(drop)?,
            failure = self.watch_start(deadline) => return Err(failure),
        }
        self.spawn(node)
    }

    fn spawn(&mut self, node: &NodePlan) -> Result<(), Failure> {
        self.children.push(Child::spawn(&self.program, node, &self.plan.set)?);
        Ok(())
    }

    /// Asks, again and again, until the members are as they should be.
    async fn wait(
        &mut self,
        deadline: Instant,
        what: &str,
        enough: impl Fn(&[NodeInfo]) -> bool,
    ) -> Result<Vec<NodeInfo>, Failure> {
        let client = self.client(ASK_PATIENCE);
        let waited = async {
            loop {
                if let Ok(nodes) = client.nodes().await
                    && enough(&nodes)
                {
                    return nodes;
                }
                sleep(LOOK).await;
            }
        };
        tokio::select! {
            nodes = waited => Ok(nodes),
            failure = self.watch_start(deadline) => Err(failure.hint(format!("it was waiting {what}"))),
        }
    }

    /// Ends only with what makes a start fail: a node that ended, or the time.
    async fn watch_start(&mut self, deadline: Instant) -> Failure {
        loop {
            if let Some(dead) = self.take_dead() {
                if !self.is_removed(&dead.name) {
                    let last = dead.last_words();
                    return Failure::new(format!("node {} ended while the cluster started: {last}", dead.name))
                        .hint(format!("its log: {}", dead.log.display()));
                }
                note_removed(&dead.name);
            }
            if Instant::now() >= deadline {
                let span = humantime::format_duration(START_PATIENCE);
                return Failure::new(format!("the cluster is not ready after {span}")).exit(UNAVAILABLE);
            }
            sleep(LOOK).await;
        }
    }

    /// A client of all nodes that run.
    pub(crate) fn client(&self, patience: Duration) -> Client {
        let running = |node: &&NodePlan| self.children.iter().any(|child| child.name == node.name);
        Client::new(self.plan.nodes.iter().filter(running).map(|node| node.rpc.clone()).collect(), patience)
    }

    /// The process of a node, while it runs.
    pub(crate) fn pid(&self, node: &NodePlan) -> Option<u32> {
        self.children.iter().find(|child| child.name == node.name).map(|child| child.pid)
    }

    /// Whether a node was removed from the cluster, and has heard of it. A folder that cannot be read says nothing.
    pub(crate) fn is_removed(&self, name: &NodeName) -> bool {
        let mut planned = self.plan.nodes.iter().filter(|node| node.name == *name);
        planned.any(|node| folder::is_removed(&node.dir).unwrap_or_default())
    }

    /// Whether a node was a member when the cluster was ready.
    pub(crate) fn was_member(&self, node: &NodePlan) -> bool {
        self.plan.nodes.iter().zip(&self.ids).any(|(planned, id)| planned.name == node.name && id.is_some())
    }

    /// What `cluster.json` says now.
    pub(crate) fn record(&self) -> Record {
        let with_ids = self.plan.nodes.iter().zip(&self.ids);
        Record::new(with_ids.map(|(node, id)| (node, *id, self.pid(node))))
    }

    /// The next node that ends, with how.
    pub(crate) async fn next_death(&mut self) -> (NodeName, String) {
        loop {
            if let Some(dead) = self.take_dead() {
                let how = format!("node {} (pid {}) ended: {}", dead.name, dead.pid, dead.last_words());
                return (dead.name, how);
            }
            sleep(LOOK).await;
        }
    }

    fn take_dead(&mut self) -> Option<Child> {
        let dead = self.children.iter_mut().position(Child::has_ended)?;
        Some(self.children.remove(dead))
    }

    /// Kills a node, as a power cut would, and waits until it is gone.
    pub(crate) async fn kill(&mut self, node: &NodePlan) {
        if let Some(index) = self.children.iter().position(|child| child.name == node.name) {
            self.children.remove(index).kill().await;
        }
    }

    /// Ends all nodes: asks, waits, kills.
    pub(crate) async fn stop(&mut self) {
        self.children.iter().for_each(Child::ask_to_end);
        let ended = async {
            while !self.children.is_empty() {
                if self.take_dead().is_none() {
                    sleep(LOOK).await;
                }
            }
        };
        let _ = timeout(END_PATIENCE, ended).await;
        for child in std::mem::take(&mut self.children) {
            child.kill().await;
        }
    }
}

fn note_removed(name: &NodeName) {
    output::note(&format!("node {name} was removed from the cluster: it stays off, and its folder says so"));
}

/// How many voters so many executors give.
fn voters(executors: usize) -> usize {
    match executors {
        0..3 => 1,
        3..5 => 3,
        _ => 5,
    }
}
