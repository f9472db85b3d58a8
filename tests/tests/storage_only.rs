//! Nodes that cannot run applications hold and serve copies, and nothing else.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::fs;
use std::time::Duration;

use cairn_client::api::Code;
use cairn_client::dial::Client;
use cairn_client::fault::Fault;
use cairn_client::load::LoadOptions;
use cairn_client::save::{SaveOptions, Source};
use cairn_tests::{Cluster, Run, Shared, files};
use serde_json::Value;

static CLUSTER: Shared = Shared::new(3, 1);

fn refused(run: Run) {
    let run = run.expect(4);
    let error = run.error();
    assert_eq!((&error["code"], &error["retryable"]), (&"conflict".into(), &false.into()), "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("s1") && message.contains("storage-only"), "{message}");
    assert!(error["hint"].as_str().unwrap().contains("executor"), "{error}");
}

/// A segment with copies everywhere, s1 among them.
fn everywhere(cluster: &Cluster, name: &str, seed: u64) -> String {
    let file = files::random(&cluster.scratch(), name, 2_000_000, seed);
    let args = ["save".as_ref(), name.as_ref(), file.as_os_str(), "--replicas".as_ref(), "3".as_ref()];
    let saved = cluster.cairn("n1", args).expect(0).json();
    saved["digest"].as_str().unwrap().to_owned()
}

#[test]
fn it_owns_nothing_it_is_asked_to_save() {
    let cluster = CLUSTER.get();
    let file = files::random(&cluster.scratch(), "unowned", 1000, 1);
    refused(cluster.cairn("s1", ["save".as_ref(), "unowned".as_ref(), file.as_os_str()]));
    cluster.cairn("n1", ["show", "unowned"]).expect(3);
    assert_eq!(cluster.spooled("s1"), [""; 0]);
}

#[test]
fn it_is_no_place_to_load_for_whoever_asks() {
    let cluster = CLUSTER.get();
    everywhere(&cluster, "unloadable", 2);
    let out = cluster.scratch().join("unloadable-out");
    refused(cluster.cairn("s1", ["load", "unloadable"]));
    refused(cluster.cairn("s1", ["load", "unloadable", "--stale"]));
    refused(cluster.cairn("s1", ["load".as_ref(), "unloadable".as_ref(), "--out".as_ref(), out.as_os_str()]));
    refused(cluster.cairn("n1", ["load", "unloadable", "--on", "s1"]));
    refused(cluster.cairn("n2", ["load", "unloadable", "--on", "s1", "--claim"]));
    assert!(!out.exists());
    let shown = cluster.show("n1", "unloadable");
    assert_eq!((&shown["owner"], &shown["epoch"]), (&"n1".into(), &1.into()));
}

#[test]
fn it_takes_no_ownership_over() {
    let cluster = CLUSTER.get();
    everywhere(&cluster, "unclaimable", 3);
    refused(cluster.cairn("s1", ["claim", "unclaimable"]));
    refused(cluster.cairn("s1", ["load", "unclaimable", "--claim"]));
    let shown = cluster.show("n1", "unclaimable");
    assert_eq!((&shown["owner"], &shown["epoch"]), (&"n1".into(), &1.into()));
    let listed = cluster.cairn("n1", ["ls", "--owner", "s1"]).expect(0).json();
    assert_eq!(listed["segments"], Value::Array(vec![]));
}

#[tokio::test]
async fn a_program_gets_the_same_typed_refusals() {
    let cluster = CLUSTER.get();
    let digest = everywhere(&cluster, "typed", 4);
    let client = Client::new(vec![cluster.node("s1").endpoint], Duration::from_secs(30));
    let conflict = |fault: &Fault| matches!(fault, Fault::Request(error) if error.code == Code::Conflict);
    let source = Source::File { path: cluster.scratch().join("typed"), take: false };
    let saved = client.save(SaveOptions::new("typed".parse().unwrap(), source)).await;
    assert!(conflict(&saved.unwrap_err()));
    assert!(conflict(&client.load(LoadOptions::new("typed".parse().unwrap())).await.unwrap_err()));
    // It answers questions as any node does.
    let shown = client.show(&"typed".parse().unwrap()).await.unwrap();
    assert_eq!(shown.summary.digest.unwrap().to_string(), digest);
}

#[test]
fn it_is_a_member_without_a_vote() {
    let cluster = CLUSTER.get();
    let listed = cluster.cairn("s1", ["node", "ls"]).expect(0).json();
    for node in listed["nodes"].as_array().unwrap() {
        let storage = node["name"] == "s1";
        assert_eq!(node["role"], if storage { "storage" } else { "executor" });
        assert_eq!(node["voter"], !storage, "{node}");
    }
}

#[test]
fn it_alone_keeps_a_state_whose_owner_is_gone_and_serves_it() {
    let cluster = Cluster::start(3, 1);
    let client = Client::new(vec![cluster.node("n1").endpoint], Duration::from_secs(30));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for node in ["n2", "n3"] {
        runtime.block_on(client.drain(&node.parse().unwrap(), true)).unwrap();
    }
    let file = files::sqlite(&cluster.scratch(), "state.db", 5_000);
    let args = ["save".as_ref(), "state".as_ref(), file.as_os_str(), "--replicas".as_ref(), "1".as_ref()];
    let saved = cluster.cairn("n1", args).expect(0).json();
    assert_eq!(saved["replicas"], serde_json::json!([{"node": "s1", "state": "durable"}]));
    let digest = files::digest(&file);
    files::same(&cluster.copy_on("s1", &digest).unwrap(), &file);
    // Who is being emptied takes nothing over.
    for node in ["n2", "n3"] {
        runtime.block_on(client.drain(&node.parse().unwrap(), false)).unwrap();
    }
    cluster.kill("n1");

    let loaded = cluster.cairn("n2", ["load", "state", "--claim"]).expect(0).json();
    let size = fs::metadata(&file).unwrap().len();
    assert_eq!(loaded["sources"], serde_json::json!([{"node": "s1", "bytes": size}]));
    assert_eq!((&loaded["owner"], &loaded["epoch"]), (&"n2".into(), &2.into()));
    let path = std::path::Path::new(loaded["path"].as_str().unwrap());
    assert!(path.starts_with(cluster.node("n2").dir));
    assert_eq!(files::sqlite_check(path), ("ok".into(), 5_000));
}
