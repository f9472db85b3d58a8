//! Nobody looks, and every version has its copies again: after a node was lost, came back, or found its copy damaged.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use cairn_tests::wait::until;
use cairn_tests::{Cluster, Run, bins, files};
use serde_json::{Value, json};

/// Who has a durable copy of the newest version.
fn durable(cluster: &Cluster, at: &str, name: &str) -> BTreeSet<String> {
    let holders = cluster.holders(at, name).into_iter();
    holders.filter(|(_, state)| state == "durable").map(|(node, _)| node).collect()
}

fn repairs(cluster: &Cluster, at: &str) -> Value {
    cluster.cairn(at, ["cluster", "repairs"]).expect(0).json()
}

fn save(cluster: &Cluster, name: &str, size: u64, seed: u64) -> (PathBuf, String) {
    let file = files::random(&cluster.scratch(), &name.replace('/', "-"), size, seed);
    Run::of(cluster.command("n1", ["save", name]).arg(&file)).expect(0);
    let digest = files::digest(&file);
    (file, digest)
}

#[test]
fn a_lost_nodes_copies_are_made_again_and_one_too_many_goes_when_it_is_back() {
    let mut cluster = Cluster::start(3, 2);
    // Nothing, less than a block, and what goes around the page cache.
    let saved: Vec<(String, String)> = (0..)
        .zip([0, 1000, (9 << 20) + 5, 70_000])
        .map(|(seed, size)| {
            let name = format!("lost/{seed}");
            let (_, digest) = save(&cluster, &name, size, seed);
            (name, digest)
        })
        .collect();
    // Whoever holds the large one; the owner stays, so that it can be asked.
    let lost = durable(&cluster, "n1", "lost/2").into_iter().find(|node| node != "n1").unwrap();
    cluster.kill(&lost);
    let up = |node: &String| *node != lost;
    for (name, digest) in &saved {
        let holders = until("three other nodes hold it", || {
            let holders: BTreeSet<String> = durable(&cluster, "n1", name).into_iter().filter(up).collect();
            (holders.len() == 3).then_some(holders)
        });
        for holder in holders {
            assert!(cluster.copy_on(&holder, digest).is_some(), "{holder} has no copy of {name}");
        }
        assert_eq!(cluster.show("n1", name)["under_replicated"], false, "{name}");
    }
    until("nothing is left to be done", || {
        (repairs(&cluster, "n1") == json!({"repairs": [], "versions_lacking": 0, "bytes_lacking": 0})).then_some(())
    });

    // It comes back with what it had.
    cluster.revive(&lost);
    for (name, digest) in &saved {
        let holders = until("three nodes hold it", || {
            let holders = durable(&cluster, "n1", name);
            (holders.len() == 3 && repairs(&cluster, "n1")["repairs"] == json!([])).then_some(holders)
        });
        assert!(holders.contains("n1"), "the owner's copy stays: {holders:?}");
        for node in ["n1", "n2", "n3", "s1", "s2"].map(str::to_owned) {
            until("what is not needed is gone", || {
                (cluster.copy_on(&node, digest).is_some() == holders.contains(&node)).then_some(())
            });
        }
    }
}

#[test]
fn a_damaged_copy_is_made_again_where_it_lay() {
    let cluster = Cluster::start(3, 1);
    let (file, digest) = save(&cluster, "damaged", 3 << 20, 7);
    let holder = durable(&cluster, "n1", "damaged").into_iter().find(|node| node.starts_with('n') && node != "n1");
    let holder = holder.unwrap_or_else(|| "n1".into());
    let copy = cluster.copy_on(&holder, &digest).unwrap();
    files::flip(&copy, 1 << 20);

    // Whoever reads it finds it, and never gets it.
    let out = cluster.scratch().join("out");
    Run::of(cluster.command(&holder, ["load", "damaged", "--out"]).arg(&out)).expect(0);
    files::same(&file, &out);
    until("all three copies are good again", || {
        let holders = cluster.holders("n1", "damaged");
        (holders.len() == 3 && holders.iter().all(|(_, state)| state == "durable")).then_some(())
    });
    let anew = cluster.copy_on(&holder, &digest);
    assert!(anew.is_some_and(|anew| anew != copy), "{holder} has a good copy, and another one");
    let aside = cluster.node(&holder).dir.join("quarantine");
    until("the bad one is let go", || fs::read_dir(&aside).unwrap().next().is_none().then_some(()));
}

#[test]
fn what_cannot_be_made_again_is_told() {
    let cluster = Cluster::start(3, 0);
    save(&cluster, "stuck", 1000, 9);
    cluster.kill("n3");
    let stuck = json!({
        "name": "stuck", "version": 1, "action": "copy", "state": "stuck", "node": null, "size": 1000, "live": 2,
        "wanted": 3, "why": "no other node is up, stays and has room for it",
    });
    let expected = json!({"repairs": [stuck], "versions_lacking": 1, "bytes_lacking": 1000});
    until("it is known that a copy is lost", || (repairs(&cluster, "n1") == expected).then_some(()));
    let mut command = Command::new(bins::cairn());
    let table =
        Run::of(command.args(["--endpoint", &cluster.node("n2").endpoint, "cluster", "repairs"])).expect(0).text();
    assert!(table.contains("2 of 3") && table.contains("1 version lacks copies"), "{table}");
}
