//! Registering makes the service send the bytes, point to point, to other nodes, which store them durably.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::collections::BTreeSet;
use std::path::Path;

use cairn_tests::wait::until;
use cairn_tests::{Cluster, Run, Shared, files};
use rustix::process::Signal;
use serde_json::Value;

static CLUSTER: Shared = Shared::new(3, 1);

const SIZE: u64 = (3 << 20) + 17;
const NODES: [&str; 4] = ["n1", "n2", "n3", "s1"];

fn save(cluster: &Cluster, node: &str, name: &str, file: &Path, more: &[&str]) -> Run {
    let mut command = cluster.command(node, ["save", name]);
    Run::of(command.arg(file).args(more))
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn same_keys(value: &Value, expected: &[&str]) {
    let sorted = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(sorted(&keys(value)), sorted(expected), "{value}");
}

/// The nodes of a list of `{"node","state"}`, all durable.
fn durable(list: &Value) -> BTreeSet<String> {
    let list = list.as_array().unwrap();
    for holder in list {
        same_keys(holder, &["node", "state"]);
        assert_eq!(holder["state"], "durable", "{holder}");
    }
    let nodes: BTreeSet<_> = list.iter().map(|holder| holder["node"].as_str().unwrap().to_owned()).collect();
    assert_eq!(nodes.len(), list.len(), "a node counts once");
    nodes
}

/// Saves with so many replicas, and follows the bytes to every node.
fn with_replicas(count: u64) {
    let cluster = CLUSTER.get();
    let name = format!("replicas/{count}");
    let file = files::random(&cluster.scratch(), &format!("replicas-{count}"), SIZE, count);
    let digest = files::digest(&file);
    let saved = save(&cluster, "n1", &name, &file, &["--replicas", &count.to_string()]).expect(0).json();

    let replicas = durable(&saved["replicas"]);
    assert_eq!(replicas.len() as u64, count);
    assert!(!replicas.contains("n1"), "the owner is not its own replica");
    assert_eq!((&saved["size"], &saved["digest"]), (&SIZE.into(), &digest.as_str().into()));
    assert_eq!(saved["bytes_sent"], count * SIZE, "once to each replica, straight from the owner");

    let shown = cluster.show("n2", &name);
    let mut expected = replicas.clone();
    expected.insert("n1".into());
    assert_eq!(durable(&shown["holders"]), expected);
    assert_eq!(durable(&shown["versions"][0]["holders"]), expected);
    assert_eq!((&shown["replicas_wanted"], &shown["under_replicated"]), (&count.into(), &false.into()));
    assert_eq!((&shown["segment"], &shown["waiting_for"]), (&saved["segment"], &Value::Null));

    for node in NODES {
        match (cluster.copy_on(node, &digest), expected.contains(node)) {
            // A copy exists only if its table of contents does.
            (Some(copy), true) => assert!(copy.with_extension("toc").exists(), "{}", copy.display()),
            (None, false) => {}
            (copy, _) => panic!("{node} has {copy:?}, holders are {expected:?}"),
        }
    }
    cluster.cairn("n1", ["rm", &name, "--yes"]).expect(0);
}

#[test]
fn two_other_nodes_get_a_copy_by_default() {
    let cluster = CLUSTER.get();
    let file = files::random(&cluster.scratch(), "default", SIZE, 100);
    let saved = save(&cluster, "n2", "default", &file, &[]).expect(0).json();
    assert_eq!((durable(&saved["replicas"]).len(), &saved["ack"]), (2, &"all".into()));
}

#[test]
fn no_other_node_gets_a_copy_when_none_is_asked_for() {
    with_replicas(0);
}

#[test]
fn one_other_node_gets_a_copy() {
    with_replicas(1);
}

#[test]
fn two_other_nodes_get_a_copy() {
    with_replicas(2);
}

#[test]
fn every_other_node_gets_a_copy() {
    with_replicas(3);
}

#[test]
fn every_acknowledgement_waits_for_as_many_copies_as_it_says_and_all_come_in_the_end() {
    let cluster = CLUSTER.get();
    for (ack, least, seed) in [("all", 3, 10), ("quorum", 2, 11), ("one", 1, 12), ("local", 0, 13)] {
        let name = format!("ack/{ack}");
        let file = files::random(&cluster.scratch(), &format!("ack-{ack}"), SIZE, seed);
        let saved = save(&cluster, "n3", &name, &file, &["--replicas", "3", "--ack", ack]).expect(0).json();
        let at_once = durable(&saved["replicas"]);
        assert!(at_once.len() >= least, "{ack}: {saved}");
        assert_eq!(saved["ack"], ack);
        assert!(cluster.copy_on("n3", &files::digest(&file)).is_some(), "{ack}: the owner's own copy comes first");
        until("late copies are known too", || (cluster.holders("n1", &name).len() == 4).then_some(()));
        let shown = cluster.show("n1", &name);
        assert_eq!((durable(&shown["holders"]).len(), &shown["under_replicated"]), (4, &false.into()));
    }
}

#[test]
fn a_target_that_fails_after_an_early_answer_is_replaced() {
    let cluster = Cluster::start(3, 2);
    let others = ["n2", "n3", "s1", "s2"];
    let file = files::random(&cluster.scratch(), "fill", SIZE, 40);
    let filled = durable(&save(&cluster, "n1", "fill", &file, &["--replicas", "3"]).expect(0).json()["replicas"]);
    // The emptiest node is chosen first. It has just stopped, and nobody knows.
    let stopped = others.into_iter().find(|node| !filled.contains(*node)).unwrap();
    cluster.signal(stopped, Signal::STOP);
    let file = files::random(&cluster.scratch(), "late", SIZE, 41);
    save(&cluster, "n1", "late", &file, &["--replicas", "3", "--ack", "local"]).expect(0);
    let mut expected: BTreeSet<String> = others.iter().map(|node| (*node).to_owned()).collect();
    expected.remove(stopped);
    expected.insert("n1".into());
    until("another node holds the copy", || {
        (durable(&cluster.show("n1", "late")["holders"]) == expected).then_some(())
    });
    assert_eq!(cluster.show("n1", "late")["under_replicated"], false);
    cluster.signal(stopped, Signal::CONT);
}

#[test]
fn what_is_printed_has_the_keys_of_the_contract_and_no_others() {
    let cluster = CLUSTER.get();
    let file = files::random(&cluster.scratch(), "keys", 1000, 20);
    let saved = save(&cluster, "n1", "keys", &file, &["--label", "team=blue"]).expect(0).json();
    let of_save = [
        "name",
        "segment",
        "kind",
        "version",
        "epoch",
        "size",
        "digest",
        "owner",
        "replicas",
        "ack",
        "bytes_sent",
        "archived",
        "elapsed_ms",
    ];
    same_keys(&saved, &of_save);
    assert_eq!((&saved["name"], &saved["kind"]), (&"keys".into(), &"file".into()));
    assert_eq!((&saved["version"], &saved["epoch"], &saved["owner"]), (&1.into(), &1.into(), &"n1".into()));

    let shown = cluster.show("s1", "keys");
    let of_show = [
        "name",
        "segment",
        "kind",
        "owner",
        "epoch",
        "lease",
        "head",
        "versions",
        "holders",
        "replicas_wanted",
        "under_replicated",
        "waiting_for",
        "labels",
        "archive",
        "revision",
    ];
    same_keys(&shown, &of_show);
    same_keys(&shown["versions"][0], &["version", "size", "digest", "created", "pinned", "holders", "global"]);
    assert_eq!(shown["labels"], serde_json::json!({"team": "blue"}));

    let listed = cluster.cairn("n3", ["ls", "keys"]).expect(0).json();
    same_keys(&listed, &["segments"]);
    let of_ls = ["name", "kind", "owner", "epoch", "head", "size", "digest", "modified", "under_replicated"];
    same_keys(&listed["segments"][0], &of_ls);

    let nodes = cluster.cairn("n2", ["node", "ls"]).expect(0).json();
    let of_node = [
        "id",
        "name",
        "role",
        "zone",
        "state",
        "voter",
        "leader",
        "endpoint",
        "data_endpoint",
        "copies",
        "bytes",
        "capacity",
        "last_seen_ms",
    ];
    for node in nodes["nodes"].as_array().unwrap() {
        same_keys(node, &of_node);
    }
    let status = cluster.cairn("n2", ["cluster", "status"]).expect(0).json();
    let of_status =
        ["cluster", "leader", "term", "nodes", "voters", "segments", "bytes", "under_replicated", "quorum_margin"];
    same_keys(&status, &of_status);
}

#[test]
fn fewer_copies_than_asked_for_are_never_made_silently() {
    let cluster = Cluster::start(3, 0);
    let file = files::random(&cluster.scratch(), "thin", SIZE, 30);
    save(&cluster, "n1", "old", &file, &[]).expect(0);
    cluster.kill("n3");
    cluster.until_state("n1", "n3", "down");

    for (name, head) in [("new", None), ("old", Some(1))] {
        let error = save(&cluster, "n1", name, &file, &["--replicas", "2"]).expect(7).error();
        assert_eq!((&error["code"], &error["outcome"]), (&"durability".into(), &"none".into()), "{error}");
        assert!(error["message"].as_str().unwrap().contains("2 other nodes"), "{error}");
        match head {
            // Nothing was committed, and a name that this save made new is free again.
            None => drop(cluster.cairn("n1", ["show", name]).expect(3)),
            Some(head) => assert_eq!(cluster.show("n1", name)["head"], head),
        }
    }
    // Who asks for a weaker acknowledgement gets it, and is told what is missing.
    let args = ["--replicas", "2", "--ack", "one", "--if-version", "0"];
    let saved = save(&cluster, "n1", "new", &file, &args).expect(0).json();
    assert_eq!(durable(&saved["replicas"]), BTreeSet::from(["n2".to_owned()]));
    let shown = cluster.show("n1", "new");
    assert_eq!((&shown["replicas_wanted"], &shown["under_replicated"]), (&2.into(), &true.into()));
    assert!(!shown["waiting_for"].is_null(), "{shown}");
    let health = cluster.cairn("n1", ["cluster", "health"]).expect(1).json();
    let reasons = health["reasons"].to_string();
    assert!(reasons.contains("n3 is down") && reasons.contains("under-replicated"), "{reasons}");
}
