//! Too few nodes: what cannot be done is said in time, with what may have come of it; what can be done is done.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cairn_tests::wait::until;
use cairn_tests::{Cluster, Run, Shared, files, run};
use rustix::process::Signal;
use serde_json::Value;

static CLUSTER: Shared = Shared::new(3, 0);
static TURN: Mutex<()> = Mutex::new(());

fn save(cluster: &Cluster, node: &str, name: &str, file: &Path, more: &[&str]) -> Run {
    let mut command = cluster.command(node, ["save", name]);
    Run::of(command.arg(file).args(more))
}

fn file(cluster: &Cluster, name: &str) -> PathBuf {
    files::random(&cluster.scratch(), name, 2 * files::BLOCK + 3, 1)
}

#[test]
fn a_node_that_nobody_knows_is_not_found() {
    let cluster = CLUSTER.get();
    let file = file(&cluster, "somewhere");
    save(&cluster, "n1", "somewhere", &file, &[]).expect(0);
    let error = cluster.cairn("n1", ["load", "somewhere", "--on", "nowhere"]).expect(3).error();
    assert_eq!(error["code"], "not_found");
    assert!(error["message"].as_str().unwrap().contains("nowhere"), "{error}");
    let loaded = cluster.cairn("n1", ["load", "somewhere", "--on", "n3"]).expect(0).json();
    assert!(loaded["path"].as_str().unwrap().contains("/n3/"), "{loaded}");
}

#[test]
fn more_copies_than_nodes_can_hold_are_refused_and_the_name_is_free_again() {
    let cluster = CLUSTER.get();
    let file = file(&cluster, "many");
    let error = save(&cluster, "n1", "many", &file, &["--replicas", "3"]).expect(7).error();
    assert_eq!((&error["code"], &error["outcome"]), (&"durability".into(), &"none".into()));
    assert!(error["hint"].as_str().unwrap().contains("--replicas"), "{error}");
    cluster.cairn("n2", ["show", "many"]).expect(3);
    // Fewer may be acknowledged, and then so many are wanted still.
    let saved = save(&cluster, "n2", "many", &file, &["--replicas", "3", "--ack", "quorum"]).expect(0).json();
    assert_eq!((&saved["owner"], &saved["version"]), (&"n2".into(), &1.into()));
    let shown = cluster.show("n1", "many");
    assert_eq!((&shown["replicas_wanted"], &shown["under_replicated"]), (&3.into(), &true.into()));
    // Of a name that exists, the version before stays.
    save(&cluster, "n2", "many", &file, &["--replicas", "3"]).expect(7);
    assert_eq!(cluster.show("n1", "many")["head"], 1);
}

#[test]
fn a_target_that_dies_during_the_save_is_not_silently_left_out() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = Cluster::start(3, 0);
    let file = file(&cluster, "two-of-two");
    let victim = if cluster.leader("n1") == "n3" { "n2" } else { "n3" };
    cluster.kill(victim);
    // It is not marked as down yet, so it is chosen, fails, and there is nobody in its place.
    let error = save(&cluster, "n1", "two-of-two", &file, &[]).expect(7).error();
    assert_eq!((&error["code"], &error["outcome"]), (&"durability".into(), &"none".into()));
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("2 are needed, and ") && message.contains(" could take one"), "{error}");
    cluster.cairn("n1", ["show", "two-of-two"]).expect(3);
    cluster.until_state("n1", victim, "down");
    save(&cluster, "n1", "two-of-two", &file, &[]).expect(7);
    let saved = save(&cluster, "n1", "two-of-two", &file, &["--replicas", "1"]).expect(0).json();
    assert_eq!(saved["version"], 1);
}

#[test]
fn without_a_quorum_only_stale_loads_are_served_and_everything_else_ends_in_time() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut cluster = Cluster::start(3, 1);
    let file = file(&cluster, "alone");
    for name in ["alone", "doomed"] {
        save(&cluster, "n1", name, &file, &["--replicas", "3"]).expect(0);
    }
    let scratch = cluster.scratch();
    cluster.kill("n2");
    cluster.kill("n3");

    let path = file.to_str().unwrap();
    let asked: [(&[&str], &[&str]); 9] = [
        (&["save", "alone", path, "--replicas", "1"], &["none", "unknown"]),
        (&["save", "another", path, "--replicas", "1"], &["none", "unknown"]),
        (&["load", "alone"], &["none"]),
        (&["load", "alone", "--claim"], &["none", "unknown"]),
        (&["claim", "alone"], &["none", "unknown"]),
        (&["rm", "doomed", "--yes"], &["none", "unknown"]),
        (&["show", "alone"], &["none"]),
        (&["ls"], &["none"]),
        (&["cluster", "status"], &["none"]),
    ];
    std::thread::scope(|scope| {
        for (args, outcomes) in asked {
            let cluster = &cluster;
            scope.spawn(move || {
                let run = cluster.cairn("n1", args.iter().copied().chain(["--timeout", "2s"]));
                assert_eq!(run.code, 5, "{args:?}: {run:?}");
                assert!(run.stdout.is_empty());
                let error = run.error();
                assert_eq!(error["code"], "unavailable", "{args:?}: {error}");
                assert!(outcomes.contains(&error["outcome"].as_str().unwrap()), "{args:?}: {error}");
                assert!(
                    error["message"].as_str().unwrap().contains("the cluster cannot decide"),
                    "{args:?}: {error}"
                );
                assert!(error["hint"].as_str().unwrap().contains("cluster health"), "{args:?}: {error}");
            });
        }
    });
    // One that is silent is as good as gone, and does not hold the answer up.
    cluster.signal("s1", Signal::STOP);
    let peers = cluster.cairn("n1", ["cluster", "peers", "--timeout", "5s"]).expect(0).json();
    cluster.signal("s1", Signal::CONT);
    let seen = |peer: &Value| (peer["node"].as_str().unwrap().to_owned(), peer["reachable"] == true);
    let seen: Vec<_> = peers["peers"].as_array().unwrap().iter().map(seen).collect();
    let expected = [("n1", true), ("n2", false), ("n3", false), ("s1", false)];
    assert_eq!(seen, expected.map(|(node, reached)| (node.to_owned(), reached)));
    assert!(peers["peers"][1]["rtt_ms"].is_null(), "{peers}");
    let health = cluster.cairn("n1", ["cluster", "health"]).expect(1).json();
    assert!(health["reasons"][0].as_str().unwrap().contains("no leader"), "{health}");

    let out = scratch.join("stale");
    let args = ["load".as_ref(), "alone".as_ref(), "--stale".as_ref(), "--out".as_ref(), out.as_os_str()];
    let loaded = cluster.cairn("n1", args).expect(0).json();
    assert_eq!((&loaded["stale"], &loaded["claimed"], &loaded["version"]), (&true.into(), &false.into(), &1.into()));
    files::same(&file, &out);
    assert_eq!(cluster.spooled("n1"), [""; 0], "nothing is left in the spool");
    cluster.cairn("n1", ["load", "alone", "--stale", "--claim"]).expect(2);
    // Without an output the file in the spool is what was asked for.
    let loaded = cluster.cairn("n1", ["load", "alone", "--stale"]).expect(0).json();
    files::same(&file, Path::new(loaded["path"].as_str().unwrap()));

    // With one more there is a majority, and it goes on.
    cluster.revive("n2");
    let saved = until("saves go on", || {
        let run = save(&cluster, "n1", "alone", &file, &["--replicas", "1"]);
        (run.code == 0).then(|| run.json())
    });
    assert!(saved["version"].as_u64().unwrap() >= 2, "{saved}");
    // What was asked without a quorum, and not known to be done, happened at most once.
    assert!(saved["version"].as_u64().unwrap() <= 3, "{saved}");
}

#[test]
fn a_node_that_cannot_be_reached_is_said_to_be_so() {
    let cluster = CLUSTER.get();
    let nobody = format!("unix:{}", cluster.scratch().join("nobody").display());
    let run = Run::of(&mut run::cairn(&nobody, ["--timeout", "300ms", "ls"])).expect(5);
    let error = run.error();
    assert_eq!((&error["code"], &error["retryable"]), (&"unavailable".into(), &true.into()));
    // Of several endpoints one is enough.
    let both = format!("{nobody},{}", cluster.node("n1").endpoint);
    Run::of(&mut run::cairn(&both, ["ls"])).expect(0);
}
