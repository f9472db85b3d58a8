//! A cluster of `cairnd` processes, started by `cairnd dev` as a user would.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::run::Run;
use crate::wait::{PATIENCE, until};
use crate::{bins, run};

/// One node, as `cluster.json` has it.
#[derive(Clone, Debug)]
pub struct NodeProcess {
    /// Its name.
    pub name: String,
    /// Its process, when it was last started.
    pub pid: i32,
    /// `HOST:PORT` of its service.
    pub endpoint: String,
    /// `HOST:PORT` of its data plane.
    pub data: String,
    /// `HOST:PORT` of its health and metrics.
    pub http: String,
    /// Its folder.
    pub dir: PathBuf,
}

/// A running cluster. Its end ends every process of it and removes its folder.
pub struct Cluster {
    dev: Child,
    revived: Vec<Child>,
    dir: TempDir,
    /// What its processes have in their environment, beside what all have.
    env: Vec<(String, String)>,
}

impl Cluster {
    /// Starts `nodes` executors and `storage` storage-only nodes, and waits until they are ready.
    pub fn start(nodes: u32, storage: u32) -> Self {
        Self::start_in(tempfile::tempdir().expect("a temporary folder"), nodes, storage)
    }

    /// The same, in a folder that the test has prepared.
    pub fn start_in(dir: TempDir, nodes: u32, storage: u32) -> Self {
        Self::start_with(dir, nodes, storage, Vec::new())
    }

    /// The same, with these variables.
    pub fn start_with(dir: TempDir, nodes: u32, storage: u32, env: Vec<(String, String)>) -> Self {
        let dev = spawn_dev(dir.path(), nodes, storage, &env);
        Self { dev, revived: Vec::new(), dir, env }
    }

    /// What is started from now on has these variables.
    pub fn set_env(&mut self, env: Vec<(String, String)>) {
        self.env = env;
    }

    /// A folder of the test's own, beside the nodes'.
    pub fn scratch(&self) -> PathBuf {
        let path = self.dir.path().join("scratch");
        std::fs::create_dir_all(&path).expect("the scratch folder");
        path
    }

    /// The folder that `dev` was given.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Every node.
    pub fn nodes(&self) -> Vec<NodeProcess> {
        let text = std::fs::read_to_string(self.dir.path().join("cluster.json")).expect("cluster.json");
        let json: Value = serde_json::from_str(&text).expect("cluster.json is JSON");
        let text =
            |node: &Value, key: &str| node[key].as_str().unwrap_or_else(|| panic!("no {key}: {node}")).to_owned();
        let node = |node: &Value| {
            let name = text(node, "name");
            let revived = self.revived_pid(&name);
            NodeProcess {
                // A node that has ended has none.
                pid: revived.unwrap_or_else(|| i32::try_from(node["pid"].as_i64().unwrap_or(0)).expect("a pid")),
                endpoint: text(node, "endpoint"),
                data: text(node, "data_endpoint"),
                http: text(node, "http"),
                dir: text(node, "dir").into(),
                name,
            }
        };
        json["nodes"].as_array().expect("nodes").iter().map(node).collect()
    }

    /// One node.
    #[track_caller]
    pub fn node(&self, name: &str) -> NodeProcess {
        self.nodes().into_iter().find(|node| node.name == name).unwrap_or_else(|| panic!("no node {name}"))
    }

    /// Runs `cairn` against one node, with `-o json`.
    #[track_caller]
    pub fn cairn(&self, node: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Run {
        Run::of(&mut self.command(node, args))
    }

    /// The same, not started yet.
    #[track_caller]
    pub fn command(&self, node: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        run::cairn(&self.node(node).endpoint, args)
    }

    /// The leader's name, as `node` sees it, once there is one.
    pub fn leader(&self, node: &str) -> String {
        until("there is a leader", || {
            let status = self.cairn(node, ["cluster", "status"]);
            (status.code == 0).then(|| status.json()["leader"].as_str().map(str::to_owned)).flatten()
        })
    }

    /// Kills a node as a power cut would.
    pub fn kill(&self, name: &str) {
        let pid = self.node(name).pid;
        let process = Pid::from_raw(pid).expect("a pid");
        kill_process(process, Signal::KILL).expect("the node was running");
        until("the node is gone", || gone(pid).then_some(()));
    }

    /// Sends a node's process a signal.
    pub fn signal(&self, name: &str, signal: Signal) {
        let process = Pid::from_raw(self.node(name).pid).expect("the node runs");
        kill_process(process, signal).expect("the node runs");
    }

    /// Starts a node that was killed, and waits until it answers.
    pub fn revive(&mut self, name: &str) {
        let config = self.dir.path().join(name).join("cairnd.toml");
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join(name).join("revived.log"))
            .expect("a log file");
        let mut command = Command::new(bins::cairnd());
        command.arg("start").arg("--config").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.envs(variables(&self.env)).spawn().expect("cairnd starts");
        std::fs::write(self.dir.path().join(name).join("revived.pid"), child.id().to_string()).expect("a pid file");
        self.revived.push(child);
        until("the revived node answers", || (self.cairn(name, ["node", "ls"]).code == 0).then_some(()));
    }

    /// Waits until `node ls`, asked of `at`, shows `name` in `state`.
    pub fn until_state(&self, at: &str, name: &str, state: &str) {
        until(&format!("{name} is {state}"), || {
            let listed = self.cairn(at, ["node", "ls"]);
            let is = |node: &Value| node["name"] == name && node["state"] == state;
            (listed.code == 0 && listed.json()["nodes"].as_array().is_some_and(|all| all.iter().any(is)))
                .then_some(())
        });
    }

    /// What `show` says of a segment.
    #[track_caller]
    pub fn show(&self, node: &str, name: &str) -> Value {
        self.cairn(node, ["show", name]).expect(0).json()
    }

    /// The holders of the newest version and the states of their copies, as `node` sees them.
    #[track_caller]
    pub fn holders(&self, node: &str, name: &str) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let shown = self.show(node, name);
        let holders = shown["holders"].as_array().expect("holders");
        holders.iter().map(|h| (text(&h["node"]), text(&h["state"]))).collect()
    }

    /// What applications, or commands on their behalf, left in a node's spool.
    pub fn spooled(&self, node: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.node(node).dir.join("spool")).expect("a spool");
        let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        names.filter(|name| name != ".node").collect()
    }

    /// The files of all copies on a node, halves too.
    pub fn copies(&self, node: &str) -> Vec<PathBuf> {
        fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                let path = entry.path();
                match path.is_dir() {
                    true => walk(&path, found),
                    false if path.extension().is_some_and(|e| e == "seg") => found.push(path),
                    false => {}
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.node(node).dir.join("segments"), &mut found);
        found
    }

    /// The file of a node's copy of a version's bytes, found by its digest.
    pub fn copy_on(&self, node: &str, digest: &str) -> Option<PathBuf> {
        // One that goes away while it is looked at is not the one.
        let is = |path: &PathBuf| crate::files::digest_of(path).is_ok_and(|found| found == digest);
        self.copies(node).into_iter().find(is)
    }

    fn revived_pid(&self, name: &str) -> Option<i32> {
        std::fs::read_to_string(self.dir.path().join(name).join("revived.pid")).ok()?.parse().ok()
    }

    /// Ends every process at once, as a power cut of the whole room would, and starts the same cluster again.
    pub fn crash_all_and_restart(&mut self, nodes: u32, storage: u32) {
        self.crash_all();
        self.dev = spawn_dev(self.dir.path(), nodes, storage, &self.env);
    }

    /// Ends every process at once, as a power cut of the whole room would. Nodes may be revived one by one.
    pub fn crash_all(&mut self) {
        for node in self.nodes() {
            if let Some(process) = Pid::from_raw(node.pid) {
                let _ = kill_process(process, Signal::KILL);
            }
        }
        self.end();
        for node in self.nodes() {
            let _ = std::fs::remove_file(self.dir.path().join(&node.name).join("revived.pid"));
        }
    }

    fn end(&mut self) {
        let _ = self.dev.kill();
        let _ = self.dev.wait();
        for mut child in self.revived.drain(..) {
            let _ = child.kill();
            let _ = child.wait();
        }
        for node in self.nodes() {
            until("every process is gone", || gone(node.pid).then_some(()));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in self.nodes() {
                let log =
                    std::fs::read_to_string(self.dir.path().join(&node.name).join("cairnd.log")).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(15).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                eprintln_lines(&node.name, &tail);
            }
            let _ = self.dev.kill();
            let _ = self.dev.wait();
            self.revived.iter_mut().for_each(|child| drop(child.kill()));
        } else {
            self.end();
        }
    }
}

#[allow(clippy::print_stderr, reason = "the last words of the nodes of a failed test")]
fn eprintln_lines(name: &str, lines: &[&str]) {
    for line in lines {
        eprintln!("{name}: {line}");
    }
}

/// Whether a process has ended; one that only waits to be reaped has.
pub fn gone(pid: i32) -> bool {
    let Some(process) = Pid::from_raw(pid) else { return true };
    if test_kill_process(process).is_err() {
        return true;
    }
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let zombie = stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')) || stat.is_empty();
    // While another of its threads is still ending, its ports and locks are still held.
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    zombie && threads <= 1
}

fn variables(env: &[(String, String)]) -> impl Iterator<Item = (&String, &String)> {
    env.iter().map(|(key, value)| (key, value))
}

fn spawn_dev(dir: &Path, nodes: u32, storage: u32, env: &[(String, String)]) -> Child {
    let mut command = Command::new(bins::cairnd());
    command.envs(variables(env));
    command.arg("dev").arg("--dir").arg(dir).args(["--base-port", "0"]);
    command.args(["--nodes", &nodes.to_string(), "--storage-nodes", &storage.to_string()]);
    let mut dev =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("dev starts");
    let stdout = dev.stdout.take().expect("stdout is piped");
    let (tell, ready) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if line == "ready" {
                let _ = tell.send(());
            }
        }
    });
    let stderr = dev.stderr.take().expect("stderr is piped");
    let complaints = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = BufReader::new(stderr).read_to_string(&mut text);
        text
    });
    if ready.recv_timeout(PATIENCE).is_err() {
        let _ = dev.kill();
        let _ = dev.wait();
        panic!("dev did not become ready: {}", complaints.join().unwrap_or_default());
    }
    dev
}
