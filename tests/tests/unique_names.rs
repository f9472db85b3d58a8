//! A name is unique in the cluster, whoever asks for it, wherever and whenever.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::fs;
use std::process::{Child, Stdio};
use std::sync::{Mutex, PoisonError};

use cairn_tests::{Cluster, Run};

const CLIENTS: usize = 100;

/// One cluster at a time is load enough.
static TURN: Mutex<()> = Mutex::new(());

/// One of many that want the same name, as something new.
struct Client {
    number: usize,
    node: String,
    process: Child,
}

impl Client {
    fn start(cluster: &Cluster, number: usize, node: &str, name: &str) -> Self {
        let mut command = Self::command(cluster, number, node, name);
        let process = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Self { number, node: node.into(), process }
    }

    /// The same words for a first try and for a retry.
    fn command(cluster: &Cluster, number: usize, node: &str, name: &str) -> std::process::Command {
        let file = cluster.scratch().join(format!("client-{number}"));
        fs::write(&file, format!("the state of client {number}")).unwrap();
        let id = format!("{name} by client {number}");
        let words = ["save", "--if-version", "0", "--replicas", "1", "--timeout", "80s", "--request-id", &id, name];
        let mut command = cluster.command(node, words);
        command.arg(file);
        command
    }

    fn end(self) -> (usize, String, Run) {
        (self.number, self.node, self.process.wait_with_output().unwrap().into())
    }
}

/// Exactly one has the name, everybody else was told so.
fn one_winner(cluster: &Cluster, name: &str, ended: Vec<(usize, String, Run)>) {
    assert_eq!(ended.len(), CLIENTS);
    let (won, lost): (Vec<_>, Vec<_>) = ended.into_iter().partition(|(.., run)| run.code == 0);
    for (number, node, run) in lost {
        assert_eq!(run.code, 4, "client {number} on {node}: {} {}", run.text(), run.stderr);
        let error = run.error();
        assert_eq!((&error["code"], &error["retryable"]), (&"conflict".into(), &false.into()), "{error}");
        assert!(error["message"].as_str().unwrap().contains(name), "{error}");
        assert!(!error["hint"].is_null(), "{error}");
    }
    assert_eq!(won.len(), 1, "{won:?}");

    let (number, node, run) = &won[0];
    let saved = run.json();
    let digest = blake3::hash(format!("the state of client {number}").as_bytes()).to_hex().to_string();
    assert_eq!((&saved["version"], &saved["owner"]), (&1.into(), &node.as_str().into()));
    assert_eq!(saved["digest"], digest);
    let shown = cluster.show(node, name);
    assert_eq!((&shown["head"], &shown["owner"]), (&1.into(), &node.as_str().into()));
    assert_eq!((&shown["segment"], &shown["versions"][0]["digest"]), (&saved["segment"], &digest.into()));

    // Who won and did not hear of it asks again, and gets the same answer: not a conflict with itself.
    let again = Run::of(&mut Client::command(cluster, *number, node, name)).expect(0).json();
    for key in ["segment", "version", "epoch", "digest", "owner", "size", "ack", "replicas"] {
        assert_eq!(again[key], saved[key], "{key}");
    }
    let listed = cluster.cairn(node, ["ls", name]).expect(0).json();
    assert_eq!(listed["segments"].as_array().unwrap().len(), 1);
}

#[test]
fn a_hundred_clients_on_all_nodes_race_for_one_name() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = Cluster::start(3, 0);
    let nodes = ["n1", "n2", "n3"];
    let start = |number: usize| Client::start(&cluster, number, nodes[number % nodes.len()], "the/only");
    let clients: Vec<_> = (0..CLIENTS).map(start).collect();
    one_winner(&cluster, "the/only", clients.into_iter().map(Client::end).collect());
}

#[test]
fn the_leader_dies_while_a_hundred_clients_race_for_one_name() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut cluster = Cluster::start(3, 1);
    let leader = cluster.leader("n1");
    let nodes: Vec<_> = ["n1", "n2", "n3"].into_iter().filter(|name| *name != leader).collect();
    let start = |number: usize| Client::start(&cluster, number, nodes[number % nodes.len()], "the/only");
    let mut clients: Vec<_> = (0..CLIENTS / 2).map(start).collect();
    cluster.kill(&leader);
    clients.extend((CLIENTS / 2..CLIENTS).map(start));
    let ended: Vec<_> = clients.into_iter().map(Client::end).collect();
    one_winner(&cluster, "the/only", ended);

    // The node that was away learns it too; and what a restarted owner forgot, the cluster remembers.
    cluster.revive(&leader);
    let shown = cluster.show(&leader, "the/only");
    let owner = shown["owner"].as_str().unwrap().to_owned();
    let refused = Run::of(&mut Client::command(&cluster, CLIENTS, &leader, "the/only")).expect(4).error();
    assert_eq!(refused["code"], "conflict");
    cluster.kill(&owner);
    cluster.revive(&owner);
    let won = |number: &usize| {
        let digest = blake3::hash(format!("the state of client {number}").as_bytes()).to_hex().to_string();
        shown["versions"][0]["digest"] == digest
    };
    let winner = (0..CLIENTS).find(won).unwrap();
    let again = Run::of(&mut Client::command(&cluster, winner, &owner, "the/only")).expect(0).json();
    assert_eq!((&again["version"], &again["segment"]), (&1.into(), &shown["segment"]));
}

#[test]
fn a_name_is_free_again_once_it_is_removed_and_was_never_taken_by_a_save_that_failed() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = Cluster::start(2, 0);
    let file = cluster.scratch().join("file");
    fs::write(&file, "state").unwrap();
    let save = |node: &str, replicas: &str| {
        let mut command = cluster.command(node, ["save", "name", "--if-version", "0", "--replicas", replicas]);
        Run::of(command.arg(&file))
    };
    assert_eq!(save("n1", "2").expect(7).error()["code"], "durability");
    let first = save("n2", "1").expect(0).json();
    save("n1", "1").expect(4);
    cluster.cairn("n1", ["rm", "name", "--yes"]).expect(0);
    let second = save("n1", "1").expect(0).json();
    assert_ne!(first["segment"], second["segment"]);
    assert_eq!((&second["owner"], &second["version"]), (&"n1".into(), &1.into()));
    assert!(second["epoch"].as_u64() > first["epoch"].as_u64(), "an epoch never comes back");
}
