//! `cairnd fsck`: the folder of a node that does not run, checked without a change.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use cairn_tests::cluster::gone;
use cairn_tests::files::flip;
use cairn_tests::mounts::Mount;
use cairn_tests::wait::until;
use cairn_tests::{Run, bins, files, prepared};
use rustix::process::Signal;
use serde_json::Value;

/// Two blocks and a bit.
const SIZE: u64 = 2 * files::BLOCK + 5;

fn fsck(dir: &Path, format: &str) -> Run {
    Run::of(Command::new(bins::cairnd()).args(["fsck", "-o", format, "--dir"]).arg(dir))
}

/// What a check finds, with every key of it.
#[track_caller]
fn findings(dir: &Path, code: i32) -> Vec<Value> {
    let before = listing(dir);
    let run = fsck(dir, "json").expect(code);
    assert_eq!(listing(dir), before, "a check changes nothing");
    let document = run.json();
    for key in ["dir", "node", "cluster", "copies", "bytes", "findings", "left_out"] {
        assert!(document.get(key).is_some(), "{key} is missing: {document}");
    }
    let findings = document["findings"].as_array().unwrap().clone();
    for finding in &findings {
        for key in ["what", "path", "problem", "bad", "node_will"] {
            assert!(finding.get(key).is_some(), "{key} is missing: {finding}");
        }
    }
    assert_eq!(findings.iter().any(|finding| finding["bad"] == true), code == 6, "{findings:?}");
    findings
}

/// The one finding about `what`.
#[track_caller]
fn only<'a>(findings: &'a [Value], what: &str) -> &'a Value {
    let found: Vec<_> = findings.iter().filter(|finding| finding["what"] == what).collect();
    assert_eq!(found.len(), 1, "{findings:?}");
    found[0]
}

fn says(finding: &Value, key: &str, part: &str) {
    assert!(finding[key].as_str().unwrap().contains(part), "{part:?} in {finding}");
}

/// Every file under a folder: its size, and when it was changed.
fn listing(dir: &Path) -> BTreeMap<PathBuf, (u64, Option<std::time::SystemTime>)> {
    fn walk(dir: &Path, found: &mut BTreeMap<PathBuf, (u64, Option<std::time::SystemTime>)>) {
        for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            let about = fs::symlink_metadata(&path).unwrap();
            if about.is_dir() {
                walk(&path, found);
            }
            found.insert(path, (about.len(), about.modified().ok()));
        }
    }
    let mut found = BTreeMap::new();
    if dir.is_dir() {
        walk(dir, &mut found);
    }
    found
}

/// The folders of nodes that were stopped, to be damaged in copies.
struct Stopped {
    dir: PathBuf,
    scratch: PathBuf,
}

impl Stopped {
    /// A copy of the folder, damaged.
    fn damaged(&self, name: &str, damage: impl FnOnce(&Path)) -> PathBuf {
        let to = self.scratch.join(name);
        let copied = Command::new("cp").arg("-a").arg(&self.dir).arg(&to).status().unwrap();
        assert!(copied.success());
        damage(&to);
        to
    }
}

fn found(dir: &Path, end: &str) -> Vec<PathBuf> {
    let all = listing(dir).into_keys();
    all.filter(|path| path.file_name().unwrap().to_string_lossy().ends_with(end)).collect()
}

fn copy_of(dir: &Path, digest: &str) -> PathBuf {
    let all = found(&dir.join("segments"), ".seg");
    all.into_iter().find(|path| files::digest(path) == digest).unwrap()
}

fn shorten(path: &Path, by: u64) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() - by).unwrap();
}

/// The log's file with the most in it.
fn chunk(dir: &Path) -> PathBuf {
    let chunks = listing(&dir.join("log")).into_iter().filter(|(path, _)| !path.ends_with("ballast"));
    chunks.max_by_key(|(_, (size, _))| *size).unwrap().0
}

#[test]
fn every_part_of_a_stopped_nodes_folder_is_checked() {
    let small = [("n3", "raft.snapshot_every", "20")];
    let cluster = prepared::start(3, 0, &small);
    let mut digests = Vec::new();
    for seed in 0..4 {
        let file = files::random(&cluster.scratch(), &format!("file-{seed}"), SIZE, seed);
        cluster.cairn("n1", ["save".as_ref(), format!("app/{seed}").as_ref(), file.as_os_str()]).expect(0);
        digests.push(files::digest(&file));
    }
    let node = cluster.node("n3");
    until("there is a snapshot", || {
        cluster.cairn("n1", ["claim", "app/3"]).expect(0);
        node.dir.join("snapshots/state").exists().then_some(())
    });

    // While it runs it keeps its folder to itself.
    let running = fsck(&node.dir, "json").expect(4);
    assert!(running.error()["message"].as_str().unwrap().contains("another daemon runs"), "{running:?}");

    cluster.signal("n3", Signal::TERM);
    until("the node has ended", || gone(node.pid).then_some(()));
    let whole = fsck(&node.dir, "json").expect(0).json();
    assert_eq!((&whole["node"], &whole["copies"], &whole["bytes"]), (&"n3".into(), &4.into(), &(4 * SIZE).into()));
    assert_eq!(whole["cluster"], cluster.cairn("n1", ["cluster", "status"]).expect(0).json()["cluster"]);
    assert_eq!(findings(&node.dir, 0), [Value::Null; 0]);
    assert!(fsck(&node.dir, "table").expect(0).text().contains("all is well"));
    assert_eq!(fsck(&node.dir, "jsonl").expect(0).text(), "");

    let stopped = Stopped { dir: node.dir, scratch: cluster.scratch() };
    let digest = digests[0].as_str();
    copies(&stopped, digest);
    metadata(&stopped);
    folders(&stopped);
    unreadable(&stopped, digest);
}

fn copies(stopped: &Stopped, digest: &str) {
    let dir = stopped.damaged("flipped-seg", |dir| flip(&copy_of(dir, digest), files::BLOCK + 7));
    let all = findings(&dir, 6);
    says(only(&all, "copy"), "problem", "block 1 does not match");
    says(only(&all, "copy"), "problem", "version 1 of app/0");
    says(only(&all, "copy"), "node_will", "until it is asked for");
    let lines = fsck(&dir, "jsonl").expect(6).text();
    assert_eq!(lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>(), all);
    assert!(fsck(&dir, "table").expect(6).text().contains("damage was found"));

    let dir = stopped.damaged("shorter-seg", |dir| shorten(&copy_of(dir, digest), 1));
    says(only(&findings(&dir, 6), "copy"), "problem", "bytes, and should have");

    let dir = stopped.damaged("flipped-toc", |dir| flip(&copy_of(dir, digest).with_extension("toc"), 60));
    let all = findings(&dir, 6);
    says(only(&all, "table"), "node_will", "quarantine");

    let dir = stopped.damaged("no-seg", |dir| fs::remove_file(copy_of(dir, digest)).unwrap());
    says(only(&findings(&dir, 6), "copy"), "node_will", "tell the cluster that the copy is missing");

    // Bytes alone look like a copy that was begun; but the cluster counts on this one.
    let dir = stopped.damaged("no-toc", |dir| {
        fs::remove_file(copy_of(dir, digest).with_extension("toc")).unwrap();
    });
    let all = findings(&dir, 6);
    says(only(&all, "copy"), "problem", "the cluster counts on this copy, and it is not here");
    assert_eq!(only(&all, "orphan")["bad"], false);
    assert_eq!(only(&all, "catalogue")["bad"], false);

    let dir = stopped.damaged("strays", |dir| {
        fs::write(dir.join("segments/00/notes.txt"), "mine").unwrap();
        let copy = copy_of(dir, digest);
        fs::copy(&copy, copy.with_file_name(format!("0198c0de-0000-7000-8000-0000000000{}.seg", shard(&copy))))
            .unwrap();
    });
    let all = findings(&dir, 0);
    assert_eq!(all.iter().filter(|finding| finding["what"] == "orphan").count(), 2, "{all:?}");

    // A version that no build knows yet, with the checksum that belongs to it.
    let dir = stopped.damaged("newer-toc", |dir| {
        let toc = copy_of(dir, digest).with_extension("toc");
        let newer = cairn_store::record::Kind { version: 9, ..cairn_store::disk::TOC_KIND };
        fs::remove_file(&toc).unwrap();
        fs::write(&toc, cairn_store::record::encode(newer, &7_u8).unwrap()).unwrap();
    });
    let all = findings(&dir, 6);
    says(only(&all, "table"), "problem", "version 9");
    says(only(&all, "table"), "node_will", "not start");
}

/// The folder of copies that a copy lies in.
fn shard(copy: &Path) -> String {
    copy.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned()
}

fn metadata(stopped: &Stopped) {
    let dir = stopped.damaged("flipped-log", |dir| {
        let chunk = chunk(dir);
        flip(&chunk, fs::metadata(&chunk).unwrap().len() / 2);
    });
    says(only(&findings(&dir, 6), "log"), "node_will", "not start");

    let dir = stopped.damaged("torn-log", |dir| shorten(&chunk(dir), 3));
    let all = findings(&dir, 0);
    says(only(&all, "log"), "node_will", "cut it off");

    let dir = stopped.damaged("flipped-snapshot", |dir| flip(&dir.join("snapshots/state"), 40));
    says(only(&findings(&dir, 6), "snapshot"), "node_will", "not start");

    let dir = stopped.damaged("newer-snapshot", |dir| {
        let newer = cairn_store::record::Kind { tag: *b"RAFT", version: 9 };
        fs::write(dir.join("snapshots/state"), cairn_store::record::encode(newer, &7_u8).unwrap()).unwrap();
    });
    says(only(&findings(&dir, 6), "snapshot"), "problem", "version 9");

    let dir = stopped.damaged("no-log", |dir| {
        fs::remove_dir_all(dir.join("log")).unwrap();
        fs::create_dir(dir.join("log")).unwrap();
    });
    says(only(&findings(&dir, 6), "log"), "problem", "it is empty, and the snapshot is not");
    let start = || {
        let refused = Run::of(Command::new(bins::cairnd()).args(["start", "--config"]).arg(dir.join("cairnd.toml")));
        let told = refused.expect(1).stderr;
        assert!(told.contains("this node ran before"), "it must not vote a second time: {told}");
    };
    start();
    fs::remove_file(dir.join("snapshots/state")).unwrap();
    says(only(&findings(&dir, 6), "log"), "problem", "it is empty, and copies lie here");
    start();
    // Nor without the list of what lies there.
    fs::remove_dir_all(dir.join("catalogue")).unwrap();
    fs::create_dir(dir.join("catalogue")).unwrap();
    start();

    let dir = stopped.damaged("edited-identity", |dir| {
        let text = fs::read_to_string(dir.join("node.toml")).unwrap();
        fs::write(dir.join("node.toml"), text.replace("founder = false", "founder = true")).unwrap();
    });
    says(only(&findings(&dir, 6), "identity"), "problem", "does not match its checksum");

    let dir = stopped.damaged("no-identity", |dir| fs::remove_file(dir.join("node.toml")).unwrap());
    says(only(&findings(&dir, 6), "identity"), "problem", "it is gone");

    let dir = stopped.damaged("flipped-catalogue", |dir| {
        let db = dir.join("catalogue/db");
        let bytes = fs::read(&db).unwrap();
        fs::write(&db, vec![0x5a; bytes.len()]).unwrap();
    });
    says(only(&findings(&dir, 6), "catalogue"), "node_will", "make it anew");

    let dir = stopped.damaged("no-catalogue", |dir| {
        fs::remove_dir_all(dir.join("catalogue")).unwrap();
        fs::create_dir(dir.join("catalogue")).unwrap();
    });
    assert_eq!(findings(&dir, 0), [Value::Null; 0], "it is only a cache");
}

fn folders(stopped: &Stopped) {
    let dir = stopped.damaged("no-quarantine", |dir| fs::remove_dir_all(dir.join("quarantine")).unwrap());
    says(only(&findings(&dir, 6), "folder"), "node_will", "not start");

    let dir = stopped.damaged("linked-lock", |dir| {
        fs::remove_file(dir.join("lock")).unwrap();
        symlink("/dev/null", dir.join("lock")).unwrap();
    });
    fsck(&dir, "json").expect(1);

    let missing = fsck(&stopped.scratch.join("nowhere"), "json").expect(1);
    assert!(missing.error()["message"].as_str().unwrap().contains("there is no such folder"), "{missing:?}");
    let empty = stopped.scratch.join("empty");
    fs::create_dir(&empty).unwrap();
    let nobody = fsck(&empty, "json").expect(1);
    assert!(nobody.error()["message"].as_str().unwrap().contains("holds no node"), "{nobody:?}");
    assert!(listing(&empty).is_empty(), "nothing was made there");
    fsck(&empty, "xml").expect(2);
}

/// What the disk cannot read is a finding, and the rest is checked all the same.
fn unreadable(stopped: &Stopped, digest: &str) {
    let dir = stopped.damaged("no-folder", |dir| {
        let shard = copy_of(dir, digest).parent().unwrap().to_owned();
        fs::remove_dir_all(&shard).unwrap();
        fs::write(&shard, "no folder").unwrap();
        flip(&chunk(dir), 40);
    });
    let all = findings(&dir, 6);
    says(about(&all, "Not a directory"), "node_will", "not start");
    assert_eq!(only(&all, "log")["bad"], true, "what comes before was told too");
    assert_eq!(fsck(&dir, "json").json()["copies"], 3, "and what comes after is checked");

    let dir = stopped.damaged("bad-sectors", |_| {});
    let (log, copy) = (chunk(&dir), copy_of(&dir, digest));
    let Some(bad) = Mount::unreadable(&log) else { return };
    let all = findings(&dir, 6);
    says(only(&all, "log"), "problem", "Input/output error");
    says(only(&all, "log"), "problem", log.to_str().unwrap());
    says(only(&all, "log"), "node_will", "not start");
    drop(bad);
    for (path, what) in [(copy.with_extension("toc"), "table"), (copy, "copy")] {
        let bad = Mount::unreadable(&path).unwrap();
        // A file of a process tells no size.
        let problem = if what == "copy" { "it has 0 bytes" } else { "Input/output error" };
        says(only(&findings(&dir, 6), what), "problem", problem);
        drop(bad);
    }
    let db = Mount::unreadable(&dir.join("catalogue/db")).unwrap();
    says(only(&findings(&dir, 6), "catalogue"), "node_will", "make it anew");
    drop(db);
    assert_eq!(findings(&dir, 0), [Value::Null; 0]);

    // A disk that can only be read is checked like any other.
    let at = stopped.scratch.join("read-only");
    let mounted = Mount::read_only(&dir, &at).unwrap();
    assert_eq!(findings(&at, 0), [Value::Null; 0]);
    // Whoever runs there by another way keeps it to itself.
    let lock = fs::File::open(dir.join("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let running = fsck(&at, "json").expect(4);
    assert!(running.error()["message"].as_str().unwrap().contains("another daemon runs"), "{running:?}");
    drop(lock);
    fs::remove_file(dir.join("lock")).unwrap();
    assert_eq!(findings(&at, 0), [Value::Null; 0]);
    drop(mounted);
}

#[test]
fn the_node_does_what_a_check_says() {
    let mut cluster = prepared::start(3, 0, &[]);
    let mut digests = Vec::new();
    for (seed, name) in NAMES.iter().enumerate() {
        let file = files::random(&cluster.scratch(), name, SIZE, seed as u64);
        cluster.cairn("n1", ["save".as_ref(), name.as_ref(), file.as_os_str()]).expect(0);
        digests.push(files::digest(&file));
    }
    // What n3 was asked for it has applied.
    for name in NAMES {
        cluster.show("n3", name);
    }
    let dir = cluster.node("n3").dir;
    // Killed, as a power cut would: nothing is wrong with that.
    cluster.kill("n3");
    fsck(&dir, "json").expect(0);

    let copy = |nth: usize| copy_of(&dir, &digests[nth]);
    let (table, bytes, alone, flipped) = (copy(0), copy(1), copy(2), copy(3));
    flip(&table.with_extension("toc"), 60);
    fs::remove_file(&bytes).unwrap();
    fs::remove_file(alone.with_extension("toc")).unwrap();
    flip(&flipped, 7);
    let all = findings(&dir, 6);
    says(only(&all, "table"), "node_will", "put the copy into quarantine, and tell the cluster that it is corrupt");
    says(about(&all, "the bytes that it describes are gone"), "node_will", "the copy is missing");
    says(about(&all, "it is not here"), "node_will", "tell the cluster that it is missing");
    says(about(&all, "never finished"), "node_will", "remove it");
    says(about(&all, "block 0 does not match"), "node_will", "keep it until it is asked for");

    cluster.revive("n3");
    let told = |copy: &Path, finding: &str| {
        let id = copy.file_stem().unwrap().to_str().unwrap().to_owned();
        until(&format!("n3 tells that {id} is {finding}"), || {
            let log = fs::read_to_string(dir.join("revived.log")).unwrap_or_default();
            let tells = |line: &str| line.contains(&id) && line.contains(&format!("finding={finding}"));
            log.lines().any(tells).then_some(())
        });
    };
    told(&table, "Corrupt");
    told(&bytes, "Missing");
    told(&alone, "Missing");
    assert!(!alone.exists(), "bytes without a .toc are a half");
    cluster.cairn("n3", ["load", NAMES[3]]).expect(0);
    assert!(!flipped.exists(), "a good copy has taken its place");
    // All that was lost is made again, and what was put aside goes.
    for name in NAMES {
        until(&format!("{name} on n3 is good again"), || {
            cluster.holders("n1", name).contains(&("n3".into(), "durable".into())).then_some(())
        });
    }
    until("the quarantine is empty", || fs::read_dir(dir.join("quarantine")).unwrap().next().is_none().then_some(()));

    let pid = cluster.node("n3").pid;
    cluster.signal("n3", Signal::TERM);
    until("the node has ended", || gone(pid).then_some(()));
    findings(&dir, 0);
}

const NAMES: [&str; 4] = ["table", "bytes", "alone", "flipped"];

/// The one finding with these words.
#[track_caller]
fn about<'a>(findings: &'a [Value], words: &str) -> &'a Value {
    let said = |finding: &&Value| finding["problem"].as_str().unwrap().contains(words);
    findings.iter().find(said).unwrap_or_else(|| panic!("{words:?} in {findings:?}"))
}

/// Whatever happens to the list of what lies here, the node makes it anew by itself.
#[test]
fn a_damaged_catalogue_is_made_anew() {
    let mut cluster = prepared::start(1, 0, &[]);
    let file = files::random(&cluster.scratch(), "file", SIZE, 7);
    let words = ["save".as_ref(), "app/state".as_ref(), file.as_os_str(), "--replicas".as_ref(), "0".as_ref()];
    cluster.cairn("n1", words).expect(0);
    let node = cluster.node("n1").dir;
    let (db, marker) = (node.join("catalogue/db"), node.join("catalogue/marker"));
    let garbage = |path: &Path| fs::write(path, vec![0x5a; fs::read(path).unwrap().len()]).unwrap();
    // Whether it can be told that something is wrong: what is not there may never have been.
    let damages: [(&str, bool, &dyn Fn()); 7] = [
        ("garbage", true, &|| garbage(&db)),
        ("cut off", true, &|| shorten(&db, fs::metadata(&db).unwrap().len() / 2)),
        ("a byte of an entry", true, &|| {
            let at = fs::read(&db).unwrap().windows(4).position(|tag| tag == b"HELD").unwrap();
            flip(&db, at as u64 + 20);
        }),
        ("no database", true, &|| fs::remove_file(&db).unwrap()),
        ("a byte of its marker", true, &|| flip(&marker, 12)),
        ("no marker", false, &|| fs::remove_file(&marker).unwrap()),
        ("nothing", false, &|| {
            fs::remove_dir_all(node.join("catalogue")).unwrap();
            fs::create_dir(node.join("catalogue")).unwrap();
        }),
    ];
    for (what, told, damage) in damages {
        let pid = cluster.node("n1").pid;
        cluster.signal("n1", Signal::TERM);
        until("the node has ended", || gone(pid).then_some(()));
        fsck(&node, "json").expect(0);
        damage();
        let run = fsck(&node, "json");
        let found = run.json()["findings"].as_array().unwrap().clone();
        assert_eq!(!found.is_empty(), told, "{what}: {run:?}");
        if told {
            says(only(&found, "catalogue"), "node_will", "make it anew from the .toc files");
        }
        cluster.revive("n1");
        let out = cluster.scratch().join("loaded");
        cluster.cairn("n1", ["load".as_ref(), "app/state".as_ref(), "--out".as_ref(), out.as_os_str()]).expect(0);
        files::same(&file, &out);
        fs::remove_file(out).unwrap();
    }
    let pid = cluster.node("n1").pid;
    cluster.signal("n1", Signal::TERM);
    until("the node has ended", || gone(pid).then_some(()));
    assert_eq!(findings(&node, 0), [Value::Null; 0]);
}
