//! The power fails in the whole room: what was acknowledged is there afterwards, with nobody's help.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cairn_tests::wait::until;
use cairn_tests::{Cluster, Run, files, run};
use serde_json::Value;

/// One cluster at a time is load enough.
static TURN: Mutex<()> = Mutex::new(());

/// A version whose save was acknowledged.
struct Acknowledged {
    name: String,
    version: u64,
    digest: String,
}

impl Acknowledged {
    fn of(saved: &Value) -> Self {
        let text = |key: &str| saved[key].as_str().unwrap().to_owned();
        Self { name: text("name"), version: saved["version"].as_u64().unwrap(), digest: text("digest") }
    }

    fn assert_loads(&self, cluster: &Cluster, node: &str) {
        let out = cluster.scratch().join(format!("{}-{}-on-{node}", self.name, self.version));
        let version = self.version.to_string();
        let args = ["load", &self.name, "--version", &version, "--force", "--out"];
        let loaded = Run::of(cluster.command(node, args).arg(&out)).expect(0).json();
        assert_eq!(loaded["digest"], self.digest);
        assert_eq!(files::digest(&out), self.digest, "{} {} on {node}", self.name, self.version);
        fs::remove_file(out).unwrap();
    }
}

fn save(cluster: &Cluster, node: &str, name: &str, file: &Path) -> Acknowledged {
    let mut command = cluster.command(node, ["save", name, "--keep", "50"]);
    Acknowledged::of(&Run::of(command.arg(file)).expect(0).json())
}

#[test]
fn every_acknowledged_version_survives_a_crash_of_all_nodes_again_and_again() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut cluster = Cluster::start(3, 1);
    let mut acknowledged = Vec::new();
    let sizes = [0, 1, files::BLOCK - 1, files::BLOCK, files::BLOCK + 1, 5 * files::BLOCK + 7];
    for (node, size) in ["n1", "n2", "n3", "n1", "n2", "n3"].into_iter().zip(sizes) {
        let file = files::random(&cluster.scratch(), &format!("file-{size}"), size, size);
        acknowledged.push(save(&cluster, node, &format!("size-{size}"), &file));
    }
    for round in 1..=3_u64 {
        cluster.crash_all_and_restart(3, 1);
        for (version, node) in acknowledged.iter().zip(["n1", "n2", "n3"].into_iter().cycle().skip(round as usize)) {
            version.assert_loads(&cluster, node);
        }
        // It goes on as if nothing had been: the owners own, and versions count on.
        let file = files::random(&cluster.scratch(), &format!("round-{round}"), 2 * files::BLOCK, 100 + round);
        let saved = save(&cluster, "n2", "size-1", &file);
        assert_eq!(saved.version, round + 1);
        acknowledged.push(saved);
    }
    let health = until("everybody is up again", || {
        let health = cluster.cairn("n1", ["cluster", "health"]);
        (health.code == 0).then(|| health.json())
    });
    assert_eq!(health["healthy"], true);
}

#[test]
fn a_crash_of_all_nodes_while_saves_are_in_flight_loses_nothing_that_was_acknowledged() {
    const BEFORE_THE_CRASH: usize = 12;
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut cluster = Cluster::start(3, 1);
    let acknowledged: Mutex<Vec<Acknowledged>> = Mutex::default();
    let known = || acknowledged.lock().unwrap().len();
    let scratch = cluster.scratch();
    let endpoints: Vec<(String, String)> =
        ["n1", "n2", "n3"].iter().map(|n| ((*n).to_owned(), cluster.node(n).endpoint)).collect();
    std::thread::scope(|scope| {
        for (node, endpoint) in &endpoints {
            let (acknowledged, scratch) = (&acknowledged, &scratch);
            scope.spawn(move || save_until_it_fails(node, endpoint, scratch, acknowledged));
        }
        until("some saves are acknowledged", || (known() >= BEFORE_THE_CRASH).then_some(()));
        cluster.crash_all_and_restart(3, 1);
    });
    let acknowledged = acknowledged.into_inner().unwrap();
    for (version, node) in acknowledged.iter().zip(["n3", "n1", "n2"].into_iter().cycle()) {
        version.assert_loads(&cluster, node);
    }
    // What was in flight is there whole, or not at all.
    let listed = cluster.cairn("n1", ["ls"]).expect(0).json();
    for segment in listed["segments"].as_array().unwrap().iter().filter(|s| !s["head"].is_null()) {
        let (name, head) = (segment["name"].as_str().unwrap().to_owned(), segment["head"].as_u64().unwrap());
        let digest = segment["digest"].as_str().unwrap().to_owned();
        let newest = acknowledged.iter().filter(|a| a.name == name).map(|a| a.version).max().unwrap_or(0);
        assert!((newest..=newest + 1).contains(&head), "{name}: {newest} was acknowledged, {head} is there");
        Acknowledged { name, version: head, digest }.assert_loads(&cluster, "n2");
    }
    // Saves go on, under the same names too.
    for node in ["n1", "n2", "n3"] {
        let file = files::random(&scratch, &format!("after-{node}"), 1000, 7);
        save(&cluster, node, &format!("flight-{node}"), &file);
    }
}

/// Saves version after version under one name, and tells of each that was acknowledged.
fn save_until_it_fails(node: &str, endpoint: &str, scratch: &Path, acknowledged: &Mutex<Vec<Acknowledged>>) {
    let file: PathBuf = files::random(scratch, &format!("flight-{node}"), 3 * files::BLOCK + 1, 0);
    for round in 1..=50_u64 {
        // Other bytes each time.
        fs::write(scratch.join(format!("flight-{node}-{round}")), round.to_le_bytes()).unwrap();
        let path = scratch.join(format!("flight-{node}-{round}"));
        let mut bytes = fs::read(&file).unwrap();
        bytes[..8].copy_from_slice(&round.to_le_bytes());
        fs::write(&path, bytes).unwrap();
        let name = format!("flight-{node}");
        let mut command = run::cairn(endpoint, ["save", &name, "--keep", "60", "--timeout", "1s"]);
        let saved = Run::of(command.arg(&path));
        fs::remove_file(&path).unwrap();
        if saved.code != 0 {
            return;
        }
        acknowledged.lock().unwrap().push(Acknowledged::of(&saved.json()));
    }
}

#[test]
fn a_save_that_is_asked_again_after_the_crash_gets_its_first_result() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut cluster = Cluster::start(3, 0);
    let file = files::random(&cluster.scratch(), "once", 100_000, 1);
    let ask = |cluster: &Cluster| {
        let mut command = cluster.command("n1", ["save", "once", "--request-id", "the-only-one"]);
        Run::of(command.arg(&file)).expect(0).json()
    };
    let first = ask(&cluster);
    cluster.crash_all_and_restart(3, 0);
    let again = ask(&cluster);
    for key in ["segment", "version", "epoch", "digest", "size", "owner"] {
        assert_eq!(first[key], again[key], "{key}");
    }
    assert_eq!(cluster.show("n2", "once")["head"], 1);
}
