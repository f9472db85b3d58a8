//! `cairn follow`: a node's copy, and a path, that are as fresh as the newest version.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use cairn_tests::wait::{PATIENCE, until};
use cairn_tests::{Cluster, Run, files};
use serde_json::{Value, json};

/// A follower, and the lines that it prints. Dropped, it is killed.
struct Follower {
    child: Child,
    lines: Receiver<Value>,
}

impl Follower {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let (told, lines) = channel();
        let pipe = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            let mut lines = pipe.lines().map_while(Result::ok).map(|line| serde_json::from_str(&line).unwrap());
            while lines.next().is_some_and(|line: Value| told.send(line).is_ok()) {}
        });
        Self { child, lines }
    }

    #[track_caller]
    fn next(&self) -> Value {
        self.lines.recv_timeout(PATIENCE).unwrap()
    }

    /// The lines up to the one of a version: it may skip those that come too fast.
    #[track_caller]
    fn until(&self, version: u64) -> Value {
        let mut last = 0;
        loop {
            let line = self.next();
            let now = line["version"].as_u64().unwrap();
            assert!(now > last, "{line}");
            last = now;
            if now == version {
                return line;
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn every_version_comes_to_the_node_and_to_the_path() {
    let cluster = Cluster::start(4, 0);
    let out = cluster.scratch().join("copy");
    let follow = |node: &str| {
        let mut command = cluster.command(node, ["follow", "app/state", "--out"]);
        command.arg(&out);
        Follower::start(command)
    };
    // The name comes to be later.
    let follower = follow("n4");
    let save = |number: u64| {
        let file = files::random(&cluster.scratch(), "state", 1000 + number, number);
        let mut command = cluster.command("n1", ["save", "app/state", "--replicas", "1", "--keep", "1"]);
        Run::of(command.arg(&file)).expect(0).json()
    };
    let first = save(1);
    let line = follower.until(1);
    let path = out.to_str().unwrap();
    let wanted = json!([first["name"], 1, 1, 1, 1, 1, "n1", "n4", path]);
    let keys = ["name", "version", "epoch", "head", "received", "applied", "owner", "node", "path"];
    assert_eq!(json!(keys.map(|key| line[key].clone())), wanted);
    assert_eq!(files::digest(&out), first["digest"].as_str().unwrap());

    // Bytes are moved once: a load there has them at once, without any quorum if need be.
    for number in 2..=6 {
        save(number);
    }
    follower.until(6);
    let loaded = cluster.cairn("n4", ["load", "app/state"]).expect(0).json();
    assert_eq!(loaded["sources"], json!([{"node": "n4", "bytes": 1006}]));
    // What it had of versions that are gone goes too.
    until("old copies are collected", || (cluster.copies("n4").len() == 1).then_some(()));

    // Registered anew, the name counts from one again.
    cluster.cairn("n2", ["rm", "app/state", "--yes"]).expect(0);
    let anew = save(9);
    let line = follower.next();
    assert_eq!((&line["version"], &line["epoch"]), (&json!(1), &anew["epoch"]));
    assert_eq!(files::digest(&out), anew["digest"].as_str().unwrap());
}

#[test]
fn a_follower_goes_on_when_the_leader_is_lost() {
    let cluster = Cluster::start(4, 0);
    let file = files::random(&cluster.scratch(), "state", 1000, 1);
    let leader = cluster.leader("n1");
    let others: Vec<String> =
        ["n1", "n2", "n3", "n4"].map(str::to_owned).into_iter().filter(|n| *n != leader).collect();
    let save = || Run::of(cluster.command(&others[0], ["save", "app/state", "--replicas", "1"]).arg(&file)).expect(0);
    save();
    let follower = Follower::start(cluster.command(&others[1], ["follow", "app/state"]));
    assert_eq!(follower.until(1)["applied"], Value::Null);
    cluster.kill(&leader);
    save();
    follower.until(2);
}

#[test]
fn a_storage_only_node_follows_nothing() {
    let cluster = Cluster::start(1, 1);
    let file = files::random(&cluster.scratch(), "state", 10, 1);
    Run::of(cluster.command("n1", ["save", "app/state", "--replicas", "0"]).arg(&file)).expect(0);
    let error = cluster.cairn("s1", ["follow", "app/state"]).expect(4).error();
    assert!(error["message"].as_str().unwrap().contains("storage-only"), "{error}");
}
