//! What a release wrote, every later one opens: the folders of nodes in `tests/fixtures`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use cairn_client::tree::{pack, unpack};
use cairn_tests::cluster::gone;
use cairn_tests::wait::until;
use cairn_tests::{Cluster, Run, bins, files, prepared};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// What does not belong to a node's data, or says where it ran.
const LEFT_OUT: [&str; 6] = ["cairnd.toml", "cairnd.log", "cairnd.sock", "revived.log", "lock", "log/ballast"];

/// The versions that are there, with the seeds and sizes of their bytes.
const VERSIONS: [(&str, u64, u64, u64); 6] = [
    // Only two are kept, and what was pinned.
    ("app/state", 1, 11, 3000),
    ("app/state", 4, 14, 3003),
    ("app/state", 5, 15, 1),
    ("app/owned", 1, 21, 700),
    ("app/owned", 2, 22, 701),
    ("app/empty", 1, 0, 0),
];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn fsck(dir: &Path) -> Run {
    Run::of(Command::new(bins::cairnd()).args(["fsck", "-o", "json", "--dir"]).arg(dir))
}

fn end(cluster: &Cluster) {
    let pid = cluster.node("n1").pid;
    cluster.signal("n1", Signal::TERM);
    until("the node has ended", || gone(pid).then_some(()));
}

/// The folder that a tree was made of.
fn tree(dir: &Path) -> PathBuf {
    let tree = dir.join("tree");
    fs::create_dir_all(tree.join("a/b")).unwrap();
    fs::write(tree.join("a/file"), "in a tree").unwrap();
    fs::set_permissions(tree.join("a/file"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::hard_link(tree.join("a/file"), tree.join("a/b/same")).unwrap();
    symlink("../file", tree.join("a/b/link")).unwrap();
    tree
}

/// The fixture of this release, if it is asked for.
#[test]
fn a_release_leaves_its_data() {
    if std::env::var_os("UPDATE_FIXTURE").is_none() {
        return;
    }
    let cluster = prepared::start(1, 0, &[("n1", "raft.snapshot_every", "40")]);
    let say = |words: &[&str]| cluster.cairn("n1", words).expect(0);
    let scratch = cluster.scratch();
    let save = |name: &str, seed: u64, size: u64| {
        let file = files::random(&scratch, "bytes", size, seed);
        say(&["save", name, file.to_str().unwrap(), "--replicas", "0", "--label", "app=fixture"]);
    };
    save("app/state", 11, 3000);
    say(&["pin", "app/state", "--version", "1"]);
    (2..=5).for_each(|version| save("app/state", 10 + version, [3001, 3002, 3003, 1][version as usize - 2]));
    save("app/owned", 21, 700);
    say(&["release", "app/owned", "--epoch", "1"]);
    say(&["claim", "app/owned"]);
    save("app/owned", 22, 701);
    save("app/empty", 0, 0);
    save("app/gone", 31, 10);
    say(&["rm", "app/gone", "--yes"]);
    say(&["save", "app/tree", tree(&scratch).to_str().unwrap(), "--replicas", "0"]);
    let node = cluster.node("n1");
    until("there is a snapshot", || {
        say(&["claim", "app/empty"]);
        node.dir.join("snapshots/state").exists().then_some(())
    });
    // What only the log has.
    say(&["pin", "app/owned", "--version", "1"]);
    end(&cluster);

    LEFT_OUT.iter().for_each(|name| drop(fs::remove_file(node.dir.join(name))));
    even_times(&node.dir);
    let path = fixtures().join(concat!("data-v", env!("CARGO_PKG_VERSION"), ".tar"));
    pack(&node.dir, &File::create(&path).unwrap(), &path, &mut |_| Ok(())).unwrap();
}

/// Whole seconds need no records of their own in the tar.
fn even_times(dir: &Path) {
    for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            even_times(&path);
        } else {
            set_time(&path);
        }
    }
    set_time(dir);
}

fn set_time(path: &Path) {
    File::open(path).unwrap().set_modified(UNIX_EPOCH + Duration::from_secs(1_700_000_000)).unwrap();
}

/// A cluster whose only node has the data of a fixture, which was checked before.
fn opened(fixture: &Path) -> Cluster {
    let dir = TempDir::new().unwrap();
    let node = dir.path().join("n1");
    fs::create_dir(&node).unwrap();
    let folder: OwnedFd = File::open(&node).unwrap().into();
    unpack(&mut File::open(fixture).unwrap(), &folder, &node).unwrap();
    let checked = fsck(&node).expect(0).json();
    assert_eq!(checked["findings"], Value::Array(Vec::new()), "{}", fixture.display());
    prepared::configure(dir.path(), 1, 0, &[("n1", "raft.snapshot_every", "40")]);
    Cluster::start_in(dir, 1, 0)
}

#[test]
fn the_data_of_every_release_is_opened() {
    let all: Vec<_> = fs::read_dir(fixtures()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let data: Vec<_> = all.iter().filter(|path| path.extension().is_some_and(|e| e == "tar")).collect();
    assert!(!data.is_empty());
    for fixture in data {
        let mut cluster = opened(fixture);
        everything_is_there(&cluster);
        // It goes on from there, and what it writes now is as good.
        let file = files::random(&cluster.scratch(), "more", 900, 99);
        let words = ["save".as_ref(), "app/state".as_ref(), file.as_os_str(), "--replicas".as_ref(), "0".as_ref()];
        assert_eq!(cluster.cairn("n1", words).expect(0).json()["version"], 6);
        end(&cluster);
        fsck(&cluster.node("n1").dir).expect(0);
        cluster.revive("n1");
        let loaded = cluster.scratch().join("more.loaded");
        cluster.cairn("n1", ["load".as_ref(), "app/state".as_ref(), "--out".as_ref(), loaded.as_os_str()]).expect(0);
        files::same(&file, &loaded);
    }
}

fn everything_is_there(cluster: &Cluster) {
    let scratch = cluster.scratch();
    let load = |name: &str, version: u64, out: &Path| {
        let version = version.to_string();
        cluster.cairn("n1", ["load", name, "--version", &version, "--out", out.to_str().unwrap()]).expect(0);
    };
    for (name, version, seed, size) in VERSIONS {
        let (wanted, out) = (files::random(&scratch, "wanted", size, seed), scratch.join("loaded"));
        load(name, version, &out);
        files::same(&wanted, &out);
        fs::remove_file(out).unwrap();
    }
    let out = scratch.join("loaded-tree");
    load("app/tree", 1, &out);
    // Names, bytes, modes and links; the time of a link is not told.
    let compared =
        Command::new("diff").arg("-r").arg("--no-dereference").arg(tree(&scratch)).arg(&out).status().unwrap();
    assert!(compared.success());
    assert_eq!(fs::metadata(out.join("a/file")).unwrap().permissions().mode() & 0o7777, 0o640);
    assert_eq!(fs::read_link(out.join("a/b/link")).unwrap(), Path::new("../file"));

    let versions = |name: &str| -> Vec<(u64, bool)> {
        let listed = cluster.cairn("n1", ["history", name]).expect(0).json();
        let one = |of: &Value| (of["version"].as_u64().unwrap(), of["pinned"].as_bool().unwrap());
        let mut all: Vec<_> = listed["versions"].as_array().unwrap().iter().map(one).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(versions("app/state"), [(1, true), (4, false), (5, false)]);
    assert_eq!(versions("app/owned"), [(1, true), (2, false)]);
    let owned = cluster.show("n1", "app/owned");
    assert_eq!((&owned["owner"], &owned["epoch"], &owned["kind"]), (&"n1".into(), &2.into(), &"file".into()));
    assert_eq!(owned["labels"]["app"], "fixture");
    assert_eq!(cluster.show("n1", "app/tree")["kind"], "tree");
    cluster.cairn("n1", ["show", "app/gone"]).expect(3);
    let names: Vec<String> = cluster.cairn("n1", ["ls"]).expect(0).json()["segments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|segment| segment["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["app/empty", "app/owned", "app/state", "app/tree"]);
}
