//! The command line's contract: keys, exit codes, streams, flags.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use cairn_tests::wait::until;
use cairn_tests::{Cluster, Run, Shared, bins, files, run};
use serde_json::Value;

static CLUSTER: Shared = Shared::new(3, 1);
static TURN: Mutex<()> = Mutex::new(());

const SHOW: &str = "name segment kind owner epoch lease head versions holders replicas_wanted under_replicated \
                    waiting_for labels archive revision";

/// Insists on exactly these keys.
#[track_caller]
fn keys(value: &Value, expected: &str) {
    let found: BTreeSet<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(found, expected.split_whitespace().collect(), "{value}");
}

fn first<'a>(value: &'a Value, key: &str) -> &'a Value {
    &value[key].as_array().unwrap()[0]
}

fn file(cluster: &Cluster, name: &str) -> PathBuf {
    files::random(&cluster.scratch(), name, 2 * files::BLOCK + 11, 1)
}

/// Saved through n1, everything else by default.
fn saved(cluster: &Cluster, name: &str) -> Value {
    let file = file(cluster, &name.replace('/', "-"));
    success(cluster.cairn("n1", ["save".as_ref(), name.as_ref(), file.as_os_str()]))
}

/// Data went to stdout, and nothing to stderr.
fn success(run: Run) -> Value {
    let run = run.expect(0);
    assert_eq!(run.stderr, "");
    run.json()
}

/// One object on stderr, and nothing on stdout.
fn failure(run: Run, exit: i32, code: &str) -> Value {
    let run = run.expect(exit);
    assert!(run.stdout.is_empty(), "{run:?}");
    let document: Value = serde_json::from_str(&run.stderr).unwrap_or_else(|e| panic!("{e}: {run:?}"));
    keys(&document, "error");
    let error = document["error"].clone();
    keys(&error, "code message hint retryable outcome");
    assert_eq!(error["code"], code, "{error}");
    assert!(!error["message"].as_str().unwrap().is_empty());
    assert!(error["hint"].is_null() || error["hint"].is_string());
    assert!(error["retryable"].is_boolean() && ["none", "unknown"].contains(&error["outcome"].as_str().unwrap()));
    for word in ["backtrace", "panicked", "Some(", "Error {"] {
        assert!(!document.to_string().contains(word), "{document}");
    }
    error
}

fn digest(value: &Value) {
    let text = value.as_str().unwrap();
    assert!(text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{text}");
}

fn utc(value: &Value) {
    let text = value.as_str().unwrap();
    assert!(
        text.ends_with('Z') && text.as_bytes()[10] == b'T' && text.len() == "2026-01-01T00:00:00.000Z".len(),
        "{text}"
    );
}

/// What `cluster health` says once all is well: saves that ask for less than `all` leave copies under way.
fn healthy(cluster: &Cluster) -> Value {
    let run = until("the cluster is healthy", || {
        let run = cluster.cairn("n1", ["cluster", "health"]);
        (run.code == 0).then_some(run)
    });
    success(run)
}

#[test]
fn save_prints_its_keys() {
    let cluster = CLUSTER.get();
    let saved = saved(&cluster, "keys/save");
    keys(&saved, "name segment kind version epoch size digest owner replicas ack bytes_sent archived elapsed_ms");
    keys(first(&saved, "replicas"), "node state");
    digest(&saved["digest"]);
    assert_eq!((&saved["kind"], &saved["ack"], &saved["owner"]), (&"file".into(), &"all".into(), &"n1".into()));
    assert_eq!(saved["size"], 2 * files::BLOCK + 11);
    assert_eq!(saved["bytes_sent"], 2 * (2 * files::BLOCK + 11));
    assert!(saved["elapsed_ms"].is_u64());
    assert_eq!(saved["digest"], files::digest(&cluster.scratch().join("keys-save")));
    let states: Vec<_> = saved["replicas"].as_array().unwrap().iter().map(|r| r["state"].clone()).collect();
    assert_eq!(states, ["durable", "durable"]);
    for ack in ["quorum", "one", "local"] {
        let name = format!("keys/save-{ack}");
        let mut command = cluster.command("n1", ["save", &name, "--ack", ack]);
        let saved = success(Run::of(command.arg(cluster.scratch().join("keys-save"))));
        assert_eq!(saved["ack"], ack);
    }
}

#[test]
fn load_prints_its_keys() {
    const LOAD: &str = "name kind version epoch size digest owner claimed stale sources path elapsed_ms";
    let cluster = CLUSTER.get();
    saved(&cluster, "keys/load");
    for more in [&[][..], &["--stale"], &["--on", "n3"], &["--version", "1"], &["--claim"]] {
        let loaded = success(cluster.cairn("n2", ["load", "keys/load"].iter().chain(more)));
        keys(&loaded, LOAD);
        keys(first(&loaded, "sources"), "node bytes");
        digest(&loaded["digest"]);
        assert_eq!(loaded["stale"], more == ["--stale"]);
        assert_eq!(loaded["claimed"], more == ["--claim"]);
        let on = if more.contains(&"--on") { "/n3/" } else { "/n2/" };
        assert!(loaded["path"].as_str().unwrap().contains(on), "{loaded}");
    }
    // With the bytes on stdout the JSON goes to stderr.
    let piped = cluster.cairn("n3", ["load", "keys/load", "--out", "-"]).expect(0);
    let told: Value = serde_json::from_str(&piped.stderr).unwrap();
    keys(&told, LOAD);
    assert_eq!(told["digest"], blake3::hash(&piped.stdout).to_hex().as_str());
    let part = cluster.cairn("n3", ["load", "keys/load", "--range", "1048570:20", "--out", "-"]).expect(0);
    assert_eq!(part.stdout, piped.stdout[1_048_570..1_048_590]);
    let out = cluster.scratch().join("linked");
    let args = ["load".as_ref(), "keys/load".as_ref(), "--link".as_ref(), "--out".as_ref(), out.as_os_str()];
    success(cluster.cairn("n2", args));
    assert!(std::fs::metadata(&out).unwrap().permissions().readonly());
    files::same(&out, &cluster.scratch().join("keys-load"));
}

#[test]
fn ls_show_and_history_print_their_keys() {
    let cluster = CLUSTER.get();
    saved(&cluster, "keys/show");
    let mut command = cluster.command("n1", ["save", "keys/show", "--label", "app=bank", "--label", "tier=1"]);
    success(Run::of(command.arg(cluster.scratch().join("keys-show"))));

    let listed = success(cluster.cairn("n2", ["ls", "keys/show"]));
    keys(&listed, "segments");
    let listed = first(&listed, "segments");
    keys(listed, "name kind owner epoch head size digest modified under_replicated");
    utc(&listed["modified"]);
    digest(&listed["digest"]);
    assert_eq!((&listed["head"], &listed["under_replicated"]), (&2.into(), &false.into()));

    for command in ["show", "history"] {
        let shown = success(cluster.cairn("n3", [command, "keys/show"]));
        keys(&shown, SHOW);
        let version = first(&shown, "versions");
        keys(version, "version size digest created pinned holders global");
        keys(first(version, "holders"), "node state");
        keys(first(&shown, "holders"), "node state");
        utc(&version["created"]);
        assert_eq!(version["pinned"], false);
        assert_eq!((&shown["lease"], &shown["waiting_for"]), (&Value::Null, &Value::Null));
        assert_eq!(shown["labels"], serde_json::json!({ "app": "bank", "tier": "1" }));
        assert_eq!(shown["holders"].as_array().unwrap().len(), 3, "the owner's copy is one");
    }
}

#[test]
fn claim_release_and_rm_print_their_keys() {
    let cluster = CLUSTER.get();
    saved(&cluster, "keys/names");
    let claimed = success(cluster.cairn("n2", ["claim", "keys/names"]));
    keys(&claimed, "name owner epoch head lease_ms");
    let released = success(cluster.cairn("n2", ["release", "keys/names", "--epoch", "2"]));
    keys(&released, "name owner epoch");
    assert!(released["owner"].is_null());
    keys(&success(cluster.cairn("n1", ["show", "keys/names"])), SHOW);
    let removed = success(cluster.cairn("n2", ["rm", "keys/names", "--yes"]));
    keys(&removed, "name version removed");
    assert_eq!((&removed["version"], &removed["removed"]), (&Value::Null, &true.into()));
}

#[test]
fn pin_and_unpin_print_their_keys() {
    let cluster = CLUSTER.get();
    saved(&cluster, "keys/pin");
    let pinned =
        |node: &str| first(&success(cluster.cairn(node, ["show", "keys/pin"])), "versions")["pinned"].clone();
    let told = |pin: Value| {
        keys(&pin, "name version pinned");
        (pin["name"].clone(), pin["version"].clone(), pin["pinned"].clone())
    };
    for _ in 0..2 {
        let pin = success(cluster.cairn("n2", ["pin", "keys/pin", "--version", "1"]));
        assert_eq!(told(pin), ("keys/pin".into(), 1.into(), true.into()));
        assert_eq!(pinned("n3"), true);
    }
    let unpin = success(cluster.cairn("s1", ["unpin", "keys/pin", "--version", "1"]));
    assert_eq!(told(unpin), ("keys/pin".into(), 1.into(), false.into()));
    assert_eq!(pinned("n1"), false);
    let unpin = success(cluster.cairn("n1", ["unpin", "keys/pin"]));
    assert_eq!(told(unpin), ("keys/pin".into(), Value::Null, false.into()));
}

#[test]
fn nodes_and_cluster_print_their_keys() {
    let cluster = CLUSTER.get();
    for name in ["n1", "n2", "n3", "s1"] {
        // On a busy machine one may be silent for a moment, or know nobody yet.
        cluster.until_state("n1", name, "up");
        cluster.until_state("s1", name, "up");
    }
    let nodes = success(cluster.cairn("n1", ["node", "ls"]));
    keys(&nodes, "nodes");
    let nodes = nodes["nodes"].as_array().unwrap();
    for node in nodes {
        keys(node, "id name role zone state voter leader endpoint data_endpoint copies bytes capacity last_seen_ms");
        let told = cluster.node(node["name"].as_str().unwrap());
        assert_eq!((&node["endpoint"], &node["data_endpoint"]), (&told.endpoint.into(), &told.data.into()));
        assert_eq!(node["state"], "up");
    }
    let named: Vec<_> = nodes.iter().map(|n| (n["name"].clone(), n["role"].clone())).collect();
    let expected = [("n1", "executor"), ("n2", "executor"), ("n3", "executor"), ("s1", "storage")];
    assert_eq!(named, expected.map(|(name, role)| (name.into(), role.into())));
    assert_eq!(nodes.iter().filter(|n| n["leader"] == true).count(), 1);
    assert_eq!(nodes.iter().filter(|n| n["voter"] == true).count(), 3);

    let shown = success(cluster.cairn("n2", ["node", "show", "s1"]));
    keys(&shown, "id name role zone state voter leader endpoint data_endpoint copies bytes capacity last_seen_ms");
    assert_eq!((&shown["name"], &shown["role"]), (&"s1".into(), &"storage".into()));

    let peers = success(cluster.cairn("s1", ["cluster", "peers"]));
    keys(&peers, "peers");
    let peers = peers["peers"].as_array().unwrap();
    assert_eq!(peers.iter().map(|peer| peer["node"].as_str().unwrap()).collect::<Vec<_>>(), ["n1", "n2", "n3", "s1"]);
    for peer in peers {
        keys(peer, "node endpoint reachable rtt_ms");
        assert_eq!(peer["endpoint"], cluster.node(peer["node"].as_str().unwrap()).endpoint);
        assert!(peer["reachable"] == true && peer["rtt_ms"].is_u64(), "{peer}");
    }

    let status = success(cluster.cairn("s1", ["cluster", "status"]));
    keys(&status, "cluster leader term nodes voters segments bytes under_replicated quorum_margin");
    assert_eq!((&status["nodes"], &status["voters"], &status["quorum_margin"]), (&4.into(), &3.into(), &1.into()));
    assert_eq!(healthy(&cluster), serde_json::json!({ "healthy": true, "reasons": [] }));
}

#[test]
fn what_is_not_there_is_not_found() {
    let cluster = CLUSTER.get();
    saved(&cluster, "codes/found");
    for args in [
        &["load", "codes/absent"][..],
        &["show", "codes/absent"],
        &["history", "codes/absent"],
        &["rm", "codes/absent", "--yes"],
        &["rm", "codes/absent", "--dry-run"],
        &["claim", "codes/absent"],
        &["release", "codes/absent", "--epoch", "1"],
        &["load", "codes/found", "--version", "9"],
        &["rm", "codes/found", "--version", "9", "--yes"],
        &["rm", "codes/found", "--version", "9", "--dry-run"],
        &["load", "codes/found", "--on", "n9"],
        &["ls", "--owner", "n9"],
        &["node", "show", "n9"],
        &["pin", "codes/absent", "--version", "1"],
        &["pin", "codes/found", "--version", "9"],
        &["unpin", "codes/absent"],
        &["unpin", "codes/found", "--version", "9"],
    ] {
        let error = failure(cluster.cairn("n1", args), 3, "not_found");
        assert!(error["hint"].is_string(), "{error}");
    }
}

#[test]
fn what_contradicts_the_state_is_a_conflict() {
    let cluster = CLUSTER.get();
    saved(&cluster, "codes/conflict");
    let path = cluster.scratch().join("codes-conflict");
    let path = path.to_str().unwrap();
    for (node, args) in [
        ("n2", &["save", "codes/conflict", path][..]),
        ("n1", &["save", "codes/conflict", path, "--epoch", "2"]),
        ("n1", &["save", "codes/conflict", path, "--if-version", "0"]),
        ("n1", &["save", "codes/conflict-new", path, "--if-version", "1"]),
        ("n1", &["release", "codes/conflict", "--epoch", "9"]),
        ("n1", &["rm", "codes/conflict", "--version", "1", "--yes"]),
        ("n2", &["rm", "codes/conflict", "--version", "1", "--dry-run"]),
        ("s1", &["save", "codes/conflict-new", path]),
        ("s1", &["load", "codes/conflict"]),
        ("n1", &["load", "codes/conflict", "--on", "s1"]),
        ("s1", &["claim", "codes/conflict"]),
    ] {
        let error = failure(cluster.cairn(node, args), 4, "conflict");
        assert_eq!((&error["outcome"], error["hint"].is_string()), (&"none".into(), true), "{args:?}: {error}");
    }
    failure(cluster.cairn("n1", ["save", "codes/lonely", path, "--replicas", "5"]), 7, "durability");
}

#[test]
fn what_makes_no_sense_is_a_usage_error() {
    let cluster = CLUSTER.get();
    for args in [
        &[][..],
        &["frobnicate"],
        &["save"],
        &["save", "a"],
        &["save", "a", "-", "--move"],
        &["save", "a", ".", "--move"],
        &["save", "a", "b", "--replicas", "-1"],
        &["save", "a", "b", "--replicas", "many"],
        &["save", "a", "b", "--keep", "0"],
        &["save", "a", "b", "--ack", "some"],
        &["save", "a", "b", "--label", "novalue"],
        &["save", "a", "b", "--request-id", ""],
        &["load", "a", "--range", "1:2"],
        &["load", "a", "--range", "2", "--out", "x"],
        &["load", "a", "--range", "18446744073709551615:1", "--out", "x"],
        &["load", "a", "--claim", "--stale"],
        &["load", "a", "--link", "--out", "-"],
        &["load", "a", "--force"],
        &["show", "a", "--verbose"],
        &["release", "a"],
        &["node", "ls", "--state", "asleep"],
        &["node", "show"],
        &["node", "show", "n 1"],
        &["ls", "--timeout", "soon"],
        &["ls", "--endpoint", ""],
        &["watch", "--from", "yesterday"],
        &["pin", "a"],
        &["pin", "a", "--version", "one"],
        // What is not built yet is no command at all.
        &["renew", "a"],
        &["node", "drain", "n1"],
        &["cluster", "recover"],
    ] {
        failure(cluster.cairn("n1", args), 2, "invalid");
    }
}

#[test]
fn the_data_port_is_named_as_such() {
    let cluster = CLUSTER.get();
    let node = cluster.node("n1");
    let error = failure(Run::of(&mut run::cairn(&node.data, ["ls"])), 2, "invalid");
    assert!(error["message"].as_str().unwrap().contains("is the data port of a node"), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("listen.rpc"), "{error}");
    let error = failure(Run::of(&mut run::cairn(&node.data, ["claim", "a"])), 2, "invalid");
    assert_eq!(error["outcome"], "none");
    // Another endpoint may be a better one.
    success(Run::of(&mut run::cairn(&format!("{},{}", node.data, node.endpoint), ["ls"])));
}

#[test]
fn global_flags_stand_before_and_after_the_subcommand() {
    let cluster = CLUSTER.get();
    saved(&cluster, "flags/here");
    let endpoint = cluster.node("n2").endpoint;
    let plain = |args: &[&str]| {
        let mut command = Command::new(bins::cairn());
        command.env_remove("CAIRN_ENDPOINTS").env("NO_COLOR", "1").args(args);
        command
    };
    for args in [
        ["-o", "json", "--endpoint", &endpoint, "--timeout", "20s", "ls", "flags/"],
        ["ls", "flags/", "-o", "json", "--endpoint", &endpoint, "--timeout", "20s"],
        ["--timeout", "20s", "ls", "-o", "json", "flags/", "--endpoint", &endpoint],
    ] {
        let listed = success(Run::of(&mut plain(&args)));
        assert_eq!(first(&listed, "segments")["name"], "flags/here");
    }
    let status = success(Run::of(&mut plain(&["cluster", "--endpoint", &endpoint, "status", "-o", "json"])));
    assert_eq!(status["nodes"], 4);
    let by_variable = Run::of(plain(&["ls", "flags/", "-o", "jsonl"]).env("CAIRN_ENDPOINTS", &endpoint)).expect(0);
    assert_eq!(by_variable.text().lines().count(), 1);
    assert_eq!(by_variable.json()["name"], "flags/here");
    // A table is for people: no JSON, and no colours in a pipe.
    let table = Run::of(&mut plain(&["ls", "flags/", "--endpoint", &endpoint])).expect(0).text();
    assert!(table.starts_with("NAME") && table.contains("flags/here") && !table.contains(['{', '\u{1b}']), "{table}");
    let error = Run::of(&mut plain(&["show", "flags/gone", "--endpoint", &endpoint])).expect(3);
    assert!(error.stdout.is_empty() && error.stderr.starts_with("error: "), "{error:?}");
    assert!(error.stderr.lines().any(|line| line.starts_with("hint: ")), "{error:?}");
}

#[test]
fn nothing_is_removed_without_being_asked_or_in_a_dry_run() {
    let cluster = CLUSTER.get();
    saved(&cluster, "rm/kept");
    saved(&cluster, "rm/kept");
    let error = failure(cluster.cairn("n1", ["rm", "rm/kept"]), 2, "invalid");
    assert!(error["hint"].as_str().unwrap().contains("--yes"), "{error}");
    failure(cluster.cairn("n1", ["rm", "rm/kept", "--version", "1"]), 2, "invalid");
    let dry = success(cluster.cairn("n1", ["rm", "rm/kept", "--dry-run"]));
    assert_eq!((&dry["removed"], &dry["version"]), (&false.into(), &Value::Null));
    let dry = success(cluster.cairn("n1", ["rm", "rm/kept", "--version", "1", "--dry-run", "--yes"]));
    assert_eq!((&dry["removed"], &dry["version"]), (&false.into(), &1.into()));
    // What would be refused is refused in a dry run, in the same words.
    let head = |how| failure(cluster.cairn("n1", ["rm", "rm/kept", "--version", "2", how]), 4, "conflict");
    assert_eq!(head("--dry-run"), head("--yes"));
    let versions = |cluster: &Cluster| {
        let shown = cluster.show("n1", "rm/kept");
        shown["versions"].as_array().unwrap().iter().map(|v| v["version"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(versions(&cluster), [1, 2]);
    let removed = success(cluster.cairn("n1", ["rm", "rm/kept", "--version", "1", "--yes"]));
    assert_eq!((&removed["removed"], &removed["version"]), (&true.into(), &1.into()));
    assert_eq!(versions(&cluster), [2]);
    success(cluster.cairn("n1", ["rm", "rm/kept", "--yes"]));
    failure(cluster.cairn("n1", ["show", "rm/kept"]), 3, "not_found");
}

#[test]
fn ls_takes_a_prefix_and_an_owner() {
    let cluster = CLUSTER.get();
    for name in ["list/a/1", "list/a/2", "list/ab", "list/b"] {
        saved(&cluster, name);
    }
    success(cluster.cairn("n2", ["claim", "list/a/2"]));
    success(cluster.cairn("n1", ["release", "list/b", "--epoch", "1"]));
    let names = |args: &[&str]| {
        let listed = success(cluster.cairn("n3", ["ls"].iter().chain(args)));
        let all = listed["segments"].as_array().unwrap();
        all.iter().map(|s| s["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&["list/"]), ["list/a/1", "list/a/2", "list/ab", "list/b"]);
    assert_eq!(names(&["list/a"]), ["list/a/1", "list/a/2", "list/ab"]);
    assert_eq!(names(&["list/a/"]), ["list/a/1", "list/a/2"]);
    assert_eq!(names(&["list/", "--owner", "n1"]), ["list/a/1", "list/ab"]);
    assert_eq!(names(&["list/", "--owner", "n2"]), ["list/a/2"]);
    assert_eq!(names(&["list/", "--owner", "n3"]), [""; 0]);
    assert_eq!(names(&["nothing/"]), [""; 0]);
    let all = names(&[]);
    assert!(all.is_sorted() && all.contains(&"list/b".to_owned()));
}

#[test]
fn a_node_that_is_down_is_listed_and_makes_the_cluster_unhealthy() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut cluster = Cluster::start(3, 1);
    saved(&cluster, "health/here");
    healthy(&cluster);
    let victim = cluster.holders("n1", "health/here").into_iter().find(|(name, _)| name != "n1").unwrap().0;
    cluster.kill(&victim);
    cluster.until_state("n1", &victim, "down");
    let names = |state: &str| {
        let listed = success(cluster.cairn("n1", ["node", "ls", "--state", state]));
        listed["nodes"].as_array().unwrap().iter().map(|n| n["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("down"), [victim.as_str()]);
    assert_eq!(names("up").len(), 3);
    assert_eq!(names("draining"), [""; 0]);

    let health = cluster.cairn("n1", ["cluster", "health"]).expect(1);
    assert_eq!(health.stderr, "", "it is an answer, not an error");
    let health = health.json();
    keys(&health, "healthy reasons");
    assert_eq!(health["healthy"], false);
    let told = |text: &str| health["reasons"].as_array().unwrap().iter().any(|r| r.as_str().unwrap().contains(text));
    assert!(told(&format!("node {victim} is down")) && told("under-replicated"), "{health}");
    let shown = success(cluster.cairn("n1", ["show", "health/here"]));
    assert_eq!(shown["under_replicated"], true);
    assert!(shown["waiting_for"].as_str().unwrap().contains(&format!("{victim} is down")), "{shown}");
    let status = success(cluster.cairn("n1", ["cluster", "status"]));
    assert_eq!(status["under_replicated"], 1);
    assert_eq!(status["quorum_margin"], if victim == "s1" { 1 } else { 0 });

    cluster.revive(&victim);
    cluster.until_state("n1", &victim, "up");
    healthy(&cluster);
}
