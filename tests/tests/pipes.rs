//! Pipes of unknown length, in and out: `pg_dump | cairn save …`, `cairn load --out - | …`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use cairn_tests::run::peak_kib;
use cairn_tests::wait::until;
use cairn_tests::{Cluster, Run, Shared, files};
use rustix::process::{Pid, Signal, kill_process};

static CLUSTER: Shared = Shared::new(3, 0);

/// The client's peak, far below what goes through it.
const PEAK_KIB_MAX: u64 = 48 << 10;
const LARGE: u64 = 64 << 20;

/// `head -c … | cairn save NAME -`
fn piped(cluster: &Cluster, name: &str, file: &Path, more: &[&str]) -> Run {
    let mut head = Command::new("head").args(["-c", "1G"]).arg(file).stdout(Stdio::piped()).spawn().unwrap();
    let mut save = cluster.command("n1", ["save", name, "-"]);
    let output = save.args(more).stdin(head.stdout.take().unwrap()).output().unwrap();
    head.wait().unwrap();
    output.into()
}

/// A save whose input the test writes.
fn begun(cluster: &Cluster, name: &str) -> Child {
    let mut command = cluster.command("n1", ["save", name, "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn what_goes_in_through_a_pipe_comes_out_of_one() {
    let cluster = CLUSTER.alone();
    for size in [0, 1, files::BLOCK + 1, LARGE] {
        let name = format!("pipe-{size}");
        let file = files::random(&cluster.scratch(), &name, size, size);
        let saved = piped(&cluster, &name, &file, &[]).expect(0).json();
        assert_eq!((&saved["size"], &saved["kind"]), (&size.into(), &"file".into()));
        assert_eq!(saved["digest"], files::digest(&file));
        let mut load = cluster.command("n2", ["load", &name, "--out", "-"]);
        let mut load = load.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut cmp = Command::new("cmp");
        let same = cmp.arg("-").arg(&file).stdin(load.stdout.take().unwrap()).status().unwrap();
        assert!(same.success() && load.wait().unwrap().success(), "{size} bytes come back");
        assert_eq!(cluster.spooled("n1"), [""; 0]);
    }
}

#[test]
fn the_client_stays_small_however_much_comes() {
    let cluster = CLUSTER.alone();
    let file = files::random(&cluster.scratch(), "much", LARGE, 2);
    let mut save = begun(&cluster, "much");
    let mut input = save.stdin.take().unwrap();
    std::io::copy(&mut File::open(&file).unwrap(), &mut input).unwrap();
    // All but a pipe's worth is read by now, and the process is still there to be asked.
    let peak = peak_kib(save.id());
    drop(input);
    Run::from(save.wait_with_output().unwrap()).expect(0);
    assert!(peak < PEAK_KIB_MAX, "{} MiB", peak >> 10);
}

#[test]
fn a_read_that_is_interrupted_leaves_nothing() {
    let cluster = CLUSTER.alone();
    let mut save = begun(&cluster, "cut");
    let mut input = save.stdin.take().unwrap();
    input.write_all(&vec![7; 3 << 20]).unwrap();
    until("the spool has it", || (!cluster.spooled("n1").is_empty()).then_some(()));
    // The input stays open: the read never ends by itself.
    kill_process(Pid::from_raw(i32::try_from(save.id()).unwrap()).unwrap(), Signal::TERM).unwrap();
    let run = Run::from(save.wait_with_output().unwrap()).expect(143);
    assert_eq!(run.error()["code"], "interrupted");
    assert_eq!(cluster.spooled("n1"), [""; 0]);
    cluster.cairn("n1", ["show", "cut"]).expect(3);
    drop(input);
}

#[test]
fn an_input_that_cannot_be_read_is_refused() {
    let cluster = CLUSTER.alone();
    let mut save = cluster.command("n1", ["save", "unread", "-"]);
    let run = Run::from(save.stdin(File::open(cluster.scratch()).unwrap()).output().unwrap()).expect(1);
    let error = run.error();
    assert_eq!((&error["code"], &error["outcome"]), (&"io".into(), &"none".into()), "{error}");
    assert!(error["message"].as_str().unwrap().contains("cannot read the input"), "{error}");
    assert_eq!(cluster.spooled("n1"), [""; 0]);
    cluster.cairn("n1", ["show", "unread"]).expect(3);
    let error = piped(&cluster, "unread", Path::new("/dev/null"), &["--move"]).expect(2).error();
    assert!(error["message"].as_str().unwrap().contains("cannot be moved"), "{error}");
}

#[test]
fn a_request_id_that_repeats_must_bring_the_same_bytes() {
    let cluster = CLUSTER.alone();
    let one = files::random(&cluster.scratch(), "one", 3 << 20, 3);
    let other = files::random(&cluster.scratch(), "other", 3 << 20, 4);
    let id = ["--request-id", "the-nightly-dump"];
    let first = piped(&cluster, "nightly", &one, &id).expect(0).json();
    let again = piped(&cluster, "nightly", &one, &id).expect(0).json();
    assert_eq!((&first["version"], &first["digest"]), (&again["version"], &again["digest"]));
    assert_eq!(piped(&cluster, "nightly", &other, &id).expect(4).error()["code"], "conflict");
    assert_eq!(cluster.show("n1", "nightly")["head"], 1);
    assert_eq!(cluster.spooled("n1"), [""; 0]);
}
