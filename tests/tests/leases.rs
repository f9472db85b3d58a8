//! An ownership with a lease: nobody else takes it over before log time says that it is over.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use cairn_tests::wait::until;
use cairn_tests::{Cluster, Run, files};
use serde_json::{Value, json};

fn save(cluster: &Cluster, at: &str, name: &str, more: &[&str]) -> Run {
    let file: PathBuf = files::random(&cluster.scratch(), "state", 1000, 7);
    Run::of(cluster.command(at, ["save", name]).args(more).arg(&file))
}

#[test]
fn a_lease_keeps_others_off_until_it_is_over_or_released() {
    let cluster = Cluster::start(3, 0);
    save(&cluster, "n1", "app/state", &[]).expect(0);
    let claimed = cluster.cairn("n2", ["claim", "app/state", "--lease", "1h"]).expect(0).json();
    let expected = json!({"name": "app/state", "owner": "n2", "epoch": 2, "head": 1, "lease_ms": 3_600_000});
    assert_eq!(claimed, expected);
    let lease = cluster.show("n3", "app/state")["lease"].clone();
    assert_eq!(lease["owner"], "n2");
    assert!((1..=3_600_000).contains(&lease["remaining_ms"].as_u64().unwrap()), "{lease}");

    // Nobody else takes it over, in no way; and whoever may have lost it does not save without its epoch.
    for args in
        [&["claim", "app/state"][..], &["claim", "app/state", "--lease", "5s"], &["load", "app/state", "--claim"]]
    {
        let error = cluster.cairn("n3", args).expect(4).error();
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("owned by node n2 under a lease for another 59m"), "{args:?}: {message}");
    }
    let error = save(&cluster, "n2", "app/state", &[]).expect(4).error();
    assert!(error["message"].as_str().unwrap().contains("its epoch, 2 now"), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("CAIRN_EPOCH"), "{error}");
    save(&cluster, "n2", "app/state", &["--epoch", "1"]).expect(4);
    assert_eq!(save(&cluster, "n2", "app/state", &["--epoch", "2"]).expect(0).json()["version"], 2);

    let renewed = cluster.cairn("n1", ["renew", "app/state", "--epoch", "2"]).expect(0).json();
    assert_eq!(renewed, json!({"name": "app/state", "epoch": 2, "lease_ms": 3_600_000}));
    cluster.cairn("n1", ["renew", "app/state", "--epoch", "1"]).expect(4);

    // Neither the owner's own claim nor a removal cuts it short.
    assert_eq!(cluster.cairn("n2", ["claim", "app/state"]).expect(0).json()["epoch"], 3);
    cluster.cairn("n3", ["claim", "app/state"]).expect(4);
    cluster.cairn("n3", ["rm", "app/state", "--yes"]).expect(4);

    // A release ends it at once; a claim without a lease has none.
    cluster.cairn("n2", ["release", "app/state", "--epoch", "3"]).expect(0);
    assert_eq!(cluster.show("n1", "app/state")["lease"], Value::Null);
    let error = cluster.cairn("n2", ["renew", "app/state", "--epoch", "3"]).expect(4).error();
    assert!(error["hint"].as_str().unwrap().contains("--lease"), "{error}");
    let loaded = cluster.cairn("n3", ["load", "app/state", "--claim", "--lease", "1s"]).expect(0).json();
    assert_eq!((&loaded["epoch"], &loaded["owner"]), (&json!(4), &json!("n3")));

    // What is over is told, cannot be renewed, and is taken over.
    let revision = cluster.show("n1", "app/state")["revision"].to_string();
    let mut watch = cluster.command("n1", ["watch", "app/", "--from", &revision]);
    let mut watch = watch.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(watch.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut told = lines.map(|line| serde_json::from_str::<Value>(&line).unwrap());
    let lapsed = told.find(|line| line["type"] == "lapsed").unwrap();
    watch.kill().unwrap();
    watch.wait().unwrap();
    assert_eq!((&lapsed["owner"], &lapsed["epoch"], &lapsed["version"]), (&json!("n3"), &json!(4), &json!(2)));
    cluster.cairn("n3", ["renew", "app/state", "--epoch", "4"]).expect(4);
    assert_eq!(cluster.cairn("n1", ["claim", "app/state"]).expect(0).json()["epoch"], 5);
}

#[test]
fn a_lease_outlives_its_node_and_then_ends() {
    let cluster = Cluster::start(3, 0);
    save(&cluster, "n2", "app/state", &[]).expect(0);
    cluster.cairn("n2", ["claim", "app/state", "--lease", "15s"]).expect(0);
    cluster.kill("n2");
    cluster.cairn("n1", ["claim", "app/state"]).expect(4);
    until("it is taken over", || (cluster.cairn("n1", ["claim", "app/state"]).code == 0).then_some(()));
    assert_eq!(cluster.show("n1", "app/state")["epoch"], 3);
}

#[test]
fn what_is_leased_blocks_a_drain_and_is_listed() {
    let cluster = Cluster::start(3, 1);
    save(&cluster, "n2", "app/state", &["--replicas", "1"]).expect(0);
    cluster.cairn("n2", ["claim", "app/state", "--lease", "1h"]).expect(0);
    cluster.cairn("n1", ["node", "drain", "n2", "--yes", "--detach"]).expect(0);
    let blocks = until("only the lease is left", || {
        let told = cluster.cairn("n1", ["node", "drain", "n2", "--dry-run"]).expect(0).json();
        let blocking = told["blocking"].as_array().unwrap().clone();
        (told["copies"] == 0 && blocking.len() == 1).then_some(blocking)
    });
    assert_eq!(
        (&blocks[0]["name"], &blocks[0]["version"], &blocks[0]["stuck"]),
        (&json!("app/state"), &Value::Null, &json!(true))
    );
    assert!(blocks[0]["reason"].as_str().unwrap().contains("under a lease, for another 59m"), "{blocks:?}");
    assert_eq!(cluster.show("n1", "app/state")["owner"], "n2");
    let refused = cluster.cairn("n1", ["node", "remove", "n2", "--yes"]).expect(4).error();
    assert!(refused["message"].as_str().unwrap().contains("has leases that are not over: app/state"), "{refused}");
    // Its holder may go on until it ends.
    cluster.cairn("n2", ["renew", "app/state", "--epoch", "2"]).expect(0);
    cluster.cairn("n2", ["release", "app/state", "--epoch", "2"]).expect(0);
    let drained = cluster.cairn("n1", ["node", "drain", "n2", "--yes"]).expect(0).json();
    assert_eq!((&drained["drained"], &drained["owned"]), (&json!(true), &json!(0)), "{drained}");
}

#[test]
fn leases_that_make_no_sense_are_refused() {
    let cluster = Cluster::start(1, 0);
    save(&cluster, "n1", "app/state", &["--replicas", "0"]).expect(0);
    for lease in ["0s", "999ms", "61m", "1y", "soon"] {
        let error = cluster.cairn("n1", ["claim", "app/state", "--lease", lease]).expect(2).error();
        assert_eq!(error["code"], "invalid", "{lease}: {error}");
    }
    cluster.cairn("n1", ["load", "app/state", "--lease", "5s"]).expect(2);
    cluster.cairn("n1", ["renew", "nobody", "--epoch", "1"]).expect(3);
    cluster.cairn("n1", ["renew", "app/state"]).expect(2);
    cluster.cairn("n1", ["renew", "app/state", "--epoch", "1"]).expect(4);
    assert_eq!(cluster.show("n1", "app/state")["epoch"], 1, "nothing was changed");
}
