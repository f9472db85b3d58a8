//! Which nodes get the copies: other zones first, in them the emptiest, never one that cannot or should not.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cairn_client::dial::Client;
use cairn_tests::wait::until;
use cairn_tests::{Cluster, Run, files, prepared};
use rustix::process::Signal;
use serde_json::Value;

/// One cluster at a time is load enough.
static TURN: Mutex<()> = Mutex::new(());

const MIB: u64 = 1 << 20;

fn save(cluster: &Cluster, name: &str, size: u64, replicas: u8) -> Run {
    let file = files::random(
        &cluster.scratch(),
        &name.replace('/', "-"),
        size,
        blake3::hash(name.as_bytes()).as_bytes()[0].into(),
    );
    let mut command = cluster.command("n1", ["save", name, "--replicas", &replicas.to_string()]);
    Run::of(command.arg(file))
}

/// Where the copies on other nodes went.
fn placed(cluster: &Cluster, name: &str, size: u64, replicas: u8) -> BTreeSet<String> {
    let saved = save(cluster, name, size, replicas).expect(0).json();
    let nodes = saved["replicas"].as_array().unwrap().iter().map(|r| r["node"].as_str().unwrap().to_owned());
    let nodes: BTreeSet<_> = nodes.collect();
    assert_eq!(nodes.len(), usize::from(replicas), "{saved}");
    assert!(!nodes.contains("n1"), "the owner's own copy is not one on another node");
    nodes
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn node(cluster: &Cluster, name: &str) -> Value {
    let listed = cluster.cairn("n1", ["node", "ls"]).expect(0).json();
    listed["nodes"].as_array().unwrap().iter().find(|node| node["name"] == name).unwrap().clone()
}

fn drain(cluster: &Cluster, name: &str, draining: bool) {
    let client = Client::new(vec![cluster.node("n1").endpoint], Duration::from_secs(30));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(client.drain(&name.parse().unwrap(), draining)).unwrap();
    cluster.until_state("n1", name, if draining { "draining" } else { "up" });
}

#[test]
fn copies_spread_over_zones_and_avoid_full_draining_and_down_nodes() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let settings = [
        ("n1", "node.zone", "a"),
        ("n2", "node.zone", "a"),
        ("n3", "node.zone", "b"),
        ("s1", "node.zone", "b"),
        ("s2", "node.zone", "c"),
        ("s2", "node.capacity", "4MiB"),
    ];
    let cluster = prepared::start(3, 2, &settings);
    assert_eq!((&node(&cluster, "s2")["zone"], &node(&cluster, "s2")["capacity"]), (&"c".into(), &(4 * MIB).into()));

    // Two copies: one in each of the zones that are not the owner's. In a zone, the emptier node.
    for (count, emptier) in [(0, None), (1, Some(())), (2, None), (3, Some(()))] {
        let before = ["n3", "s1"].map(|name| node(&cluster, name)["bytes"].as_u64().unwrap());
        let nodes = placed(&cluster, &format!("zones/{count}"), MIB, 2);
        assert!(nodes.contains("s2") && !nodes.contains("n2"), "{nodes:?}");
        if emptier.is_some() {
            let emptier = if before[0] < before[1] { "n3" } else { "s1" };
            assert!(nodes.contains(emptier), "{nodes:?}, and before it n3 and s1 had {before:?} bytes");
        }
    }
    let bytes = ["n2", "n3", "s1", "s2"].map(|name| node(&cluster, name)["bytes"].as_u64().unwrap() / MIB);
    assert_eq!(bytes, [0, 2, 2, 4], "balanced");

    // By now s2 is full: its zone is no use any more.
    let nodes = placed(&cluster, "full", MIB, 2);
    assert!(!nodes.contains("s2") && nodes.contains("n2"), "zone b once, then the emptiest of all: {nodes:?}");
    let health = cluster.cairn("n1", ["cluster", "health"]).expect(1).json();
    assert!(health["reasons"].to_string().contains("s2 is full"), "{health}");
    assert_eq!(save(&cluster, "too/many", MIB, 4).expect(7).error()["code"], "durability");

    drain(&cluster, "n3", true);
    assert_eq!(placed(&cluster, "draining", MIB, 2), set(&["n2", "s1"]));
    assert_eq!(save(&cluster, "none/left", MIB, 3).expect(7).error()["code"], "durability");
    drain(&cluster, "n3", false);
    assert_eq!(placed(&cluster, "undrained", MIB, 3), set(&["n2", "n3", "s1"]));

    cluster.kill("s1");
    cluster.until_state("n1", "s1", "down");
    assert_eq!(placed(&cluster, "down", MIB, 2), set(&["n2", "n3"]));
    cluster.cairn("n1", ["show", "too/many"]).expect(3);
}

#[test]
fn a_node_that_comes_back_with_other_settings_is_placed_by_them() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut cluster =
        prepared::start(1, 2, &[("n1", "node.zone", "a"), ("s1", "node.zone", "a"), ("s2", "node.zone", "b")]);
    assert_eq!(placed(&cluster, "before", 1000, 1), set(&["s2"]));
    cluster.kill("s1");
    let config = cluster.dir().join("s1/cairnd.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("node.zone = \"a\"", "node.zone = \"c\"")).unwrap();
    cluster.revive("s1");
    until("the cluster knows the new zone", || (node(&cluster, "s1")["zone"] == "c").then_some(()));
    cluster.until_state("n1", "s1", "up");
    // Both zones are as far away now; s2 has bytes already.
    assert_eq!(placed(&cluster, "after", 1000, 1), set(&["s1"]));
}

/// The only half-made copy among the nodes that are not the owner: one without a table of contents.
fn half_made(cluster: &Cluster) -> Option<(String, PathBuf)> {
    fn find(dir: &Path) -> Option<PathBuf> {
        fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).find_map(|path| {
            match path.is_dir() {
                true => find(&path),
                false => (path.extension().is_some_and(|e| e == "seg") && !path.with_extension("toc").exists())
                    .then_some(path),
            }
        })
    }
    let others = cluster.nodes().into_iter().filter(|node| node.name != "n1");
    others.into_iter().find_map(|node| Some((node.name.clone(), find(&node.dir.join("segments"))?)))
}

/// Stops a target in the middle of a push, for as long as it likes or for good; the save must not need it.
fn loses_a_target(cluster: &mut Cluster, name: &str, for_good: bool) {
    const SIZE: u64 = 256 * MIB;
    let file = files::random(&cluster.scratch(), name, SIZE, 9);
    for attempt in 0..10 {
        let name = format!("{name}/{attempt}");
        let mut command = cluster.command("n1", ["save", &name, "--replicas", "1"]);
        let process =
            command.arg(&file).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (victim, half) = until("a target takes bytes in", || {
            let begun = half_made(cluster)?;
            cluster.signal(&begun.0, Signal::STOP);
            Some(begun)
        });
        if !half.exists() || half.with_extension("toc").exists() {
            // It was faster.
            cluster.signal(&victim, Signal::CONT);
            Run::from(process.wait_with_output().unwrap()).expect(0);
            continue;
        }
        if for_good {
            cluster.kill(&victim);
        }
        let saved = Run::from(process.wait_with_output().unwrap()).expect(0).json();
        let replicas = saved["replicas"].as_array().unwrap();
        assert_eq!(replicas.len(), 1, "{saved}");
        assert_ne!(replicas[0]["node"], victim, "{saved}");
        assert_eq!((&saved["version"], &saved["digest"]), (&1.into(), &files::digest(&file).into()));
        let other = replicas[0]["node"].as_str().unwrap();
        assert!(cluster.copy_on(other, &files::digest(&file)).is_some(), "{other} says so and has no copy");
        // What came back holds nothing of it: a half is discarded, and what was whole already is a stray.
        match for_good {
            true => cluster.revive(&victim),
            false => cluster.signal(&victim, Signal::CONT),
        }
        until("no half is left", || (!half.exists() || half.with_extension("toc").exists()).then_some(()));
        cluster.until_state("n1", &victim, "up");
        let holders = cluster.holders("n1", &name);
        assert!(holders.len() == 2 && holders.iter().all(|(node, _)| *node != victim), "{holders:?}");
        return;
    }
    panic!("no target was ever caught in the middle");
}

#[test]
fn a_target_that_fails_on_the_way_is_replaced_by_another_node() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    // A silent target is given up well before the client gives up, which has the default patience.
    let settings = ["n1", "n2", "n3", "s1"].map(|name| (name, "limits.idle", "10s"));
    let mut cluster = prepared::start(3, 1, &settings);
    loses_a_target(&mut cluster, "killed", true);
    loses_a_target(&mut cluster, "silent", false);
}
