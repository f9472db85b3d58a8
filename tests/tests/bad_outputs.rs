//! Where a load cannot deliver, and where a save cannot be kept: said clearly, with no partial file left.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use cairn_tests::mounts::Mount;
use cairn_tests::wait::until;
use cairn_tests::{Cluster, Run, Shared, files};

static CLUSTER: Shared = Shared::new(3, 0);

const SIZE: u64 = 3 * files::BLOCK + 1;

fn saved(cluster: &Cluster, name: &str) -> PathBuf {
    let file = files::random(&cluster.scratch(), name, SIZE, 1);
    cluster.cairn("n1", ["save".as_ref(), name.as_ref(), file.as_os_str()]).expect(0);
    file
}

fn saved_on(cluster: &Cluster, node: &str, name: &str, more: &[&str]) {
    let file = files::random(&cluster.scratch(), name, SIZE, 1);
    Run::of(cluster.command(node, ["save", name]).arg(file).args(more)).expect(0);
}

fn load(cluster: &Cluster, name: &str, out: &Path, more: &[&str]) -> Run {
    let mut command = cluster.command("n2", ["load", name]);
    Run::of(command.args(more).arg("--out").arg(out))
}

fn entries(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[test]
fn what_is_at_the_path_stays_unless_it_is_to_be_replaced() {
    let cluster = CLUSTER.get();
    let file = saved(&cluster, "existing");
    let dir = cluster.scratch().join("existing.d");
    fs::create_dir(&dir).unwrap();
    let out = dir.join("out");
    fs::write(&out, "old").unwrap();
    let before = cluster.show("n1", "existing");
    let error = load(&cluster, "existing", &out, &["--claim"]).expect(2).error();
    assert_eq!((&error["code"], &error["outcome"]), (&"invalid".into(), &"none".into()));
    assert!(error["hint"].as_str().unwrap().contains("--force"));
    assert_eq!(fs::read(&out).unwrap(), b"old");
    assert_eq!(cluster.show("n1", "existing")["epoch"], before["epoch"], "nothing was claimed for it");
    load(&cluster, "existing", &out, &["--force"]).expect(0);
    files::same(&file, &out);

    // A link is replaced itself, not what it names; and not at all without being asked.
    let (target, link) = (dir.join("target"), dir.join("link"));
    fs::write(&target, "target").unwrap();
    symlink(&target, &link).unwrap();
    load(&cluster, "existing", &link, &[]).expect(2);
    load(&cluster, "existing", &link, &["--force"]).expect(0);
    assert_eq!(fs::read(&target).unwrap(), b"target");
    files::same(&file, &link);
    assert!(link.symlink_metadata().unwrap().is_file());

    // A folder is no file to be replaced.
    let folder = dir.join("folder");
    fs::create_dir(&folder).unwrap();
    load(&cluster, "existing", &folder, &["--force"]).expect(2);
    assert_eq!(entries(&dir), ["folder", "link", "out", "target"]);
}

#[test]
fn a_folder_that_is_missing_is_said_before_anything_is_asked() {
    let cluster = CLUSTER.get();
    let file = saved(&cluster, "homeless");
    let missing = cluster.scratch().join("missing");
    let error = load(&cluster, "homeless", &missing.join("out"), &["--claim"]).expect(1).error();
    assert_eq!((&error["code"], &error["outcome"]), (&"io".into(), &"none".into()));
    assert!(error["message"].as_str().unwrap().contains("No such file"), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("make the folder"), "{error}");
    assert!(!missing.exists());
    load(&cluster, "homeless", &file.join("out"), &[]).expect(1);
    assert_eq!(cluster.show("n1", "homeless")["epoch"], 1);
}

#[test]
fn an_output_on_a_full_disk_leaves_no_partial_file() {
    let cluster = CLUSTER.get();
    let file = saved(&cluster, "too-large");
    let dir = cluster.scratch().join("small");
    let Some(_disk) = Mount::small(&dir, 2 << 20) else { return };
    fs::write(dir.join("kept"), "kept").unwrap();
    let error = load(&cluster, "too-large", &dir.join("out"), &[]).expect(1).error();
    assert_eq!((&error["code"], &error["outcome"]), (&"io".into(), &"none".into()));
    assert!(error["message"].as_str().unwrap().contains("No space left"), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("make room"), "{error}");
    let error = load(&cluster, "too-large", &dir.join("kept"), &["--force"]).expect(1).error();
    assert_eq!(error["code"], "io");
    assert_eq!(entries(&dir), ["kept"]);
    assert_eq!(fs::read(dir.join("kept")).unwrap(), b"kept", "what was to be replaced is still there");
    // A part of it fits.
    load(&cluster, "too-large", &dir.join("out"), &["--range", "5:1000"]).expect(0);
    assert_eq!(fs::read(dir.join("out")).unwrap(), fs::read(file).unwrap()[5..1005]);
}

#[test]
fn a_leader_whose_disk_fills_up_gives_the_lead_to_one_with_room() {
    const DISK: u64 = 160 << 20;
    const LEFT: u64 = 32 << 20;
    let names = ["n1", "n2", "n3"];
    let dir = tempfile::tempdir().unwrap();
    let disks = names.map(|name| Mount::small(&dir.path().join(name), DISK));
    let Some(disks) = disks.into_iter().collect::<Option<Vec<_>>>() else { return };
    let cluster = Cluster::start_in(dir, 3, 0);
    let leader = cluster.leader("n1");
    let others: Vec<&str> = names.into_iter().filter(|name| *name != leader).collect();

    disks[names.iter().position(|name| *name == leader).unwrap()].fill("of-somebody-else", LEFT);
    // Whoever is asked, and however soon.
    for node in names {
        let health = cluster.cairn(node, ["cluster", "health"]).expect(1).json();
        let told = format!("the disk of node {leader} is below its reserve");
        assert!(health["reasons"].to_string().contains(&told), "{health}");
    }
    let now = until("another one leads", || Some(cluster.leader(others[0])).filter(|now| *now != leader));
    assert!(others.contains(&now.as_str()));
    saved_on(&cluster, others[0], "after", &["--replicas", "1"]);
    // Before the folder that they are mounted in.
    drop(disks);
}

#[test]
fn a_node_on_a_full_disk_refuses_saves_while_the_others_serve_on() {
    const DISK: u64 = 192 << 20;
    const PIECE: u64 = 24 << 20;
    const LEFT: u64 = 40 << 20;
    let dir = tempfile::tempdir().unwrap();
    // The fourth executor does not vote, so it never leads.
    let Some(disk) = Mount::small(&dir.path().join("n4"), DISK) else { return };
    let cluster = Cluster::start_in(dir, 4, 0);
    let piece = files::random(&cluster.scratch(), "piece", PIECE, 1);
    let save = |node: &str, name: &str, more: &[&str]| {
        let mut command = cluster.command(node, ["save", name]);
        Run::of(command.arg(&piece).args(more))
    };
    let mut kept = Vec::new();
    let refused = loop {
        let name = format!("piece-{}", kept.len());
        let run = save("n4", &name, &[]);
        if run.code != 0 {
            break (name, run);
        }
        kept.push(name);
        assert!(kept.len() < 8, "a full disk refuses in the end");
    };
    assert!(kept.len() >= 2, "there was room at first");
    let (name, run) = refused;
    let error = run.expect(5).error();
    assert_eq!(
        (&error["code"], &error["outcome"], &error["retryable"]),
        (&"unavailable".into(), &"none".into(), &false.into())
    );
    assert!(error["message"].as_str().unwrap().contains("no room"), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("free space"), "{error}");
    cluster.cairn("n1", ["show", &name]).expect(3);
    assert_eq!(cluster.spooled("n4"), [""; 0]);

    // Somebody else takes most of what is left: now it is below its reserve, and takes no copies either.
    disk.fill("of-somebody-else", LEFT);
    // It serves what it has, and the others save on: through themselves, and without it.
    let out = cluster.scratch().join("out");
    let args = ["load".as_ref(), kept[0].as_ref(), "--out".as_ref(), out.as_os_str()];
    cluster.cairn("n4", args).expect(0);
    files::same(&piece, &out);
    let others = save("n1", "others", &[]).expect(0).json();
    let replicas = others["replicas"].as_array().unwrap();
    assert!(replicas.len() == 2 && replicas.iter().all(|r| r["node"] != "n4"), "{replicas:?}");
    cluster.cairn("n4", ["load", "others"]).expect(5);

    // What is removed makes room.
    for name in &kept {
        cluster.cairn("n4", ["rm", name, "--yes"]).expect(0);
    }
    let again = until("there is room again", || {
        let run = save("n4", "again", &[]);
        (run.code != 5).then_some(run)
    });
    assert_eq!(again.expect(0).json()["version"], 1);
    // Before the folder that it is mounted in.
    drop(disk);
}
