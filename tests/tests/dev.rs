//! What `cairnd dev` says can be tried out works, whatever the shape of the cluster.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use cairn_tests::bins;
use cairn_tests::run::Run;
use cairn_tests::wait::until;

/// A `dev`; its end is that of its nodes.
struct Dev(Child);

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A command to start one.
fn command(dir: &Path, nodes: &str, storage: &str) -> Command {
    let mut command = Command::new(bins::cairnd());
    command.args(["dev", "--base-port", "0", "--nodes", nodes, "--storage-nodes", storage, "--dir"]).arg(dir);
    command.stdin(Stdio::null());
    command
}

/// Starts a cluster, and takes down the commands that it prints.
fn start(mut command: Command) -> (Dev, Vec<String>) {
    let mut dev = Dev(command.stdout(Stdio::piped()).spawn().unwrap());
    let lines: Vec<String> = BufReader::new(dev.0.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .take_while(|line| line != "ready")
        .collect();
    let told = lines.iter().skip_while(|line| !line.contains("try out")).filter(|line| line.starts_with("  "));
    (dev, told.map(|line| line.trim().to_owned()).collect())
}

#[test]
fn the_commands_that_it_prints_work() {
    for (nodes, storage) in [("1", "0"), ("1", "1"), ("2", "0"), ("3", "0")] {
        let (dir, here) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(here.path().join("README.md"), "hello").unwrap();
        let (_dev, told) = start(command(dir.path(), nodes, storage));
        assert!(told.len() >= 4, "{told:?}");
        let path = format!("{}:{}", bins::cairn().parent().unwrap().display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("sh");
        shell.arg("-euc").arg(told.join("\n")).current_dir(here.path()).env("PATH", path);
        Run::of(shell.env_remove("CAIRN_EPOCH")).expect(0);
        assert_eq!(std::fs::read(here.path().join("hello.md")).unwrap(), b"hello", "{nodes} and {storage}");
    }
}

#[test]
fn a_key_is_set_for_every_node_unless_it_is_each_nodes_own() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dev = |dir: &Path, set: &str| {
        let mut command = command(dir, "2", "0");
        command.args(["--set", set]);
        command
    };
    // Without it there is none before 20,000 entries.
    let (_dev, _) = start(dev(dir.path(), "raft.snapshot_every=1"));
    for node in ["n1", "n2"] {
        let snapshot = dir.path().join(node).join("snapshots/state");
        until(&format!("a snapshot of {node}"), || snapshot.exists().then_some(()));
    }
    for (wrong, code, told) in [
        ("node.name=x", 2, "each node's own"),
        (" listen.rpc=127.0.0.1:1", 2, "each node's own"),
        ("repair.rate=1KiB", 78, "repair.rate"),
        ("repair.speed=1", 78, "repair.speed"),
    ] {
        let refused = Run::of(&mut dev(other.path(), wrong)).expect(code);
        assert!(refused.stderr.contains(told), "{wrong}: {refused:?}");
    }
}
