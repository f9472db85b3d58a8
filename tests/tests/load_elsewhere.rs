//! A copy comes back from a replica node into the local storage of the node where the application resumes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cairn_client::deliver::Output;
use cairn_client::dial::Client;
use cairn_client::fetch::Range;
use cairn_client::load::LoadOptions;
use cairn_tests::{Cluster, Run, Shared, files};
use serde_json::Value;

static CLUSTER: Shared = Shared::new(3, 1);

const SIZE: u64 = (5 << 20) + 123;

fn save(cluster: &Cluster, name: &str, file: &Path, replicas: &str) -> Value {
    let mut command = cluster.command("n1", ["save", name, "--replicas", replicas]);
    Run::of(command.arg(file)).expect(0).json()
}

/// A segment of n1 with one replica; and an executor that has no copy of it.
fn away_from_here(cluster: &Cluster, name: &str, seed: u64) -> (PathBuf, &'static str) {
    let file = files::random(&cluster.scratch(), name, SIZE, seed);
    let saved = save(cluster, name, &file, "1");
    let here = if saved["replicas"][0]["node"] == "n2" { "n3" } else { "n2" };
    assert!(cluster.copy_on(here, &files::digest(&file)).is_none());
    (file, here)
}

/// That a load brought `file` into the local storage of `node`, from others.
fn came_to(cluster: &Cluster, loaded: &Value, node: &str, file: &Path) {
    let holders: Vec<String> =
        cluster.holders("n1", loaded["name"].as_str().unwrap()).into_iter().map(|h| h.0).collect();
    let sources = loaded["sources"].as_array().unwrap();
    assert_eq!(sources.iter().map(|s| s["bytes"].as_u64().unwrap()).sum::<u64>(), SIZE, "{loaded}");
    for source in sources {
        assert!(source["node"] != node && holders.iter().any(|holder| source["node"] == **holder), "{loaded}");
    }
    let path = Path::new(loaded["path"].as_str().unwrap());
    assert!(path.starts_with(&cluster.node(node).dir), "{} is not on {node}", path.display());
    files::same(path, file);
    assert_eq!(loaded["digest"], files::digest(file));
    assert_eq!(
        (&loaded["owner"], &loaded["claimed"], &loaded["stale"]),
        (&"n1".into(), &false.into(), &false.into())
    );
}

#[tokio::test]
async fn the_application_of_another_node_loads_through_its_own_service() {
    let cluster = CLUSTER.get();
    let (file, here) = away_from_here(&cluster, "by-program", 1);
    let socket = format!("unix:{}", cluster.node(here).dir.join("cairnd.sock").display());
    let client = Client::new(vec![socket], Duration::from_secs(30));
    let name: cairn_store::name::Name = "by-program".parse().unwrap();

    let loaded = client.load(LoadOptions::new(name.clone())).await.unwrap();
    assert_eq!((loaded.node.as_str(), loaded.size, loaded.version.0), (here, SIZE, 1));
    assert!(loaded.path.starts_with(&cluster.node(here).dir));
    assert!(loaded.sources.iter().all(|source| source.node.as_ref().is_some_and(|node| node.as_str() != here)));
    files::same(&loaded.path, &file);

    let out = cluster.scratch().join("by-program-out");
    let output = Some(Output::File { path: out.clone(), force: false, link: false });
    let range = Some(Range { offset: (1 << 20) - 3, length: 7 });
    client.load(LoadOptions { output, range, ..LoadOptions::new(name) }).await.unwrap();
    assert_eq!(fs::read(out).unwrap(), fs::read(file).unwrap()[(1 << 20) - 3..][..7]);
}

#[test]
fn a_shell_on_another_node_loads() {
    let cluster = CLUSTER.get();
    let (file, here) = away_from_here(&cluster, "by-shell", 2);
    let run = cluster.cairn(here, ["load", "by-shell"]).expect(0);
    let loaded = run.json();
    came_to(&cluster, &loaded, here, &file);
    let mut keys: Vec<_> = loaded.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let mut expected = [
        "name",
        "kind",
        "version",
        "epoch",
        "size",
        "digest",
        "owner",
        "claimed",
        "stale",
        "sources",
        "path",
        "elapsed_ms",
    ];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    // It lies here now, and is not fetched again.
    let again = cluster.cairn(here, ["load", "by-shell"]).expect(0).json();
    assert_eq!(again["sources"], serde_json::json!([{"node": here, "bytes": SIZE}]));
    assert_eq!(again["path"], loaded["path"]);
}

#[test]
fn a_controller_has_another_node_load() {
    let cluster = CLUSTER.get();
    for (asked, seed) in [("n1", 3), ("s1", 4)] {
        let name = format!("for-another-by-{asked}");
        let (file, there) = away_from_here(&cluster, &name, seed);
        let loaded = cluster.cairn(asked, ["load", &name, "--on", there]).expect(0).json();
        came_to(&cluster, &loaded, there, &file);
    }
    let error = cluster.cairn("n1", ["load", "for-another-by-n1", "--on", "n9"]).expect(3).error();
    assert_eq!(error["code"], "not_found");
}

#[test]
fn a_controller_gets_the_bytes_themselves_from_the_node_that_loaded_them() {
    let cluster = CLUSTER.get();
    let (file, there) = away_from_here(&cluster, "bytes-too", 5);
    let out = cluster.scratch().join("bytes-too-out");
    let mut command = cluster.command("n1", ["load", "bytes-too", "--on", there, "--out"]);
    let loaded = Run::of(command.arg(&out)).expect(0).json();
    came_to(&cluster, &loaded, there, &file);
    files::same(&out, &file);
}

#[test]
fn an_older_version_loads_while_it_is_kept() {
    let cluster = CLUSTER.get();
    let first = files::random(&cluster.scratch(), "versions-1", SIZE, 6);
    let second = files::random(&cluster.scratch(), "versions-2", SIZE, 7);
    save(&cluster, "versions", &first, "1");
    save(&cluster, "versions", &second, "1");
    for (args, version, file) in [
        (vec!["load", "versions", "--version", "1"], 1, &first),
        (vec!["load", "versions", "--version", "2"], 2, &second),
        (vec!["load", "versions"], 2, &second),
    ] {
        let loaded = cluster.cairn("n2", args).expect(0).json();
        assert_eq!((&loaded["version"], &loaded["digest"]), (&version.into(), &files::digest(file).into()));
        files::same(Path::new(loaded["path"].as_str().unwrap()), file);
    }
    assert_eq!(cluster.cairn("n2", ["load", "versions", "--version", "3"]).expect(3).error()["code"], "not_found");
    assert_eq!(cluster.cairn("n2", ["load", "no/such"]).expect(3).error()["code"], "not_found");
}

#[test]
fn a_range_goes_through_a_pipe_and_the_report_beside_it() {
    let cluster = CLUSTER.get();
    let (file, here) = away_from_here(&cluster, "range", 8);
    let bytes = fs::read(&file).unwrap();
    let block = 1 << 20;
    for (offset, length) in
        [(0, 1), (block - 3, 7), (block, block), (2 * block - 1, 2 * block + 2), (SIZE - 5, 5), (SIZE, 0)]
    {
        let range = format!("{offset}:{length}");
        let run = cluster.cairn(here, ["load", "range", "--out", "-", "--range", &range]).expect(0);
        let (from, to) = (usize::try_from(offset).unwrap(), usize::try_from(offset + length).unwrap());
        assert!(run.stdout == bytes[from..to], "{range} gave {} bytes", run.stdout.len());
        let report: Value = serde_json::from_str(&run.stderr).unwrap();
        assert_eq!((&report["size"], &report["name"]), (&SIZE.into(), &"range".into()));
    }
    let all = cluster.cairn(here, ["load", "range", "--out", "-"]).expect(0);
    assert!(all.stdout == bytes, "{} bytes", all.stdout.len());
    let beyond =
        cluster.cairn(here, ["load", "range", "--out", "-", "--range", &format!("{}:2", SIZE - 1)]).expect(2);
    assert!(beyond.stdout.is_empty() && beyond.error()["code"] == "invalid");
}

#[test]
fn what_is_there_already_is_replaced_only_by_force() {
    let cluster = CLUSTER.get();
    let (file, here) = away_from_here(&cluster, "force", 9);
    let folder = cluster.scratch().join("force-out");
    fs::create_dir(&folder).unwrap();
    let out = folder.join("out");
    fs::write(&out, "precious").unwrap();
    let load = |more: &[&str]| {
        let mut command = cluster.command(here, ["load", "force", "--out"]);
        Run::of(command.arg(&out).args(more))
    };
    assert_eq!(load(&[]).expect(2).error()["code"], "invalid");
    assert_eq!(fs::read(&out).unwrap(), b"precious");
    load(&["--force"]).expect(0);
    files::same(&out, &file);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing half-made stays beside it");
}

#[test]
fn a_link_is_the_copy_itself_and_cannot_be_written() {
    let cluster = CLUSTER.get();
    let (file, here) = away_from_here(&cluster, "link", 10);
    // On a node that pulled its copy, and on the owner, whose copy is the file of the spool.
    for node in [here, "n1"] {
        let out = cluster.scratch().join(format!("link-on-{node}"));
        let mut command = cluster.command(node, ["load", "link", "--link", "--out"]);
        let loaded = Run::of(command.arg(&out)).expect(0).json();
        files::same(&out, &file);
        let (link, copy) = (fs::metadata(&out).unwrap(), fs::metadata(loaded["path"].as_str().unwrap()).unwrap());
        assert_eq!((link.dev(), link.ino()), (copy.dev(), copy.ino()));
        assert_eq!(link.mode() & 0o222, 0, "{:o}", link.mode());
    }
}

#[test]
fn without_a_quorum_only_a_stale_load_succeeds_and_says_so() {
    let cluster = Cluster::start(3, 1);
    let client = Client::new(vec![cluster.node("n1").endpoint], Duration::from_secs(30));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(client.drain(&"n2".parse().unwrap(), true)).unwrap();
    runtime.block_on(client.drain(&"n3".parse().unwrap(), true)).unwrap();
    let file = files::random(&cluster.scratch(), "stale", SIZE, 11);
    assert_eq!(save(&cluster, "stale", &file, "1")["replicas"][0]["node"], "s1");
    // What n2 was asked for it has seen.
    cluster.show("n2", "stale");
    cluster.kill("n1");
    cluster.kill("n3");

    let error = cluster.cairn("n2", ["load", "stale", "--timeout", "3s"]).expect(5).error();
    assert_eq!((&error["code"], &error["retryable"]), (&"unavailable".into(), &true.into()));
    cluster.cairn("n2", ["load", "stale", "--stale", "--claim"]).expect(2);
    let loaded = cluster.cairn("n2", ["load", "stale", "--stale"]).expect(0).json();
    assert_eq!((&loaded["stale"], &loaded["claimed"]), (&true.into(), &false.into()));
    assert_eq!(loaded["sources"], serde_json::json!([{"node": "s1", "bytes": SIZE}]));
    let path = Path::new(loaded["path"].as_str().unwrap());
    assert_eq!(path.parent().unwrap(), cluster.node("n2").dir.join("spool"), "the caller's, to remove");
    files::same(path, &file);
    let out = cluster.scratch().join("stale-out");
    let mut command = cluster.command("n2", ["load", "stale", "--stale", "--out"]);
    Run::of(command.arg(&out)).expect(0);
    files::same(&out, &file);
    assert_eq!(cluster.spooled("n2").len(), 1, "a delivered load leaves nothing in the spool");
}
