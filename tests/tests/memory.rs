//! What a node needs in memory does not grow with the size of a segment.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use cairn_tests::run::peak_kib;
use cairn_tests::{Cluster, Run, files};

/// Much more than a node may use. Chosen so that the whole test fits into CI.
const SIZE: u64 = 512 << 20;
const PEAK_KIB_MAX: u64 = 128 << 10;

#[test]
fn every_node_stays_small_while_a_large_segment_is_saved_and_loaded() {
    let cluster = Cluster::start(3, 1);
    let file = files::random(&cluster.scratch(), "large", SIZE, 1);
    let (digest, pids) = (files::digest(&file), cluster.nodes());
    let mut command = cluster.command("n1", ["save", "large", "--move", "--replicas", "1"]);
    let saved = Run::of(command.arg(&file)).expect(0).json();
    assert_eq!(saved["digest"], digest);
    let elsewhere = if saved["replicas"][0]["node"] == "n2" { "n3" } else { "n2" };
    // Into the node's local storage, and out over its data plane as well.
    let loaded = cluster.cairn(elsewhere, ["load", "large"]).expect(0).json();
    assert_eq!((&loaded["digest"], &loaded["size"]), (&digest.into(), &SIZE.into()));
    assert_eq!(loaded["sources"][0]["bytes"], SIZE, "{loaded}");
    for node in pids {
        let peak = peak_kib(node.pid.unsigned_abs());
        assert!(peak < PEAK_KIB_MAX, "{} used {} MiB", node.name, peak >> 10);
        assert!(peak > 1 << 10, "{} runs", node.name);
    }
}
