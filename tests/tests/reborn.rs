//! Every node is lost, and a new cluster begins with what the global tier has: manifests alone, or a backup of the metadata.
//! And the runbook for it, as it stands in `docs/global.md`.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed expectation is a failed test"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cairn_tests::store::{self, Tiered};
use cairn_tests::wait::until;
use cairn_tests::{Cluster, Run, bins, files, walk};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The first epoch of the second generation; the next claim gets the one after it.
const SECOND: u64 = 1 << 32;

static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is left of a cluster whose nodes are all lost: a tier, and what was saved.
struct Left {
    dir: TempDir,
    /// The lost cluster.
    id: String,
    /// The newest revision of its metadata that clients were told of.
    revision: u64,
    /// What was archived: names, versions, and the bytes.
    archived: Vec<(&'static str, u64, PathBuf)>,
    /// The same of a tree.
    tree: PathBuf,
}

impl Left {
    fn tier(&self) -> PathBuf {
        self.dir.path().join("tier")
    }

    /// A new cluster with this tier, which it reaches.
    fn cluster(&self) -> Cluster {
        let cluster = Tiered::at(&store::url_of(&self.tier())).start();
        store::until_reached(&cluster, "n1", 4);
        cluster
    }
}

fn save(cluster: &Cluster, at: &str, name: &str, what: &Path, more: &[&str]) -> Value {
    Run::of(cluster.command(at, ["save", name]).args(more).arg(what)).expect(0).json()
}

fn cluster_id(cluster: &Cluster) -> String {
    let told = cluster.cairn("n1", ["cluster", "status"]).expect(0).json();
    told["cluster"].as_str().unwrap().to_owned()
}

/// Two names with files, one of them with two versions, and a tree in the tier; a name that is not; and nothing else.
fn lose_a_cluster() -> Left {
    let dir = tempfile::tempdir().unwrap();
    let (tier, kept) = (dir.path().join("tier"), dir.path().join("kept"));
    for folder in [&tier, &kept] {
        fs::create_dir(folder).unwrap();
    }
    let settings = [("global.backup_every", "500ms")];
    let cluster = Tiered { settings: &settings, ..Tiered::at(&store::url_of(&tier)) }.start();
    store::until_reached(&cluster, "n1", 4);

    let file = |name: &str, size: u64, seed: u64| files::random(&kept, name, size, seed);
    let (first, second) = (file("state-1", 300_000, 1), file("state-2", 3 * files::BLOCK + 7, 2));
    let always = ["--archive", "always", "--keep", "3", "--label", "app=pg"];
    save(&cluster, "n1", "app/state", &first, &always);
    cluster.cairn("n1", ["pin", "app/state", "--version", "1"]).expect(0);
    cluster.cairn("n2", ["claim", "app/state"]).expect(0);
    save(&cluster, "n2", "app/state", &second, &always);
    let empty = file("empty", 0, 3);
    save(&cluster, "n3", "app/empty", &empty, &["--ack", "global"]);
    let tree = kept.join("tree");
    fs::create_dir_all(tree.join("below")).unwrap();
    files::random(&tree.join("below"), "leaf", 70_000, 4);
    save(&cluster, "n1", "app/tree", &tree, &[]);
    for (name, version) in [("app/state", 1), ("app/state", 2), ("app/empty", 1), ("app/tree", 1)] {
        store::until_archived(&cluster, "n1", name, version);
    }
    // After all that a backup must know.
    save(&cluster, "n1", "app/alone", &first, &["--archive", "never"]);
    let (id, revision) = (cluster_id(&cluster), cluster.show("n1", "app/alone")["revision"].as_u64().unwrap());
    let backups = tier.join(&id).join("backups");
    until("a backup has it all", || {
        let newest = store::below(&backups).into_iter().next_back()?;
        newest.parse::<u64>().ok().filter(|backup| *backup >= revision)
    });
    let archived = vec![("app/state", 1, first), ("app/state", 2, second), ("app/empty", 1, empty)];
    Left { dir, id, revision, archived, tree }
}

/// Insists that every archived version loads, in an epoch above all of the lost cluster's, with what it said of itself.
fn everything_is_there(cluster: &Cluster, left: &Left) {
    let out = cluster.scratch().join("out");
    for (name, version, expected) in &left.archived {
        let version = version.to_string();
        let mut command = cluster.command("n3", ["load", *name, "--version", &version, "--force", "--out"]);
        let told = Run::of(command.arg(&out)).expect(0).json();
        files::same(&out, expected);
        assert_eq!((&told["epoch"], &told["owner"]), (&json!(SECOND), &Value::Null), "{told}");
    }
    let folder = cluster.scratch().join("tree-out");
    Run::of(cluster.command("n2", ["load", "app/tree", "--force", "--out"]).arg(&folder)).expect(0);
    files::same(&folder.join("below/leaf"), &left.tree.join("below/leaf"));
    let shown = cluster.show("n1", "app/state");
    assert_eq!((&shown["epoch"], &shown["head"], &shown["owner"]), (&json!(SECOND), &json!(2), &Value::Null));
    assert_eq!((&shown["labels"], &shown["archive"]), (&json!({ "app": "pg" }), &json!("always")), "{shown}");
    assert_eq!(cluster.show("n1", "app/tree")["kind"], "tree");
}

/// Ends the recovery, and insists that the new cluster then has all of it as its own.
fn it_goes_on(cluster: &Cluster, left: &Left) {
    let ended = cluster.cairn("n1", ["cluster", "recovery", "--end", "--yes"]).expect(0).json();
    assert_eq!((&ended["recovering"], &ended["phase"]), (&json!(false), &json!("over")), "{ended}");
    until("every version has its copies again", || {
        let told = cluster.cairn("n1", ["cluster", "repairs"]).expect(0).json();
        (told["versions_lacking"] == 0).then_some(())
    });
    let own = format!("{}/objects/", cluster_id(cluster));
    assert!(!own.starts_with(&left.id), "it is another cluster");
    for (name, version, expected) in &left.archived {
        let key = store::until_archived_as(cluster, "n1", name, *version, |key| key.starts_with(&own));
        files::same(&left.tier().join(key), expected);
    }
    store::until_archived_as(cluster, "n1", "app/tree", 1, |key| key.starts_with(&own));
    store::until_healthy(cluster, "n1");

    let claimed = cluster.cairn("n2", ["claim", "app/state"]).expect(0).json();
    assert_eq!((&claimed["epoch"], &claimed["head"]), (&json!(SECOND + 1), &json!(2)), "{claimed}");
    let saved = save(cluster, "n2", "app/state", &left.archived[0].2, &["--ack", "global", "--keep", "3"]);
    assert_eq!((&saved["version"], &saved["epoch"]), (&json!(3), &json!(SECOND + 1)), "{saved}");
    assert_eq!(saved["archived"], true, "{saved}");
}

#[test]
fn a_new_cluster_begins_with_manifests_alone() {
    let _turn = turn();
    let left = lose_a_cluster();
    fs::remove_dir_all(left.tier().join(&left.id).join("backups")).unwrap();
    let cluster = left.cluster();
    let file = cluster.scratch().join("backup");
    let none = Run::of(cluster.command("n1", ["global", "backup"]).arg(&file));
    assert!(none.code != 0 && none.stderr.contains("no whole backup") && !file.exists(), "{none:?}");

    cluster.cairn("n1", ["global", "adopt"]).expect(2);
    let rehearsed = cluster.cairn("n1", ["global", "adopt", "--dry-run"]).expect(0).json();
    assert_eq!((&rehearsed["restored"], &rehearsed["segments"]), (&json!(false), &json!(3)), "{rehearsed}");
    assert_eq!(cluster.cairn("n1", ["ls"]).expect(0).json()["segments"], json!([]), "a rehearsal changes nothing");
    let told = cluster.cairn("n1", ["global", "adopt", "--yes"]).expect(0).json();
    assert_eq!((&told["restored"], &told["segments"]), (&json!(true), &json!(3)), "{told}");
    assert_eq!(told["source"]["cluster"], left.id, "{told}");
    // It may be typed again, and the cluster may be named.
    cluster.cairn("n2", ["global", "adopt", "--yes", "--cluster", &left.id]).expect(0);

    everything_is_there(&cluster, &left);
    let told = cluster.cairn("n1", ["cluster", "recovery"]).expect(0).json();
    assert_eq!((&told["recovering"], &told["versions_missing"]), (&json!(true), &json!(0)), "{told}");
    // What only its nodes had is not known any more.
    cluster.cairn("n1", ["show", "app/alone"]).expect(3);
    it_goes_on(&cluster, &left);
}

#[test]
fn a_new_cluster_begins_with_a_backup_from_the_tier() {
    let _turn = turn();
    let left = lose_a_cluster();
    let cluster = left.cluster();
    let file = cluster.scratch().join("backup");
    let told = Run::of(cluster.command("n2", ["global", "backup"]).arg(&file)).expect(0).json();
    assert_eq!((&told["cluster"], &told["segments"]), (&json!(left.id), &json!(4)), "{told}");
    assert!(told["revision"].as_u64() >= Some(left.revision), "{told}");
    Run::of(cluster.command("n2", ["global", "backup"]).arg(&file)).expect(2);
    Run::of(cluster.command("n2", ["global", "backup", "--force"]).arg(&file)).expect(0);

    let told = Run::of(cluster.command("n1", ["meta", "restore", "--yes"]).arg(&file)).expect(0).json();
    assert_eq!((&told["restored"], &told["segments"]), (&json!(true), &json!(4)), "{told}");
    everything_is_there(&cluster, &left);
    let shown = cluster.show("n1", "app/state");
    assert_eq!(shown["versions"][0]["pinned"], true, "{shown}");
    // It knows what there was and is lost, too.
    let told = cluster.cairn("n1", ["cluster", "recovery"]).expect(0).json();
    assert_eq!((&told["versions_missing"], &told["missing"][0]["name"]), (&json!(1), &json!("app/alone")), "{told}");
    cluster.cairn("n1", ["load", "app/alone", "--timeout", "3s"]).expect(5);
    cluster.cairn("n1", ["rm", "app/alone", "--yes"]).expect(0);
    it_goes_on(&cluster, &left);
}

#[test]
fn the_runbook_brings_everything_back_as_it_stands_there() {
    let _turn = turn();
    let document = include_str!("../../docs/global.md");
    let section = document.split("\n## ").find(|section| section.starts_with("When every node is gone"));
    let runbook = walk::blocks(section.expect("the section"), 6);
    let programs = bins::cairn().parent().unwrap().to_owned();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    // Nodes that were started by hand are ended by hand.
    let tidy = "trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT";
    let told = walk::run(&format!("{tidy}\n{runbook}"), &[("PATH", path)]).expect(0).text();
    let mut rest = told.as_str();
    for expected in [
        "revision",
        "would begin with 2 segments",
        "begins with 2 segments",
        "of every version a good copy was found",
        "the recovery is over",
        "claimed",
    ] {
        let at = rest.find(expected).unwrap_or_else(|| panic!("{expected:?} is missing, or too early: {told}"));
        rest = &rest[at + expected.len()..];
    }
}
