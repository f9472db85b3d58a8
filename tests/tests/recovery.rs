//! A cluster that lost most of its voters goes on as another one; and one begins with a backup. Old folders bring their copies.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cairn_tests::wait::until;
use cairn_tests::{Cluster, Run, bins, files};
use serde_json::{Value, json};

/// The first epoch of the second generation; the next claim gets the one after it.
const SECOND: u64 = 1 << 32;

fn save(cluster: &Cluster, at: &str, name: &str, seed: u64, more: &[&str]) -> PathBuf {
    let file = files::random(&cluster.scratch(), &format!("{}-{seed}", name.replace('/', "-")), 300_000, seed);
    Run::of(cluster.command(at, ["save", name]).args(more).arg(&file)).expect(0);
    file
}

fn config(cluster: &Cluster, node: &str) -> PathBuf {
    cluster.dir().join(node).join("cairnd.toml")
}

/// What `cairnd` says of a node's folder.
fn daemon(cluster: &Cluster, node: &str, args: &[&str]) -> Run {
    let mut command = Command::new(bins::cairnd());
    Run::of(command.args(args).arg("--config").arg(config(cluster, node)).stdin(Stdio::null()))
}

fn join(cluster: &Cluster, node: &str, seed: &str, more: &[&str]) -> Run {
    let seed = cluster.node(seed).endpoint;
    daemon(cluster, node, &[&["join", "--seed", &seed], more].concat())
}

/// The node's folder is empty but for its configuration.
fn wipe(cluster: &Cluster, node: &str) {
    let text = std::fs::read_to_string(config(cluster, node)).unwrap();
    std::fs::remove_dir_all(cluster.dir().join(node)).unwrap();
    std::fs::create_dir(cluster.dir().join(node)).unwrap();
    std::fs::write(config(cluster, node), text).unwrap();
}

fn recovery(cluster: &Cluster, at: &str) -> Value {
    cluster.cairn(at, ["cluster", "recovery"]).expect(0).json()
}

/// What a node brought along, once all of it was looked at.
fn brought(cluster: &Cluster, at: &str, node: &str) -> Value {
    until("all that was brought along was looked at", || {
        let told = recovery(cluster, at);
        let one = told["nodes"].as_array().unwrap().iter().find(|one| one["node"] == node)?.clone();
        (one["waiting"] == 0 && told["phase"] != "loading").then_some(one)
    })
}

fn same_as_loaded(cluster: &Cluster, at: &str, name: &str, more: &[&str], expected: &Path) {
    let out = cluster.scratch().join("loaded");
    Run::of(cluster.command(at, ["load", name, "--force", "--out"]).arg(&out).args(more)).expect(0);
    files::same(&out, expected);
}

fn reasons(cluster: &Cluster, at: &str) -> String {
    let health = cluster.cairn(at, ["cluster", "health"]);
    health.json()["reasons"].to_string()
}

#[test]
fn what_one_node_knows_outlives_the_majority() {
    let mut cluster = Cluster::start(3, 1);
    let state = save(&cluster, "n1", "app/state", 1, &["--replicas", "3"]);
    let newer = save(&cluster, "n1", "app/state", 2, &["--replicas", "3"]);
    save(&cluster, "n1", "app/alone", 3, &["--replicas", "0"]);
    cluster.cairn("n2", ["claim", "app/state"]).expect(0);
    // It answers once it has applied all that came before.
    assert_eq!(cluster.show("n3", "app/state")["epoch"], 2);

    // Not while it runs, whatever is asked for.
    let refused = daemon(&cluster, "n3", &["recover", "--yes"]).expect(4);
    assert!(refused.stderr.contains("another daemon runs"), "{}", refused.stderr);
    cluster.crash_all();
    for lost in ["n1", "n2"] {
        wipe(&cluster, lost);
    }
    daemon(&cluster, "n1", &["recover", "--dry-run"]).expect(1);

    let before: Vec<PathBuf> = walk(&cluster.dir().join("n3"));
    let mut asked = Command::new(bins::cairn());
    asked.args(["-o", "json", "cluster", "recover", "--dry-run", "--config"]).arg(config(&cluster, "n3"));
    let told = Run::of(asked.stdin(Stdio::null())).expect(0).json();
    let known = json!({ "segments": 2, "versions": 3, "versions_here": 2, "versions_elsewhere": 1, "copies_unknown": 0, "recovered": false });
    known.as_object().unwrap().iter().for_each(|(key, value)| assert_eq!(told[key], *value, "{key}: {told}"));
    assert_eq!(before, walk(&cluster.dir().join("n3")), "a rehearsal changes nothing");
    let error = daemon(&cluster, "n3", &["recover"]).expect(2);
    assert!(error.stderr.contains("--yes"), "{}", error.stderr);

    broken_off_is_gone_on_with(&cluster);
    let told = daemon(&cluster, "n3", &["recover", "--yes", "-o", "json"]).expect(0).json();
    assert_eq!((&told["recovered"], &told["node"]), (&json!(true), &json!("n3")));
    let backup = told["backup"].as_str().unwrap().to_owned();
    // Typed again, it says what is next.
    for again in [["recover", "--yes"].as_slice(), &["recover", "--dry-run"]] {
        let refused = daemon(&cluster, "n3", again).expect(4);
        assert!(refused.stderr.contains("already") && refused.stderr.contains(&backup), "{}", refused.stderr);
    }
    let refused = daemon(&cluster, "n3", &["init", "--adopt"]).expect(4);
    assert!(refused.stderr.contains("already"), "{}", refused.stderr);
    cluster.revive("n3");
    assert_eq!(cluster.cairn("n3", ["cluster", "status"]).expect(0).json()["cluster"], told["new_cluster"]);
    // The old folder is of no use until it is known what it belongs to.
    let refused = join(&cluster, "s1", "n3", &["--adopt"]).expect(4);
    assert!(refused.stderr.contains("was not restored from"), "{}", refused.stderr);

    cluster.cairn("n3", ["meta", "restore", &backup]).expect(2);
    let rehearsed = cluster.cairn("n3", ["meta", "restore", &backup, "--dry-run"]).expect(0).json();
    assert_eq!((&rehearsed["restored"], &rehearsed["segments"]), (&json!(false), &json!(2)), "{rehearsed}");
    cluster.cairn("n3", ["meta", "restore", &backup, "--yes"]).expect(0);
    cluster.cairn("n3", ["meta", "restore", &backup, "--yes"]).expect(0);
    let n3 = brought(&cluster, "n3", "n3");
    assert_eq!((&n3["adopted"], &n3["left"]), (&json!(2), &json!(0)), "{n3}");

    // An old node that somebody started is no seed of the new cluster, and is told from it.
    let mut old = Command::new(bins::cairnd());
    old.arg("start").arg("--config").arg(config(&cluster, "s1")).stdin(Stdio::null()).stderr(Stdio::null());
    let mut old = old.spawn().unwrap();
    until("the old node answers", || (cluster.cairn("s1", ["cluster", "health"]).code == 1).then_some(()));
    let refused = join(&cluster, "n1", "s1", &["--seed", &cluster.node("n3").endpoint]).expect(4);
    assert!(refused.stderr.contains("two clusters"), "{}", refused.stderr);
    old.kill().unwrap();
    old.wait().unwrap();

    // A folder of the old cluster joins only if that is meant, and brings its copies.
    let refused = join(&cluster, "s1", "n3", &[]).expect(4);
    assert!(refused.stderr.contains("--adopt"), "{}", refused.stderr);
    let joined = join(&cluster, "s1", "n3", &["--adopt"]).expect(0);
    assert!(joined.text().contains("its copies stay"), "{}", joined.text());
    join(&cluster, "s1", "n3", &["--adopt"]).expect(0);
    cluster.revive("s1");
    let s1 = brought(&cluster, "n3", "s1");
    assert_eq!((&s1["adopted"], &s1["left"]), (&json!(2), &json!(0)), "{s1}");
    let told = recovery(&cluster, "n3");
    assert_eq!((&told["recovering"], &told["versions_missing"]), (&json!(true), &json!(1)), "{told}");
    assert_eq!(told["missing"][0]["name"], "app/alone");
    assert!(reasons(&cluster, "n3").contains("recovers"), "{}", reasons(&cluster, "n3"));

    // Nobody goes meanwhile: what it brought along may not be known yet.
    for command in [["node", "drain", "s1", "--yes"], ["node", "remove", "s1", "--yes"]] {
        let refused = cluster.cairn("n3", command).expect(4).error();
        assert!(refused["message"].as_str().unwrap().contains("recovers"), "{refused}");
    }

    // Nobody owns anything, and whoever takes over is above all that there were.
    let shown = cluster.show("n3", "app/state");
    assert_eq!((&shown["owner"], &shown["epoch"], &shown["head"]), (&Value::Null, &json!(SECOND), &json!(2)));
    let third = files::random(&cluster.scratch(), "third", 1000, 9);
    Run::of(cluster.command("n3", ["save", "app/state"]).arg(&third)).expect(4);
    let claimed = cluster.cairn("n3", ["claim", "app/state"]).expect(0).json();
    assert_eq!(claimed["epoch"], SECOND + 1);
    same_as_loaded(&cluster, "n3", "app/state", &["--version", "1"], &state);
    same_as_loaded(&cluster, "n3", "app/state", &[], &newer);
    let saved = Run::of(cluster.command("n3", ["save", "app/state", "--replicas", "1"]).arg(&third)).expect(0).json();
    assert_eq!((&saved["version"], &saved["epoch"]), (&json!(3), &json!(SECOND + 1)));
    Run::of(cluster.command("n3", ["save", "app/new", "--replicas", "1"]).arg(&third)).expect(0);
    assert_eq!(cluster.show("n3", "app/new")["epoch"], SECOND + 1);

    // The end: a node without a past is repaired to.
    let ended = cluster.cairn("n3", ["cluster", "recovery", "--end", "--yes"]).expect(0).json();
    assert_eq!((&ended["recovering"], &ended["phase"]), (&json!(false), &json!("over")));
    join(&cluster, "n1", "n3", &[]).expect(0);
    cluster.revive("n1");
    until("all that is left has its copies", || {
        let listed = cluster.cairn("n3", ["cluster", "repairs"]).expect(0).json();
        // Of the version that only the lost node had nothing can be made.
        (listed["versions_lacking"].as_u64() <= Some(2)).then_some(())
    });
    let found = cluster.cairn("n3", ["load", "app/alone"]);
    assert_eq!(found.code, 6, "no copy of it is left: {}", found.stderr);
    cluster.cairn("n3", ["rm", "app/alone", "--yes"]).expect(0);
}

#[test]
fn a_cluster_begins_with_a_backup_and_finds_the_old_copies() {
    let mut cluster = Cluster::start(3, 0);
    let state = save(&cluster, "n1", "app/state", 1, &["--label", "app=pg"]);
    let other = save(&cluster, "n2", "app/other", 2, &[]);
    cluster.cairn("n1", ["pin", "app/state", "--version", "1"]).expect(0);

    // Nowhere but where it was named, and over nothing.
    let kept = cluster.scratch().join("metadata");
    let kept_text = kept.to_str().unwrap();
    let told = cluster.cairn("n3", ["meta", "backup", kept_text]).expect(0).json();
    let keys = ["path", "cluster", "revision", "taken", "segments", "versions", "bytes", "nodes", "ancestors"];
    assert_eq!(told.as_object().unwrap().keys().collect::<Vec<_>>().len(), keys.len(), "{told}");
    assert!(keys.iter().all(|key| told.get(key).is_some()), "{told}");
    assert_eq!((&told["segments"], &told["versions"], &told["bytes"]), (&json!(2), &json!(2), &json!(600_000)));
    cluster.cairn("n3", ["meta", "backup", kept_text]).expect(2);
    cluster.cairn("n3", ["meta", "backup", "--force", kept_text]).expect(0);
    let inspected = cluster.cairn("n3", ["meta", "inspect", kept_text]).expect(0).json();
    assert_eq!(inspected["cluster"], told["cluster"]);
    damaged_backups_are_refused(&cluster, &kept);
    let refused = cluster.cairn("n1", ["meta", "restore", "--yes", kept_text]).expect(4).error();
    assert!(refused["message"].as_str().unwrap().contains("segments of its own"), "{refused}");
    cluster.cairn("n1", ["cluster", "recovery", "--end", "--yes"]).expect(4);
    assert_eq!(recovery(&cluster, "n1")["phase"], Value::Null);

    // After the backup: it knows nothing of these.
    let late = save(&cluster, "n1", "app/state", 3, &[]);
    let late_digest = files::digest(&late);
    cluster.cairn("n2", ["rm", "app/other", "--yes"]).expect(0);
    let again = save(&cluster, "n2", "app/other", 4, &[]);
    until("what was removed is gone", || {
        ["n1", "n2", "n3"].iter().all(|node| cluster.copies(node).len() == 3).then_some(())
    });
    let harmed = cluster.copy_on("n2", &files::digest(&state)).unwrap();
    // Its table is damaged: nobody can tell any more what it is, and its bytes are good.
    let nameless = cluster.copy_on("n2", &late_digest).unwrap();
    cluster.crash_all();
    files::flip(&harmed, 100);
    files::flip(&nameless.with_extension("toc"), 40);

    daemon(&cluster, "n1", &["init"]).expect(4);
    daemon(&cluster, "n1", &["init", "--adopt"]).expect(0);
    cluster.revive("n1");
    cluster.cairn("n1", ["meta", "restore", "--yes", kept_text]).expect(0);
    for node in ["n2", "n3"] {
        join(&cluster, node, "n1", &["--adopt"]).expect(0);
    }
    cluster.revive("n2");
    dies_and_goes_on(&cluster, "n3", "adopt.verified");
    dies_and_goes_on(&cluster, "n3", "adopt.published");
    cluster.revive("n3");

    // Of each node one copy is one that the backup knows, and it is good on two of them.
    for (node, adopted, left) in [("n1", 1, 2), ("n2", 0, 2), ("n3", 1, 2)] {
        let told = brought(&cluster, "n1", node);
        assert_eq!((&told["adopted"], &told["left"]), (&json!(adopted), &json!(left)), "{node}: {told}");
        let why = told["leftovers"].to_string();
        assert_eq!(why.contains("damaged"), node == "n2", "{why}");
        assert!(why.contains("no such version"), "{why}");
    }
    let told = recovery(&cluster, "n1");
    assert_eq!((&told["versions_missing"], &told["missing"][0]["name"]), (&json!(1), &json!("app/other")), "{told}");
    let shown = cluster.show("n1", "app/state");
    assert_eq!(
        (&shown["labels"], &shown["versions"][0]["pinned"]),
        (&json!({ "app": "pg" }), &json!(true)),
        "{shown}"
    );
    same_as_loaded(&cluster, "n2", "app/state", &[], &state);
    assert_ne!(files::digest(&other), files::digest(&again));

    // What the backup does not know is never deleted: it lies there as a file, and is listed.
    cluster.cairn("n1", ["cluster", "recovery", "--end", "--yes"]).expect(0);
    until("the version has its copies again", || {
        (cluster.show("n1", "app/state")["under_replicated"] == false).then_some(())
    });
    for node in ["n1", "n2", "n3"] {
        let aside = cluster.node(node).dir.join("quarantine").join(nameless.file_name().unwrap());
        let kept = if node == "n2" {
            files::digest(&aside) == late_digest
        } else {
            cluster.copy_on(node, &late_digest).is_some()
        };
        assert!(kept, "{node} deleted what it does not know");
        assert!(cluster.copy_on(node, &files::digest(&again)).is_some(), "{node} deleted what it does not know");
    }
    let listed = brought(&cluster, "n1", "n1")["leftovers"].clone();
    let path = listed.as_array().unwrap().iter().find(|one| one["version"] == 2).unwrap()["path"].clone();
    files::same(Path::new(path.as_str().unwrap()), &late);
}

/// Cut off, with a bit that flipped, of a newer program, another file, none.
fn damaged_backups_are_refused(cluster: &Cluster, good: &Path) {
    let bytes = std::fs::read(good).unwrap();
    let bad = cluster.scratch().join("bad");
    let mut newer = bytes.clone();
    newer[4] = 9;
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let cases: [(&[u8], i32, &str); 5] = [
        (&bytes[..bytes.len() - 3], 6, "damaged"),
        (&flipped, 6, "damaged"),
        (&newer, 2, "newer"),
        (b"not a backup at all, whatever its name says", 6, "no backup"),
        (b"", 6, "no backup"),
    ];
    for (bytes, code, why) in cases {
        std::fs::write(&bad, bytes).unwrap();
        for command in [["inspect"].as_slice(), &["restore", "--yes"]] {
            let told = Run::of(cluster.command("n1", ["meta"]).args(command).arg(&bad)).expect(code).error();
            assert!(told["message"].as_str().unwrap().contains(why), "{why}: {told}");
        }
    }
    Run::of(cluster.command("n1", ["meta", "inspect", "/nonexistent"]).stdin(Stdio::null())).expect(1);
}

/// Ends at a point of taking a copy over, as a power cut of the process would.
fn dies_and_goes_on(cluster: &Cluster, node: &str, point: &str) {
    let mut command = Command::new(bins::cairnd());
    command.arg("start").arg("--config").arg(config(cluster, node)).env("CAIRN_CRASH_POINT", format!("{point}:1"));
    let ended = command.stdin(Stdio::null()).output().unwrap();
    let told = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.signal(), Some(6), "{point}: {told}");
    assert!(told.contains(point), "{told}");
}

/// On copies of n3's folder, as a power cut in the middle of a recovery leaves it: the same command goes on, or says how to.
fn broken_off_is_gone_on_with(cluster: &Cluster) {
    let (n3, other) = (cluster.dir().join("n3"), cluster.dir().join("half"));
    let copied = || {
        let copied = Command::new("cp").args(["-a", "--reflink=auto"]).arg(&n3).arg(&other).status().unwrap();
        assert!(copied.success());
    };
    copied();
    let told = daemon(cluster, "half", &["recover", "--yes", "-o", "json"]).expect(0).json();
    let backup = PathBuf::from(told["backup"].as_str().unwrap());
    let place = backup.parent().unwrap().to_owned();
    // Log and snapshot were laid aside, the identity was not: it is the last to go.
    std::fs::rename(place.join("node.toml"), other.join("node.toml")).unwrap();
    let refused = daemon(cluster, "half", &["start"]).expect(1);
    assert!(refused.stderr.contains("the log was lost"), "{}", refused.stderr);
    let again = daemon(cluster, "half", &["recover", "--yes", "-o", "json"]).expect(0).json();
    assert_eq!((&again["revision"], &again["segments"]), (&told["revision"], &told["segments"]));
    assert_ne!(again["new_cluster"], told["new_cluster"]);
    // The identity was laid aside, and no new one was made.
    std::fs::remove_file(other.join("node.toml")).unwrap();
    let told = daemon(cluster, "half", &["recover", "--yes"]).expect(4);
    assert!(told.stderr.contains("cairnd init") && told.stderr.contains(backup.to_str().unwrap()), "{}", told.stderr);
    daemon(cluster, "half", &["init"]).expect(0);
    std::fs::remove_dir_all(&other).unwrap();
}

/// Every file of a folder, but for the lock.
fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}
