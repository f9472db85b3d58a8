//! Nodes are emptied, removed, and looked at before they are stopped.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::path::PathBuf;
use std::process::{Command, Stdio};

use cairn_tests::cluster::gone;
use cairn_tests::wait::until;
use cairn_tests::{Cluster, Run, bins, files};
use serde_json::{Value, json};

fn save(cluster: &Cluster, at: &str, name: &str, replicas: &str) -> (PathBuf, String) {
    let file = files::random(&cluster.scratch(), &name.replace('/', "-"), 300_000, name.len() as u64);
    Run::of(cluster.command(at, ["save", name, "--replicas", replicas]).arg(&file)).expect(0);
    let digest = files::digest(&file);
    (file, digest)
}

fn nodes(cluster: &Cluster, at: &str) -> Vec<Value> {
    let listed = cluster.cairn(at, ["node", "ls"]).expect(0).json();
    listed["nodes"].as_array().unwrap().clone()
}

fn names(cluster: &Cluster, at: &str) -> Vec<String> {
    nodes(cluster, at).iter().map(|node| node["name"].as_str().unwrap().to_owned()).collect()
}

fn voters(cluster: &Cluster, at: &str) -> usize {
    nodes(cluster, at).iter().filter(|node| node["voter"] == true).count()
}

/// What `cairnd` says of a node's folder.
fn daemon(cluster: &Cluster, node: &str, args: &[&str]) -> Run {
    let config = cluster.dir().join(node).join("cairnd.toml");
    let mut command = Command::new(bins::cairnd());
    command.args(args).arg("--config").arg(config).stdin(Stdio::null());
    Run::of(&mut command)
}

#[test]
fn an_emptied_node_has_nothing_and_is_removed_for_good() {
    let cluster = Cluster::start(3, 2);
    let (file, digest) = save(&cluster, "n2", "app/state", "2");
    save(&cluster, "n2", "app/alone", "0");

    let rehearsed = cluster.cairn("n1", ["node", "drain", "n2", "--dry-run"]).expect(0).json();
    assert_eq!((&rehearsed["draining"], &rehearsed["owned"]), (&json!(false), &json!(2)), "{rehearsed}");
    assert_eq!(rehearsed["blocking"].as_array().unwrap().len(), 4, "two copies and two names: {rehearsed}");
    assert_eq!(cluster.show("n1", "app/state")["owner"], "n2", "a rehearsal changes nothing");

    // Nothing is done without a word, where there is nobody to ask.
    let error = cluster.cairn("n1", ["node", "drain", "n2"]).expect(2).error();
    assert!(error["hint"].as_str().unwrap().contains("--yes"), "{error}");
    let drained = cluster.cairn("n1", ["node", "drain", "n2", "--yes"]).expect(0).json();
    let empty = json!({
        "node": "n2", "draining": true, "drained": true, "copies": 0, "bytes": 0, "owned": 0, "blocking": [],
    });
    assert_eq!(drained, empty);
    for (name, copies) in [("app/state", 3), ("app/alone", 1)] {
        let shown = cluster.show("n1", name);
        assert_eq!((&shown["owner"], &shown["under_replicated"]), (&Value::Null, &json!(false)), "{shown}");
        let holders = cluster.holders("n1", name);
        assert!(holders.len() == copies && holders.iter().all(|(node, _)| node != "n2"), "{holders:?}");
    }
    until("the copies are off its disk", || cluster.copies("n2").is_empty().then_some(()));

    // It takes over nothing, and gets nothing.
    let error = cluster.cairn("n2", ["claim", "app/state"]).expect(4).error();
    assert!(error["message"].as_str().unwrap().contains("being emptied"), "{error}");
    Run::of(cluster.command("n2", ["save", "new"]).arg(&file)).expect(4);
    let error = Run::of(cluster.command("n1", ["save", "new", "--replicas", "4"]).arg(&file)).expect(7).error();
    assert!(error["message"].as_str().unwrap().contains("only 3 can take one (1 being emptied)"), "{error}");
    let claimed = cluster.cairn("n3", ["claim", "app/state"]).expect(0).json();
    assert_eq!((&claimed["owner"], &claimed["epoch"]), (&json!("n3"), &json!(2)));

    // Emptying can end, and begin again.
    let undrained = cluster.cairn("n1", ["node", "undrain", "n2"]).expect(0).json();
    assert_eq!((&undrained["draining"], &undrained["drained"]), (&json!(false), &json!(false)));
    cluster.until_state("n1", "n2", "up");
    cluster.cairn("n1", ["node", "drain", "n2", "--yes", "--detach"]).expect(0);
    cluster.cairn("n1", ["node", "drain", "n2", "--yes"]).expect(0);

    let pid = cluster.node("n2").pid;
    let rehearsed = cluster.cairn("n1", ["node", "remove", "n2", "--dry-run"]).expect(0).json();
    assert_eq!((&rehearsed["removed"], &rehearsed["lost"]), (&json!(false), &json!(0)), "{rehearsed}");
    cluster.cairn("n1", ["node", "remove", "n2"]).expect(2);
    let removed = cluster.cairn("n1", ["node", "remove", "n2", "--yes"]).expect(0).json();
    let all = json!({
        "node": "n2", "removed": true, "copies": 0, "bytes": 0, "owned": 0, "under_replicated": 0, "lost": 0,
        "losses": [], "voters": 3, "refused": null,
    });
    assert_eq!(removed, all);
    assert_eq!(names(&cluster, "n1"), ["n1", "n3", "s1", "s2"]);
    assert_eq!(voters(&cluster, "n1") % 2, 1);
    until("its process has ended by itself", || gone(pid).then_some(()));
    cluster.cairn("n1", ["node", "remove", "n2", "--yes"]).expect(3);

    // Its folder is refused, by whom it was a member of and by itself.
    let started = daemon(&cluster, "n2", &["start"]).expect(4);
    assert!(started.stderr.contains("was removed") && started.stderr.contains("empty folder"), "{}", started.stderr);
    let joined = daemon(&cluster, "n2", &["join", "--seed", &cluster.node("n1").endpoint]).expect(4);
    assert!(joined.stderr.contains("was removed"), "{}", joined.stderr);

    // The machine comes back as another node, under the same name.
    let dir = cluster.node("n2").dir;
    let config = std::fs::read_to_string(dir.join("cairnd.toml")).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("cairnd.toml"), config).unwrap();
    let joined = daemon(&cluster, "n2", &["join", "--seed", &cluster.node("n1").endpoint]).expect(0);
    assert!(joined.text().contains("#6"), "ids are not used again: {}", joined.text());
    assert_eq!(names(&cluster, "n1"), ["n1", "n3", "s1", "s2", "n2"]);
    assert!(cluster.copy_on("n3", &digest).is_some() || cluster.copy_on("n1", &digest).is_some());
}

#[test]
fn the_leader_hands_over_and_is_removed_while_saves_go_on() {
    let cluster = Cluster::start(4, 0);
    // Three vote, and the fourth inherits.
    let leader = cluster.leader("n1");
    let others: Vec<String> =
        ["n1", "n2", "n3", "n4"].map(str::to_owned).into_iter().filter(|node| *node != leader).collect();
    let (file, _) = save(&cluster, &others[0], "goes/on", "1");
    let endpoint = cluster.node(&others[1]).endpoint;
    let mut removal = cairn_tests::run::cairn(&endpoint, ["node", "remove", &leader, "--yes"]);
    let removal = removal.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    for _ in 0..20 {
        Run::of(cluster.command(&others[0], ["save", "goes/on", "--replicas", "1"]).arg(&file)).expect(0);
    }
    Run::from(removal.wait_with_output().unwrap()).expect(0);
    assert_eq!(cluster.show(&others[0], "goes/on")["head"], 21);
    assert!(!names(&cluster, &others[0]).contains(&leader));
    let next = cluster.leader(&others[0]);
    assert_ne!(next, leader);
    assert_eq!(voters(&cluster, &others[0]) % 2, 1);
}

#[test]
fn what_would_be_lost_is_not_removed_unless_it_is_dead_and_forced() {
    let mut cluster = Cluster::start(3, 1);
    save(&cluster, "n3", "only/here", "0");
    save(&cluster, "n3", "everywhere", "2");
    let error = cluster.cairn("n1", ["node", "remove", "n3", "--yes", "--force"]).expect(4).error();
    assert!(error["message"].as_str().unwrap().contains("version 1 of only/here"), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("node drain n3"), "{error}");
    assert_eq!(cluster.show("n1", "only/here")["owner"], "n3", "what is refused changes nothing");

    cluster.kill("n3");
    cluster.until_state("n1", "n3", "down");
    let dry = cluster.cairn("n1", ["node", "remove", "n3", "--dry-run"]).expect(4);
    let loss = json!([{"name": "only/here", "version": 1, "size": 300_000}]);
    assert_eq!((&dry.json()["losses"], &dry.json()["lost"]), (&loss, &json!(1)));
    let error = cluster.cairn("n1", ["node", "remove", "n3", "--yes"]).expect(4).error();
    assert!(error["hint"].as_str().unwrap().contains("--force"), "{error}");
    let removed = cluster.cairn("n1", ["node", "remove", "n3", "--yes", "--force"]).expect(0).json();
    assert_eq!((&removed["removed"], &removed["lost"]), (&json!(true), &json!(1)));
    assert_eq!(names(&cluster, "n1"), ["n1", "n2", "s1"]);
    assert_eq!(cluster.holders("n1", "only/here"), []);
    until("the rest is repaired", || (cluster.show("n1", "everywhere")["under_replicated"] == false).then_some(()));
    // It cannot come back, neither with all the others, which tell it, nor alone, once it has heard of it.
    cluster.crash_all_and_restart(3, 1);
    let mark = cluster.node("n3").dir.join("removed");
    until("it has heard of its removal", || mark.exists().then_some(()));
    cluster.crash_all_and_restart(3, 1);
    assert_eq!(cluster.node("n3").pid, 0, "it was not started again");
    assert_eq!(names(&cluster, "n1"), ["n1", "n2", "s1"]);
    cluster.crash_all();
    let started = daemon(&cluster, "n3", &["start"]).expect(4);
    assert!(started.stderr.contains("was removed") && started.stderr.contains("empty folder"), "{}", started.stderr);
    let fsck =
        Run::of(Command::new(bins::cairnd()).args(["fsck", "-o", "json", "--dir"]).arg(mark.parent().unwrap()));
    assert!(fsck.expect(0).text().contains("the node was removed from its cluster"));
}

#[test]
fn what_cannot_be_done_to_a_node_is_told() {
    let cluster = Cluster::start(3, 0);
    save(&cluster, "n1", "held", "2");
    for args in [["node", "drain", "nope", "--yes"], ["node", "remove", "nope", "--yes"]] {
        let error = cluster.cairn("n1", args).expect(3).error();
        assert_eq!(error["code"], "not_found", "{error}");
    }
    cluster.cairn("n1", ["node", "undrain", "nope"]).expect(3);
    cluster.cairn("n1", ["node", "check", "nope", "--maintenance"]).expect(3);

    // Three copies of three nodes: there is nowhere to go, and it says so for as long as it waits.
    let waited = cluster.cairn("n1", ["--timeout", "3s", "node", "drain", "n3", "--yes"]).expect(5);
    assert!(waited.stderr.contains("waiting: version 1 of held: no other node is up, stays"), "{}", waited.stderr);
    assert!(waited.error()["message"].as_str().unwrap().contains("n3 still has 1 copy"), "{}", waited.stderr);
    cluster.cairn("n1", ["node", "drain", "n2", "--yes", "--detach"]).expect(0);
    let error = cluster.cairn("n1", ["node", "drain", "n1", "--yes", "--detach"]).expect(4).error();
    assert!(error["message"].as_str().unwrap().contains("n1 is the last node"), "{error}");
    for node in ["n2", "n3"] {
        cluster.cairn("n1", ["node", "undrain", node]).expect(0);
    }

    // One of three voters may be stopped; with one down, none.
    let fine = cluster.cairn("n1", ["node", "check", "n2", "--maintenance"]).expect(0).json();
    assert_eq!(fine, json!({"node": "n2", "ok": true, "reasons": []}));
    cluster.kill("n3");
    cluster.until_state("n1", "n3", "down");
    let check = cluster.cairn("n1", ["node", "check", "n2", "--maintenance"]).expect(1).json();
    assert_eq!(check["ok"], false);
    let reason = check["reasons"][0].as_str().unwrap();
    assert!(reason.contains("2 of 3 voters must be up, and without n2 only 1"), "{reason}");
    let error = cluster.cairn("n1", ["node", "remove", "n2", "--yes"]).expect(4).error();
    assert!(error["message"].as_str().unwrap().contains("2 of 3 voters must be up"), "{error}");
    // The dead one may go: the two others decide, and one of them votes on.
    cluster.cairn("n1", ["node", "remove", "n3", "--yes"]).expect(0);
    assert_eq!((names(&cluster, "n1").len(), voters(&cluster, "n1")), (2, 1));
}
