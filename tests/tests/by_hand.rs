//! A cluster made by hand, as an operator does it: `init`, `join`, `start`, each machine with an address of its own.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use cairn_tests::wait::until;
use cairn_tests::{Run, bins, files, prepared};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Network namespaces around a bridge: each machine's name is one, and the hub's.
struct Network {
    names: Vec<String>,
}

impl Network {
    /// One for each machine; none if this user may not have any.
    fn of(machines: usize) -> Option<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let unique = format!("cairn{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let network = Self { names: (0..=machines).map(|number| format!("{unique}-{number}")).collect() };
        let hub = &network.names[0];
        let mut made = network.names.iter().all(|name| ip(&["netns", "add", name]));
        made &= ip(&["-n", hub, "link", "add", "hub", "type", "bridge"]);
        made &= ip(&["-n", hub, "link", "set", "hub", "up"]);
        for (number, name) in network.names.iter().enumerate().skip(1) {
            let (port, address) = (format!("port{number}"), format!("{}/24", host(number)));
            made &= ip(&["-n", hub, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", name]);
            made &= ip(&["-n", hub, "link", "set", &port, "master", "hub", "up"]);
            made &= ip(&["-n", name, "addr", "add", &address, "dev", "eth0"]);
            made &= ip(&["-n", name, "link", "set", "eth0", "up"]) && ip(&["-n", name, "link", "set", "lo", "up"]);
        }
        made.then_some(network)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in &self.names {
            ip(&["netns", "del", name]);
        }
    }
}

fn ip(words: &[&str]) -> bool {
    Command::new("ip").args(words).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn host(number: usize) -> String {
    format!("10.77.0.{number}")
}

/// Machines with folders of their own. Without namespaces they are processes on loopback, with ports of their own.
struct Machines {
    network: Option<Network>,
    dir: tempfile::TempDir,
    ports: Vec<u16>,
    running: Vec<(usize, Child)>,
}

impl Machines {
    fn new(count: usize) -> Self {
        let network = Network::of(count);
        let dir = tempfile::tempdir().unwrap();
        let ports = prepared::free_ports(u16::try_from(3 * count).unwrap()).collect();
        let machines = Self { network, dir, ports, running: Vec::new() };
        for number in 1..=count {
            fs::create_dir(machines.folder(number)).unwrap();
            fs::write(machines.config(number), machines.settings(number)).unwrap();
        }
        machines
    }

    /// As the README has them for several machines.
    fn settings(&self, number: usize) -> String {
        let node = format!("[node]\nname = \"h{number}\"\ndir = \"data\"\n");
        if self.network.is_some() {
            let listen = "rpc = \"0.0.0.0:7420\"\ndata = \"0.0.0.0:7421\"\ninsecure = true\n";
            return format!("{node}advertise = \"{}\"\n[listen]\n{listen}", host(number));
        }
        let [rpc, data, http] = [0, 1, 2].map(|port| self.ports[3 * (number - 1) + port]);
        format!(
            "{node}[listen]\nrpc = \"127.0.0.1:{rpc}\"\ndata = \"127.0.0.1:{data}\"\nhttp = \"127.0.0.1:{http}\"\n"
        )
    }

    fn folder(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("h{number}"))
    }

    fn config(&self, number: usize) -> PathBuf {
        self.folder(number).join("cairnd.toml")
    }

    fn endpoint(&self, number: usize) -> String {
        match self.network {
            Some(_) => format!("{}:7420", host(number)),
            None => format!("127.0.0.1:{}", self.ports[3 * (number - 1)]),
        }
    }

    /// A program that runs on a machine.
    fn on(&self, number: usize, program: &Path) -> Command {
        let mut command = match &self.network {
            Some(network) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", &network.names[number]]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.env_remove("CAIRN_ENDPOINTS").env_remove("CAIRN_EPOCH").stdin(Stdio::null());
        command
    }

    fn cairnd(&self, number: usize, verb: &str, more: &[&str]) -> Command {
        let mut command = self.on(number, &bins::cairnd());
        command.arg(verb).arg("--config").arg(self.config(number)).args(more);
        command
    }

    /// `cairn`, asking its own machine.
    fn cairn(&self, number: usize, words: &[&str]) -> Run {
        let mut command = self.on(number, &bins::cairn());
        Run::of(command.args(["-o", "json", "--endpoint", &self.endpoint(number)]).args(words))
    }

    fn start(&mut self, number: usize) {
        let log = fs::File::options().create(true).append(true).open(self.folder(number).join("log")).unwrap();
        let child = self.cairnd(number, "start", &[]).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.running.push((number, child));
        until("the node answers", || {
            (self.cairn(number, &["node", "ls", "--timeout", "2s"]).code == 0).then_some(())
        });
    }

    fn end(&mut self, number: usize, signal: Signal) -> i32 {
        let at = self.running.iter().position(|(of, _)| *of == number).unwrap();
        let (_, mut child) = self.running.remove(at);
        kill_process(Pid::from_child(&child), signal).unwrap();
        child.wait().unwrap().code().unwrap_or(-1)
    }

    fn status(&self, number: usize) -> Value {
        until("there is a leader", || {
            let status = self.cairn(number, &["cluster", "status"]);
            (status.code == 0).then(|| status.json())
        })
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for (_, child) in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn three_machines_become_a_cluster_and_stay_one() {
    let mut machines = Machines::new(4);
    Run::of(&mut machines.cairnd(1, "init", &[])).expect(0);
    Run::of(&mut machines.cairnd(1, "init", &[])).expect(4);
    machines.start(1);
    let seed = machines.endpoint(1);

    // A join that is killed in the middle, at whatever place, may be repeated; so may one that is done.
    let join = ["--seed", &seed];
    // What is tried is the moment of the crash: no event marks it.
    for pause in [2, 5, 10, 20, 40] {
        let mut child =
            machines.cairnd(2, "join", &join).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(pause));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    Run::of(&mut machines.cairnd(2, "join", &join)).expect(0);
    Run::of(&mut machines.cairnd(2, "join", &join)).expect(0);
    machines.start(2);
    let two = machines.endpoint(2);
    Run::of(&mut machines.cairnd(3, "join", &["--seed", &seed, "--seed", &two])).expect(0);
    machines.start(3);
    let status = until("there are three voters", || Some(machines.status(1)).filter(|status| status["voters"] == 3));
    assert_eq!((&status["nodes"], &status["quorum_margin"]), (&3.into(), &1.into()), "{status}");
    for node in machines.cairn(3, &["node", "ls"]).expect(0).json()["nodes"].as_array().unwrap() {
        let number: usize = node["name"].as_str().unwrap()[1..].parse().unwrap();
        assert_eq!(node["endpoint"], machines.endpoint(number), "what others reach it by");
    }
    let peers = machines.cairn(2, &["cluster", "peers"]).expect(0).json();
    assert!(peers["peers"].as_array().unwrap().iter().all(|peer| peer["reachable"] == true), "{peers}");

    // A running node's folder is its own, and another cluster's is refused.
    let locked = Run::of(&mut machines.cairnd(2, "start", &[])).expect(4);
    assert!(locked.stderr.contains("another daemon runs in this folder"), "{locked:?}");
    Run::of(&mut machines.cairnd(4, "init", &[])).expect(0);
    let other = Run::of(&mut machines.cairnd(4, "join", &join)).expect(4);
    assert!(other.stderr.contains("empty folder"), "{other:?}");

    // The main job, between machines: the first one dies, the second takes over, the first comes back.
    let file = files::random(machines.dir.path(), "state", 3 * files::BLOCK + 5, 1);
    let path = file.to_str().unwrap();
    machines.cairn(1, &["save", "by/hand", path]).expect(0);
    machines.end(1, Signal::KILL);
    let out = machines.dir.path().join("out");
    let loaded = machines.cairn(2, &["load", "by/hand", "--claim", "--out", out.to_str().unwrap()]).expect(0).json();
    assert_eq!(loaded["owner"], "h2");
    files::same(&file, &out);
    machines.start(1);
    machines.cairn(1, &["save", "by/hand", path]).expect(4);
    until("the cluster is healthy", || (machines.cairn(3, &["cluster", "health"]).code == 0).then_some(()));
    machines.cairn(2, &["save", "by/hand", path]).expect(0);
    assert_eq!(machines.end(3, Signal::TERM), 0, "a clean stop");
}

#[test]
fn an_address_that_others_reach_needs_a_word() {
    let machines = Machines::new(1);
    let open = "[node]\nname = \"h1\"\ndir = \"data\"\n[listen]\nrpc = \"0.0.0.0:7420\"\n";
    fs::write(machines.config(1), open).unwrap();
    for verb in ["init", "start"] {
        let refused = Run::of(&mut machines.cairnd(1, verb, &[])).expect(78);
        assert!(refused.stderr.contains("listen.insecure"), "{refused:?}");
    }
    assert!(!machines.folder(1).join("data").exists(), "nothing was made");
}
