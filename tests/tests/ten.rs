//! Ten nodes on one machine: two are lost at once, one of which led, and one is removed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use cairn_tests::wait::until;
use cairn_tests::{Cluster, Run, files};
use serde_json::Value;

const EXECUTORS: [&str; 8] = ["n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8"];

fn nodes(cluster: &Cluster, at: &str) -> Vec<Value> {
    cluster.cairn(at, ["node", "ls"]).expect(0).json()["nodes"].as_array().unwrap().clone()
}

/// Waits until five nodes vote, none of them these.
fn until_five_vote(cluster: &Cluster, at: &str, without: &[&str]) {
    until("five nodes vote", || {
        let voters: Vec<Value> = nodes(cluster, at).into_iter().filter(|node| node["voter"] == true).collect();
        let stray = voters.iter().any(|node| without.iter().any(|name| node["name"] == *name));
        (voters.len() == 5 && !stray).then_some(())
    });
}

#[test]
fn ten_nodes_bear_the_loss_of_two_and_the_removal_of_one() {
    let cluster = Cluster::start(8, 2);
    until_five_vote(&cluster, "n1", &[]);
    assert_eq!(nodes(&cluster, "n1").len(), 10);
    let saved: Vec<(String, String)> = (0..)
        .zip(EXECUTORS)
        .map(|(seed, node)| {
            let (name, file) = (format!("job/{node}"), files::random(&cluster.scratch(), node, 300_000, seed));
            Run::of(cluster.command(node, ["save", &name]).arg(&file)).expect(0);
            (name, files::digest(&file))
        })
        .collect();

    let leader = cluster.leader("n1");
    let mut others = EXECUTORS.into_iter().filter(|node| *node != leader);
    let (lost, gone, at) = (others.next().unwrap(), others.next().unwrap(), others.next().unwrap());
    cluster.kill(&leader);
    cluster.kill(lost);
    let dead = [leader.as_str(), lost];
    until_five_vote(&cluster, at, &dead);
    for (name, digest) in &saved {
        let holders = until("three nodes that live hold it", || {
            let mut holders = cluster.holders(at, name);
            holders.retain(|(node, state)| state == "durable" && !dead.contains(&node.as_str()));
            (holders.len() == 3).then_some(holders)
        });
        for (holder, _) in holders {
            assert!(cluster.copy_on(&holder, digest).is_some(), "{holder} has no copy of {name}");
        }
    }

    cluster.cairn(at, ["node", "drain", gone, "--yes"]).expect(0);
    cluster.cairn(at, ["node", "remove", gone, "--yes"]).expect(0);
    assert_eq!(nodes(&cluster, at).len(), 9);
    until_five_vote(&cluster, at, &[&dead[..], &[gone]].concat());
    for (name, digest) in &saved {
        let loaded = cluster.cairn(at, ["load", name, "--claim"]).expect(0).json();
        assert_eq!((&loaded["digest"], &loaded["owner"]), (&digest.as_str().into(), &at.into()), "{loaded}");
    }
    let healthy = until("nothing is amiss but the two that are down", || {
        let health = Run::of(&mut cluster.command(at, ["cluster", "health"])).json();
        (health["reasons"].as_array()?.len() <= 2).then_some(health)
    });
    let reasons = healthy["reasons"].as_array().unwrap();
    assert!(
        reasons.iter().all(|reason| dead.iter().any(|node| reason.as_str().unwrap().contains(node))),
        "{healthy}"
    );
}
