//! Ctrl-C in the middle of saves and loads, and clients that stop in the middle: nothing is left behind, and others are
//! served meanwhile.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cairn_tests::wait::until;
use cairn_tests::{Cluster, Run, Shared, files, prepared};
use rustix::process::{Pid, Signal, kill_process};

static CLUSTER: Shared = Shared::new(2, 1);

/// Need not.
const SMALL: u64 = 4 << 20;
/// Takes long enough to be caught in the middle.
const SIZE: u64 = 96 << 20;
/// How often a client may be too fast to be caught.
const CATCHES_MAX: u32 = 40;

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), signal).unwrap();
}

fn stopped(child: &Child) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
}

fn spawned(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// A client that is stopped in the very middle: while `there`. One that was too fast gets another try.
#[track_caller]
fn caught(begin: impl Fn() -> Child, there: impl Fn() -> bool) -> Child {
    for _ in 0..CATCHES_MAX {
        let mut child = begin();
        while child.try_wait().unwrap().is_none() {
            if there() {
                signal(&child, Signal::STOP);
                until("the client is stopped, or has ended", || {
                    (stopped(&child) || child.try_wait().unwrap().is_some()).then_some(())
                });
                if there() {
                    return child;
                }
                if child.try_wait().unwrap().is_none() {
                    signal(&child, Signal::CONT);
                }
            }
            std::thread::yield_now();
        }
    }
    panic!("the client was never caught in the middle");
}

/// Ctrl-C, and the end.
#[track_caller]
fn interrupt(child: Child) -> Run {
    signal(&child, Signal::INT);
    signal(&child, Signal::CONT);
    let run = Run::from(child.wait_with_output().unwrap()).expect(130);
    assert_eq!(run.error()["code"], "interrupted");
    run
}

/// The parts that clients make in a folder: how many bytes each has.
fn parts(dir: &Path) -> Vec<(PathBuf, u64)> {
    let paths = fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path());
    let parts = paths.filter(|path| path.extension().is_some_and(|end| end == "part"));
    parts.filter_map(|path| Some((path.clone(), fs::metadata(&path).ok()?.len()))).collect()
}

/// How many of them somebody writes: one that was made in this moment may not be locked yet.
fn held(dir: &Path) -> usize {
    let locks = fs::read_to_string("/proc/locks").unwrap();
    let held = |path: &PathBuf| fs::metadata(path).is_ok_and(|part| locks.contains(&format!(":{} ", part.ino())));
    parts(dir).iter().filter(|(path, _)| held(path)).count()
}

fn folder(cluster: &Cluster, name: &str) -> PathBuf {
    let path = cluster.scratch().join(name);
    fs::create_dir_all(&path).unwrap();
    path
}

/// A tree of several files.
fn tree(cluster: &Cluster, name: &str) -> PathBuf {
    let dir = folder(cluster, name);
    for nth in 0..8 {
        files::random(&dir, &format!("file-{nth}"), SIZE / 8, nth);
    }
    dir
}

#[test]
fn an_interrupted_save_leaves_the_earlier_version_and_an_empty_spool() {
    let cluster = CLUSTER.get();
    // A file may be in the spool at once, where the file system shares blocks.
    let (name, source) = ("cut/tree", tree(&cluster, "tree"));
    let save = |args: &[&str]| {
        let mut command = cluster.command("n1", ["save".as_ref(), name.as_ref(), source.as_os_str()]);
        command.args(["--replicas", "1"]).args(args);
        command
    };
    let first = Run::of(&mut save(&[])).expect(0).json();
    let spool = cluster.node("n1").dir.join("spool");
    let half = || parts(&spool).iter().any(|(_, size)| *size < SIZE);
    let child = caught(|| spawned(&mut save(&[])), half);
    let before = cluster.show("n2", name)["head"].clone();
    interrupt(child);
    assert_eq!(cluster.spooled("n1"), [""; 0]);
    let shown = cluster.show("n2", name);
    assert_eq!(shown["head"], before, "the node knew nothing of it");
    assert!(shown["head"].as_u64() >= first["version"].as_u64());
    // A name that is new stays free.
    let mut save = cluster.command("n1", ["save", "cut/pipe", "-"]);
    let mut child = save.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&vec![7; 3 << 20]).unwrap();
    until("the spool has it", || (!cluster.spooled("n1").is_empty()).then_some(()));
    interrupt(child);
    drop(input);
    assert_eq!(cluster.spooled("n1"), [""; 0]);
    cluster.cairn("n1", ["show", "cut/pipe"]).expect(3);
}

const ID: &str = "0198c0de-0000-7000-8000-00000000c0de";

/// Waits until a node has said something of the request.
fn until_said(cluster: &Cluster, node: &str, what: &str) {
    let log = cluster.node(node).dir.join("cairnd.log");
    until(&format!("{node} says {what:?}"), || {
        let said = fs::read_to_string(&log).unwrap();
        said.lines().any(|line| line.contains(ID) && line.contains(what)).then_some(())
    });
}

/// Interrupts a save that its node has begun, and that a target holds up which says nothing.
fn interrupt_begun(cluster: &Cluster, file: &Path, replicas: &str) {
    let mut save = cluster.command("n1", ["save".as_ref(), "begun".as_ref(), file.as_os_str()]);
    cluster.signal("s1", Signal::STOP);
    let child = spawned(save.args(["--replicas", replicas, "--request-id", ID]));
    until_said(cluster, "n1", "save begins");
    if replicas == "2" {
        until_said(cluster, "n2", "a copy was received and is durable");
    }
    let run = interrupt(child);
    assert_eq!(run.error()["outcome"], "unknown", "the node goes on with it");
    assert_eq!(cluster.spooled("n1"), [""; 0]);
}

/// Nodes that neither give up nor mark down one that says nothing for a while; and a storage-only one.
fn patient(nodes: u32) -> Cluster {
    let names = (1..=nodes).map(|number| format!("n{number}")).chain(["s1".to_owned()]).collect::<Vec<_>>();
    let keys = ["limits.handshake", "limits.idle", "limits.down_after"];
    let settings: Vec<_> = names.iter().flat_map(|name| keys.map(|key| (name.as_str(), key, "80s"))).collect();
    prepared::start(nodes, 1, &settings)
}

#[test]
fn a_save_that_the_node_has_begun_ends_whole_without_its_client() {
    let cluster = patient(1);
    let file = files::random(&cluster.scratch(), "begun", SIZE, 2);
    interrupt_begun(&cluster, &file, "1");
    cluster.signal("s1", Signal::CONT);
    until_said(&cluster, "n1", "save committed");
    assert_eq!(cluster.show("n1", "begun")["versions"][0]["digest"], files::digest(&file));
}

#[test]
fn a_save_that_fails_without_its_client_leaves_nothing_anywhere() {
    let mut cluster = patient(2);
    let file = files::random(&cluster.scratch(), "begun", SMALL, 2);
    interrupt_begun(&cluster, &file, "2");
    cluster.kill("s1");
    until_said(&cluster, "n1", "save failed");
    until("the name is free again", || (cluster.cairn("n2", ["show", "begun"]).code == 3).then_some(()));
    cluster.revive("s1");
    for node in ["n1", "n2", "s1"] {
        until(&format!("nothing of it lies on {node}"), || cluster.copies(node).is_empty().then_some(()));
    }
}

#[test]
fn a_name_whose_first_save_died_with_its_node_can_be_freed_at_once() {
    let cluster = patient(3);
    let file = files::random(&cluster.scratch(), "begun", SMALL, 2);
    interrupt_begun(&cluster, &file, "3");
    cluster.kill("n1");
    cluster.signal("s1", Signal::CONT);
    let save = || {
        let args = ["save".as_ref(), "begun".as_ref(), file.as_os_str(), "--replicas".as_ref(), "1".as_ref()];
        cluster.cairn("n2", args)
    };
    let refused = save().expect(4).error();
    assert!(refused["hint"].as_str().unwrap().contains("`cairn rm begun` frees the name"), "{refused}");
    let nothing = cluster.cairn("n2", ["load", "begun", "--claim"]).expect(3).error();
    assert_eq!(nothing["hint"], refused["hint"]);
    cluster.cairn("n2", ["rm", "begun", "--yes"]).expect(0);
    assert_eq!(save().expect(0).json()["version"], 1);
}

#[test]
fn an_interrupted_load_leaves_nothing_at_its_output() {
    let cluster = CLUSTER.get();
    let file = files::random(&folder(&cluster, "loads"), "file", SIZE, 3);
    for (name, source) in [("back/file", file.clone()), ("back/tree", tree(&cluster, "back"))] {
        let args = ["save".as_ref(), name.as_ref(), source.as_os_str(), "--replicas".as_ref(), "1".as_ref()];
        cluster.cairn("n2", args).expect(0);
        let outputs = folder(&cluster, &name.replace('/', "-"));
        let attempts = std::cell::Cell::new(0);
        let load = || {
            attempts.set(attempts.get() + 1);
            let out = outputs.join(attempts.get().to_string());
            let args = ["load".as_ref(), name.as_ref(), "--out".as_ref(), out.as_os_str()];
            spawned(&mut cluster.command("n2", args))
        };
        let child = caught(load, || !parts(&outputs).is_empty());
        interrupt(child);
        assert_eq!(parts(&outputs), []);
        assert!(!outputs.join(attempts.get().to_string()).exists());
        // Who is killed cannot tidy: the next one does, and only there where nobody writes any more.
        let going_on = caught(load, || held(&outputs) == 1);
        let [(live, _)] = parts(&outputs).try_into().unwrap();
        let mut killed = caught(load, || held(&outputs) == 2);
        killed.kill().unwrap();
        killed.wait().unwrap();
        assert_eq!(parts(&outputs).len(), 2);
        Run::from(load().wait_with_output().unwrap()).expect(0);
        let [(left, _)] = parts(&outputs).try_into().unwrap();
        assert_eq!(left, live);
        signal(&going_on, Signal::CONT);
        Run::from(going_on.wait_with_output().unwrap()).expect(0);
        assert_eq!(parts(&outputs), []);
    }
    // Into a pipe that nobody reads any more: the write never ends by itself.
    let mut load = cluster.command("n2", ["load", "back/file", "--out", "-"]);
    let mut child = spawned(&mut load);
    let mut output = child.stdout.take().unwrap();
    output.read_exact(&mut [0; 4096]).unwrap();
    interrupt(child);
    drop(output);
}

/// So that a node's client seems to be on another machine, and gets its bytes over the network.
fn set_aside_mark(cluster: &Cluster, node: &str) -> impl FnOnce() {
    let mark = cluster.node(node).dir.join("spool/.node");
    let text = fs::read_to_string(&mark).unwrap();
    fs::remove_file(&mark).unwrap();
    move || fs::write(mark, text).unwrap()
}

#[test]
fn clients_that_stop_in_the_middle_hold_nobody_up() {
    let settings = [("n1", "limits.idle", "3s"), ("n1", "limits.transfers", "1")];
    let cluster = prepared::start(1, 0, &settings);
    let file = files::random(&cluster.scratch(), "file", SIZE, 4);
    let args = ["save".as_ref(), "held".as_ref(), file.as_os_str(), "--replicas".as_ref(), "0".as_ref()];
    cluster.cairn("n1", args).expect(0);

    // A save from a pipe: the client reads no more, and nobody but itself waits for that.
    let mut save = cluster.command("n1", ["save", "piped", "-", "--replicas", "0"]);
    let mut saving = save.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = saving.stdin.take().unwrap();
    input.write_all(&vec![7; 3 << 20]).unwrap();
    until("the spool has it", || (!cluster.spooled("n1").is_empty()).then_some(()));
    signal(&saving, Signal::STOP);
    let other = files::random(&cluster.scratch(), "other", 1 << 20, 5);
    for _ in 0..2 {
        let args = ["save".as_ref(), "other".as_ref(), other.as_os_str(), "--replicas".as_ref(), "0".as_ref()];
        cluster.cairn("n1", args).expect(0);
    }

    // A load over the network: the node's only place for a payload is taken, until its time-out gives it back.
    let put_back = set_aside_mark(&cluster, "n1");
    let mut child = spawned(&mut cluster.command("n1", ["load", "held", "--out", "-"]));
    let mut output = child.stdout.take().unwrap();
    let mut begin = vec![0; 1 << 20];
    output.read_exact(&mut begin).unwrap();
    signal(&child, Signal::STOP);
    let out = cluster.scratch().join("out");
    let args = ["load".as_ref(), "held".as_ref(), "--out".as_ref(), out.as_os_str()];
    cluster.cairn("n1", args).expect(0);
    files::same(&file, &out);
    let log = cluster.node("n1").dir.join("cairnd.log");
    until("the node has given the stopped one up", || {
        fs::read_to_string(&log).unwrap().contains("a loader did not take all of a copy").then_some(())
    });

    // Both go on where they stopped.
    signal(&child, Signal::CONT);
    let mut rest = Vec::new();
    output.read_to_end(&mut rest).unwrap();
    Run::from(child.wait_with_output().unwrap()).expect(0);
    let mut whole = Vec::new();
    File::open(&file).unwrap().read_to_end(&mut whole).unwrap();
    assert!(begin.iter().chain(&rest).eq(whole.iter()), "the same bytes, and none twice");
    put_back();
    signal(&saving, Signal::CONT);
    input.write_all(b"the end").unwrap();
    drop(input);
    let saved = Run::from(saving.wait_with_output().unwrap()).expect(0).json();
    assert_eq!(saved["size"], (3 << 20) + 7);
}
