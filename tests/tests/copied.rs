//! A node's folder is copied while the node goes on, and an older one is put back. Neither may be done; both are noticed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::path::Path;
use std::process::{Command, Stdio};

use cairn_tests::{Cluster, Run, bins, files, prepared};

/// A node with this folder.
fn start(folder: &Path) -> Command {
    let mut command = Command::new(bins::cairnd());
    command.arg("start").arg("--config").arg(folder.join("cairnd.toml")).stdin(Stdio::null());
    command
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

#[test]
fn a_copy_of_a_running_nodes_folder_ends() {
    let mut cluster = Cluster::start(3, 0);
    let (theirs, ours) = (cluster.node("n3"), cluster.scratch().join("copy"));
    cluster.kill("n3");
    copy(&theirs.dir, &ours);
    cluster.revive("n3");
    let mut copied = start(&ours);
    for (what, port) in ["rpc", "data", "http"].into_iter().zip(prepared::free_ports(3)) {
        copied.args(["--set", &format!("listen.{what}=127.0.0.1:{port}")]);
    }
    let ended = Run::of(&mut copied).expect(1);
    let told = format!("another process runs as this node, at {}", theirs.endpoint);
    assert!(ended.stderr.contains(&told), "{}", ended.stderr);
    let nodes = cluster.cairn("n1", ["node", "ls"]).expect(0).json();
    assert!(
        nodes["nodes"].as_array().unwrap().iter().any(|node| node["endpoint"] == theirs.endpoint.as_str()),
        "{nodes}"
    );
}

#[test]
fn an_older_folder_that_is_put_back_is_noticed() {
    let mut cluster = Cluster::start(3, 0);
    let (theirs, older) = (cluster.node("n3").dir, cluster.scratch().join("older"));
    cluster.kill("n3");
    copy(&theirs, &older);
    cluster.revive("n3");
    cluster.until_state("n1", "n3", "up");

    // What n1 and n3 agree on now, n3 will have forgotten; and n2 never hears of it.
    cluster.kill("n2");
    let file = files::random(&cluster.scratch(), "state", 1000, 5);
    for _ in 0..2 {
        Run::of(cluster.command("n1", ["save", "app/state", "--replicas", "1"]).arg(&file)).expect(0);
    }
    cluster.kill("n1");
    cluster.kill("n3");
    std::fs::remove_dir_all(&theirs).unwrap();
    copy(&older, &theirs);
    let mut forgetful = start(&theirs).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    cluster.revive("n2");
    Run::of(cluster.command("n2", ["save", "app/other", "--replicas", "1"]).arg(&file)).expect(0);

    let ended = Run::of(&mut start(&cluster.node("n1").dir)).expect(1);
    forgetful.kill().unwrap();
    forgetful.wait().unwrap();
    // In a debug build openraft finds it first, by an assertion.
    let told =
        ["a voter has lost what it had acknowledged", "raft has ended"].map(|told| ended.stderr.contains(told));
    assert!(told.contains(&true), "{}", ended.stderr);
}
