//! What a terminal shows of work that lasts, and a pipe does not: bytes, rate and time left.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::process::Stdio;

use cairn_tests::terminal::Terminal;
use cairn_tests::wait::until;
use cairn_tests::{Cluster, Run, bins, files, prepared, run};
use rustix::process::Signal;
use serde_json::Value;

/// Far more than is read until a bar is seen.
const SIZE: u64 = 64 << 20;

/// `cairn` as a shell's word, asking a node.
fn cairn(cluster: &Cluster, node: &str) -> String {
    let endpoint = cluster.node(node).endpoint;
    format!("env NO_COLOR=1 {} -o json --endpoint {endpoint}", bins::cairn().display())
}

/// A pipe with a name. Held open for both, so that nobody waits for the other side.
fn pipe(path: PathBuf) -> (PathBuf, File) {
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    (path, file)
}

#[track_caller]
fn assert_bar(shown: &str, what: &str) {
    for part in [what, "64.00 MiB", "/s,", "left"] {
        assert!(shown.contains(part), "{part:?} in {shown:?}");
    }
    // A colour is `ESC [ … m`.
    for rest in shown.split("\u{1b}[").skip(1) {
        let end = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap();
        assert_ne!(rest.as_bytes()[end], b'm', "NO_COLOR, and a colour: {shown:?}");
    }
}

#[test]
fn a_load_that_lasts_shows_a_bar_on_a_terminal_and_none_in_a_pipe() {
    let cluster = Cluster::start(1, 0);
    let scratch = cluster.scratch();
    let file = files::random(&scratch, "long", SIZE, 1);
    let args = ["save".as_ref(), "long".as_ref(), file.as_os_str(), "--replicas".as_ref(), "0".as_ref()];
    cluster.cairn("n1", args).expect(0);

    // The one in a pipe begins first, so it has lasted longer than the other when that shows its bar.
    let mut piped = cluster.command("n1", ["load", "long", "--out", "-"]);
    let mut piped = piped.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut from_piped = piped.stdout.take().unwrap();
    let (path, mut from_terminal) = pipe(scratch.join("pipe"));
    let line = format!("{} load long --out - > {}", cairn(&cluster, "n1"), path.display());
    let terminal = Terminal::start(&line);

    let mut buffer = vec![0; 1 << 18];
    let (mut one, mut other) = (0, 0);
    until("the bar is shown", || {
        one += from_piped.read(&mut buffer).unwrap() as u64;
        other += from_terminal.read(&mut buffer).unwrap() as u64;
        terminal.shown().contains("left").then_some(())
    });
    assert!(one < SIZE && other < SIZE, "both still go on");
    from_piped.read_to_end(&mut Vec::new()).unwrap();
    std::io::copy(&mut from_terminal.take(SIZE - other), &mut std::io::sink()).unwrap();
    let (code, shown) = terminal.end();
    assert_eq!(code, 0, "{shown}");
    assert_bar(&shown, "writing [");
    let run = Run::from(piped.wait_with_output().unwrap()).expect(0);
    let said: Value = serde_json::from_str(&run.stderr).unwrap_or_else(|e| panic!("{e}: {:?}", run.stderr));
    assert_eq!(said["size"], SIZE);
}

#[test]
fn who_waits_for_a_node_is_told_so_on_a_terminal_and_not_in_a_pipe() {
    // Nobody listens there.
    let endpoint = format!("127.0.0.1:{}", prepared::free_ports(1).start);
    let line = format!("{} ls --endpoint {endpoint} --timeout 4s", bins::cairn().display());
    let terminal = Terminal::start(&line);
    terminal.until_shown("waiting: cannot reach a node at");
    let (code, shown) = terminal.end();
    assert_eq!(code, 5, "{shown}");
    assert!(shown.contains("gives up after 4s") && shown.matches("waiting:").count() == 1, "{shown}");
    let run = Run::of(&mut run::cairn(&endpoint, ["ls", "--timeout", "3s"])).expect(5);
    assert_eq!((run.stderr.lines().count(), run.error()["code"].as_str()), (1, Some("unavailable")), "{run:?}");
}

#[test]
fn a_save_that_lasts_shows_a_bar_on_a_terminal_and_none_in_a_pipe() {
    // A node that says nothing for a while holds a save up, and is neither given up nor taken for dead.
    let patient = ["n1", "s1"].map(|node| ["handshake", "idle", "down_after"].map(|key| (node, key)));
    let patient: Vec<_> = patient.as_flattened().iter().map(|(node, key)| (*node, format!("limits.{key}"))).collect();
    let patient: Vec<_> = patient.iter().map(|(node, key)| (*node, key.as_str(), "80s")).collect();
    let cluster = prepared::start(1, 1, &patient);
    let file = files::random(&cluster.scratch(), "long", SIZE, 2);
    let out = cluster.scratch().join("out.json");
    cluster.signal("s1", Signal::STOP);
    let args = ["save".as_ref(), "piped".as_ref(), file.as_os_str(), "--replicas".as_ref(), "1".as_ref()];
    let mut piped = cluster.command("n1", args);
    let piped = piped.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let line = format!("{} save shown {} --replicas 1 > {}", cairn(&cluster, "n1"), file.display(), out.display());
    let terminal = Terminal::start(&line);
    terminal.until_shown("left");
    cluster.signal("s1", Signal::CONT);
    let (code, shown) = terminal.end();
    assert_eq!(code, 0, "{shown}");
    assert_bar(&shown, "sending [");
    let saved: Value = serde_json::from_slice(&fs::read(&out).unwrap()).unwrap();
    assert_eq!(saved["size"], SIZE, "the data is on stdout, the bar is not");
    let run = Run::from(piped.wait_with_output().unwrap()).expect(0);
    assert_eq!((run.json()["size"].as_u64(), run.stderr.as_str()), (Some(SIZE), ""));
}
