//! Every committed change is told, in order and at least once, on whatever node; a gap is told too.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use cairn_tests::wait::PATIENCE;
use cairn_tests::{Cluster, Run, Shared, prepared, run};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

static CLUSTER: Shared = Shared::new(3, 0);

/// A `cairn watch` that runs.
struct Watcher {
    child: Child,
    lines: Receiver<String>,
}

impl Watcher {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// The next line, with all its keys.
    #[track_caller]
    fn next(&self) -> Value {
        let line = self.lines.recv_timeout(PATIENCE).unwrap();
        let news: Value = serde_json::from_str(&line).unwrap();
        let keys: Vec<&String> = news.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["at", "epoch", "name", "owner", "revision", "type", "version"], "{line}");
        news
    }

    fn end(mut self) -> i32 {
        assert_eq!(self.lines.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected), "nothing more is printed");
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn save(cluster: &Cluster, node: &str, name: &str, keep: &str) {
    let file = cluster.scratch().join(name.replace('/', "-"));
    fs::write(&file, name).unwrap();
    let args = ["--keep", keep, "--replicas", "1"];
    Run::of(cluster.command(node, ["save", name]).arg(file).args(args)).expect(0);
}

/// An event without its revision and time, in short.
fn short(news: &Value) -> String {
    let text = |key: &str| news[key].as_str().map_or_else(|| news[key].to_string(), str::to_owned);
    ["type", "name", "version", "epoch", "owner"].map(text).join(" ")
}

#[test]
fn every_change_of_a_name_is_told_in_order_and_again_from_any_revision() {
    let cluster = CLUSTER.get();
    save(&cluster, "n1", "told/a", "1");
    save(&cluster, "n1", "told/a", "1");
    save(&cluster, "n1", "untold", "1");
    cluster.cairn("n1", ["pin", "told/a", "--version", "2"]).expect(0);
    cluster.cairn("n1", ["unpin", "told/a"]).expect(0);
    cluster.cairn("n2", ["claim", "told/a"]).expect(0);
    cluster.cairn("n2", ["release", "told/a", "--epoch", "2"]).expect(0);
    cluster.cairn("n3", ["rm", "told/a", "--yes"]).expect(0);
    let watcher = Watcher::start(&mut cluster.command("n3", ["watch", "told/", "--from", "1"]));
    let expected = [
        "created told/a null 1 n1",
        "version told/a 1 1 n1",
        "version told/a 2 1 n1",
        "removed told/a 1 1 n1",
        "pinned told/a 2 1 n1",
        "unpinned told/a 2 1 n1",
        "owner told/a 2 2 n2",
        "owner told/a 2 2 null",
        "removed told/a null 2 null",
    ];
    let told: Vec<Value> = expected.iter().map(|_| watcher.next()).collect();
    assert_eq!(told.iter().map(short).collect::<Vec<_>>(), expected);
    let revisions: Vec<u64> = told.iter().map(|news| news["revision"].as_u64().unwrap()).collect();
    assert!(revisions.is_sorted());
    assert!(told.iter().all(|news| news["at"].as_str().unwrap().ends_with('Z')));
    // On another node, from a revision that made two changes: both come again, and nothing from before.
    assert_eq!(revisions[2], revisions[3]);
    let again = Watcher::start(&mut cluster.command("n1", ["watch", "told/", "--from", &revisions[2].to_string()]));
    for news in &told[2..] {
        assert_eq!(again.next(), *news);
    }
}

#[test]
fn a_watch_begins_now_and_outlives_the_node_that_answers() {
    let mut cluster = Cluster::start(3, 0);
    save(&cluster, "n2", "before", "2");
    let endpoints = ["n1", "n2"].map(|name| cluster.node(name).endpoint).join(",");
    let watcher = Watcher::start(&mut run::cairn(&endpoints, ["watch"]));
    let connected = |sent: &mut u64| {
        // Until the watch has begun, what happens is before "now".
        *sent += 1;
        save(&cluster, "n2", &format!("now-{sent}"), "2");
        watcher.lines.try_recv().ok()
    };
    let mut sent = 0;
    let first = cairn_tests::wait::until("the watch has begun", || connected(&mut sent));
    assert!(!first.contains("before"), "{first}");
    cluster.kill("n1");
    save(&cluster, "n2", "after", "2");
    while watcher.next()["name"] != "after" {}
    assert_eq!(short(&watcher.next()), "version after 1 1 n2");
    // Whoever is interrupted says so; the shell knows it by the code.
    kill_process(Pid::from_child(&watcher.child), Signal::INT).unwrap();
    assert_eq!(watcher.end(), 130);
    cluster.revive("n1");
}

#[test]
fn history_that_is_gone_ends_the_watch_with_relist() {
    let every = ["n1", "n2", "n3"].map(|node| (node, "raft.snapshot_every", "40"));
    let mut cluster = prepared::start(3, 0, &every);
    save(&cluster, "n1", "a", "2");
    for _ in 0..60 {
        cluster.cairn("n1", ["pin", "a", "--version", "1"]).expect(0);
        cluster.cairn("n1", ["unpin", "a"]).expect(0);
    }
    cluster.kill("n3");
    cluster.revive("n3");
    let watcher = Watcher::start(&mut cluster.command("n3", ["watch", "--from", "1"]));
    let relist = watcher.next();
    assert_eq!((&relist["type"], &relist["name"]), (&"relist".into(), &Value::Null), "{relist}");
    let next = relist["revision"].as_u64().unwrap();
    assert!(next > 120, "{relist}");
    assert_eq!(watcher.end(), 0);
    // From there on it goes on; so does a watch on a node that was never down.
    cluster.cairn("n1", ["pin", "a", "--version", "1"]).expect(0);
    for node in ["n1", "n3"] {
        let watcher = Watcher::start(&mut cluster.command(node, ["watch", "--from", &next.to_string()]));
        assert_eq!(short(&watcher.next()), "pinned a 1 1 n1", "{node}");
    }
    // What the cluster has not reached is of another history.
    let watcher = Watcher::start(&mut cluster.command("n1", ["watch", "--from", "1000000"]));
    assert_eq!(watcher.next()["type"], "relist");
}

#[test]
fn a_reader_that_goes_away_ends_it_and_wrong_words_are_told() {
    let cluster = CLUSTER.get();
    save(&cluster, "n1", "read/a", "2");
    let mut command = cluster.command("n1", ["watch", "read/", "--from", "1"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("created"), "{line}");
    // The pipe is closed now, whether anything happens or not.
    assert_eq!(child.wait().unwrap().code(), Some(0));
    for wrong in [["watch", "../x"], ["watch", "--from=yesterday"], ["watch", "--from=-1"]] {
        assert_eq!(cluster.cairn("n1", wrong).expect(2).error()["code"], "invalid", "{wrong:?}");
    }
    let silent = run::cairn("127.0.0.1:1", ["watch", "--timeout", "100ms"]).output().unwrap();
    assert_eq!(Run::from(silent).expect(5).error()["code"], "unavailable");
}
