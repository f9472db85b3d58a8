//! A folder is saved and comes back as it was, on another node and over the data plane.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cairn_tests::{Cluster, Run, Shared, files};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, mknodat, utimensat};

static CLUSTER: Shared = Shared::new(3, 0);

const SPARSE: u64 = 64 << 20;

fn save(cluster: &Cluster, name: &str, folder: &Path, more: &[&str]) -> Run {
    Run::of(cluster.command("n1", ["save", name]).arg(folder).args(more))
}

fn load(cluster: &Cluster, name: &str, out: &Path, more: &[&str]) -> Run {
    Run::of(cluster.command("n2", ["load", name]).args(more).arg("--out").arg(out))
}

/// What an entry is: type and mode, time, what it holds or names, which names share its inode.
type Seen = (u32, (i64, i64), Vec<u8>, Option<PathBuf>);

/// All that is in a folder, the folder itself first.
fn seen(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let (mut all, mut inodes) = (BTreeMap::new(), BTreeMap::new());
    let mut waiting = vec![root.to_owned()];
    let mut paths = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.symlink_metadata().unwrap().is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        paths.push(path);
    }
    paths.sort();
    for path in paths {
        let there = path.symlink_metadata().unwrap();
        let short = path.strip_prefix(root).unwrap().to_owned();
        let holds = match there.file_type() {
            kind if kind.is_symlink() => fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec(),
            kind if kind.is_file() => files::digest(&path).into_bytes(),
            _ => Vec::new(),
        };
        let shared = (!there.is_dir() && there.nlink() > 1)
            .then(|| inodes.entry(there.ino()).or_insert_with(|| short.clone()).clone());
        all.insert(short, (there.mode(), (there.mtime(), there.mtime_nsec()), holds, shared));
    }
    all
}

fn set_time(path: &Path, seconds: i64, nanos: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// A folder with everything that a tree can hold.
fn every_kind(root: &Path) {
    fs::create_dir(root).unwrap();
    let at = |name: &str| root.join(name);
    for folder in ["empty", "deep", "deep/er", "closed", "sticky"] {
        fs::create_dir(at(folder)).unwrap();
    }
    files::random(root, "large", 3 * files::BLOCK + 17, 1);
    for (name, text) in
        [("none", ""), ("deep/er/file", "down here"), ("closed/in", "x"), (" spaces\nand\\lines ", "y")]
    {
        fs::write(at(name), text).unwrap();
    }
    fs::write(root.join(OsStr::from_bytes(b"not\xff\xfeutf-8")), "z").unwrap();
    // Around the length that a header holds, and far above it.
    for length in [99, 100, 101, 255] {
        fs::write(at(&"n".repeat(length)), length.to_string()).unwrap();
        symlink("t".repeat(length), at(&format!("to-{length}"))).unwrap();
    }
    let far = at(&vec!["f".repeat(200); 5].join("/"));
    fs::create_dir_all(&far).unwrap();
    fs::write(far.join("bottom"), "far").unwrap();
    symlink("deep//er/../er/file", at("inside")).unwrap();
    symlink("/etc/hostname", at("outside")).unwrap();
    symlink(OsStr::from_bytes(b"gone\xff"), at("dangling")).unwrap();
    fs::hard_link(at("large"), at("deep/large-too")).unwrap();
    fs::hard_link(at("large"), at("also-large")).unwrap();
    fs::hard_link(at("inside"), at("inside-too")).unwrap();
    let sparse = File::create(at("sparse")).unwrap();
    sparse.set_len(SPARSE).unwrap();
    for place in [0, 5 << 20, SPARSE / 2 + 77] {
        sparse.write_all_at(b"an island", place).unwrap();
    }
    File::create(at("holes")).unwrap().set_len(SPARSE).unwrap();
    for (name, mode) in
        [("none", 0o400), ("deep/er/file", 0o755), ("large", 0o640), ("closed", 0o555), ("sticky", 0o3777)]
    {
        fs::set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
    }
    for (name, seconds, nanos) in [
        ("none", 0, 0),
        ("large", 1, 999_999_999),
        ("sparse", -5, 250_000_000),
        ("inside", 86_400, 5),
        ("deep/er", 7, 7),
    ] {
        set_time(&at(name), seconds, nanos);
    }
    set_time(root, 1_000_000_000, 123_456_789);
}

#[test]
fn a_tree_of_every_kind_comes_back() {
    let cluster = CLUSTER.alone();
    let root = cluster.scratch().join("every-kind");
    every_kind(&root);
    let before = seen(&root);
    let saved = save(&cluster, "tree/all", &root, &[]).expect(0).json();
    assert_eq!((&saved["kind"], &saved["version"]), (&"tree".into(), &1.into()));
    assert!(saved["size"].as_u64().unwrap() < SPARSE, "holes are not sent: {saved}");
    assert_eq!(cluster.spooled("n1"), [""; 0]);
    let out = cluster.scratch().join("every-kind-back");
    let loaded = load(&cluster, "tree/all", &out, &[]).expect(0).json();
    assert_eq!((&loaded["kind"], &loaded["digest"]), (&"tree".into(), &saved["digest"]));
    assert_eq!(seen(&out), before);
    for name in ["sparse", "holes"] {
        let there = out.join(name).metadata().unwrap();
        assert!(there.len() == SPARSE && there.blocks() * 512 < 1 << 20, "{name}: {}", there.blocks());
    }
    // What came back is the same stream again.
    assert_eq!(save(&cluster, "tree/again", &out, &[]).expect(0).json()["digest"], saved["digest"]);
    assert_eq!(save(&cluster, "tree/all", &root, &[]).expect(0).json()["version"], 2);
}

#[test]
fn the_stream_is_one_that_tar_reads() {
    let cluster = CLUSTER.alone();
    let root = cluster.scratch().join("for-tar");
    every_kind(&root);
    save(&cluster, "tree/tar", &root, &[]).expect(0);
    let out = cluster.scratch().join("for-tar-back");
    fs::create_dir(&out).unwrap();
    let mut load = cluster.command("n2", ["load", "tree/tar", "--out", "-"]);
    let mut load = load.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut tar = Command::new("tar");
    tar.args(["-xp", "-f", "-", "-C"]).arg(&out).stdin(load.stdout.take().unwrap());
    // It may wonder at a time before 1970, and keeps it.
    Run::from(tar.output().unwrap()).expect(0);
    assert!(load.wait().unwrap().success());
    assert_eq!(seen(&out), seen(&root));
}

#[test]
fn ten_thousand_small_files_come_back() {
    let cluster = CLUSTER.alone();
    let root = cluster.scratch().join("many");
    for folder in 0..100 {
        let folder = root.join(folder.to_string());
        fs::create_dir_all(&folder).unwrap();
        for file in 0..100 {
            fs::write(folder.join(file.to_string()), format!("{}/{file}", folder.display())).unwrap();
        }
    }
    save(&cluster, "tree/many", &root, &["--replicas", "1"]).expect(0);
    let out = cluster.scratch().join("many-back");
    load(&cluster, "tree/many", &out, &[]).expect(0);
    let (before, after) = (seen(&root), seen(&out));
    assert_eq!(before.len(), 10_101);
    assert!(before == after);
}

#[test]
fn a_tree_is_fetched_from_another_machine() {
    let cluster = CLUSTER.alone();
    let root = cluster.scratch().join("far");
    every_kind(&root);
    save(&cluster, "tree/far", &root, &[]).expect(0);
    // A mark that cannot be read stands for another machine.
    let mark = cluster.node("n3").dir.join("spool/.node");
    let (mark, aside) = (mark.clone(), mark.with_extension("aside"));
    fs::rename(&mark, &aside).unwrap();
    let out = cluster.scratch().join("far-back");
    let run = Run::of(cluster.command("n3", ["load", "tree/far", "--out"]).arg(&out));
    fs::rename(&aside, &mark).unwrap();
    run.expect(0);
    assert_eq!(seen(&out), seen(&root));
}

#[test]
fn what_is_at_the_path_is_replaced_only_if_asked() {
    let cluster = CLUSTER.alone();
    let scratch = cluster.scratch().join("replace");
    let (root, out) = (scratch.join("root"), scratch.join("out"));
    fs::create_dir_all(root.join("in")).unwrap();
    fs::create_dir_all(out.join("old/closed")).unwrap();
    fs::set_permissions(out.join("old"), Permissions::from_mode(0o500)).unwrap();
    save(&cluster, "tree/new", &root, &[]).expect(0);
    load(&cluster, "tree/new", &out, &[]).expect(2);
    assert!(out.join("old").exists());
    load(&cluster, "tree/new", &out, &["--force"]).expect(0);
    assert_eq!(seen(&out), seen(&root));
    // A file, or a link, has to go as well; a link's target stays.
    let link = scratch.join("link");
    symlink(&root, &link).unwrap();
    load(&cluster, "tree/new", &link, &["--force"]).expect(0);
    assert!(link.symlink_metadata().unwrap().is_dir());
    // And a folder is not replaced by a file, whatever is claimed.
    let file = files::random(&scratch, "file", 10, 1);
    cluster.cairn("n1", ["save".as_ref(), "tree/file".as_ref(), file.as_os_str()]).expect(0);
    let error = load(&cluster, "tree/file", &out, &["--force", "--claim"]).expect(2).error();
    assert_eq!(error["outcome"], "none", "{error}");
    assert_eq!(cluster.show("n1", "tree/file")["owner"], "n1");
    for more in [&["--range", "0:1", "--claim"][..], &["--link", "--claim"]] {
        let error = load(&cluster, "tree/new", &scratch.join("no"), more).expect(2).error();
        assert_eq!((&error["code"], &error["outcome"]), (&"invalid".into(), &"none".into()), "{error}");
    }
    assert_eq!(cluster.show("n1", "tree/new")["owner"], "n1");
    let mut left: Vec<_> = fs::read_dir(&scratch).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["file", "link", "out", "root"], "nothing else is left");
}

#[test]
fn what_a_tree_cannot_hold_is_refused_by_its_path() {
    let cluster = CLUSTER.alone();
    let root = cluster.scratch().join("odd-tree");
    fs::create_dir_all(root.join("a/b")).unwrap();
    let odd = root.join("a/b/odd");
    let refused = |why: &str| {
        let error = save(&cluster, "tree/odd", &root, &[]).expect(2).error();
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("a/b/odd") && message.contains(why), "{error}");
        assert_eq!(cluster.spooled("n1"), [""; 0]);
        cluster.cairn("n1", ["show", "tree/odd"]).expect(3);
        fs::remove_file(&odd).unwrap();
    };
    mknodat(CWD, &odd, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    refused("a pipe");
    let socket = UnixListener::bind(&odd).unwrap();
    refused("a socket");
    drop(socket);
    let error = save(&cluster, "tree/odd", &root, &["--move"]).expect(2).error();
    assert!(error["message"].as_str().unwrap().contains("is a directory"), "{error}");
    assert!(root.join("a/b").exists());
    // The kind of a name stays.
    save(&cluster, "tree/odd", &root, &[]).expect(0);
    let file = files::random(&cluster.scratch(), "odd-file", 10, 1);
    assert_eq!(save(&cluster, "tree/odd", &file, &[]).expect(4).error()["code"], "conflict");
}
