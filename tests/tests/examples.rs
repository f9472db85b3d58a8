//! The client's examples do what they say, also when their node is lost.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use cairn_tests::{Cluster, Run, bins};
use rustix::process::{Pid, Signal, kill_process};

/// The number of primes below [`LIMIT`].
const FOUND: u64 = 148_933;
const LIMIT: u64 = 2_000_000;

fn primes(cluster: &Cluster, node: &str, limit: u64) -> Command {
    let mut command = Command::new(bins::example("primes"));
    command.args(["jobs/primes", &limit.to_string()]).env("CAIRN_ENDPOINTS", cluster.node(node).endpoint);
    command.stdin(Stdio::null());
    command
}

/// One that would go on for ever, and has saved its state twice.
fn under_way(cluster: &Cluster, node: &str) -> Child {
    let mut command = primes(cluster, node, u64::MAX);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert_eq!(lines.by_ref().filter(|line| line.starts_with("saved at")).take(2).count(), 2);
    std::thread::spawn(move || lines.for_each(drop));
    child
}

#[test]
fn an_application_resumes_on_another_node_and_the_first_one_is_fenced() {
    let cluster = Cluster::start(3, 1);
    let mut lost = under_way(&cluster, "n1");
    cluster.kill("n1");
    lost.kill().unwrap();
    lost.wait().unwrap();

    // It is held up, and wakes up when another one has its place.
    let stale = under_way(&cluster, "n2");
    let process = Pid::from_child(&stale);
    kill_process(process, Signal::STOP).unwrap();
    let run = Run::of(&mut primes(&cluster, "n3", LIMIT)).expect(0);
    let told = run.text();
    assert!(told.starts_with("resumed at "), "{told}");
    assert!(told.ends_with(&format!("{FOUND} primes below {LIMIT}\n")), "{told}");
    kill_process(process, Signal::CONT).unwrap();
    let fenced = Run::from(stale.wait_with_output().unwrap()).expect(1);
    assert!(fenced.stderr.contains("has another owner now"), "{fenced:?}");
}

#[test]
fn the_tour_goes_all_the_way() {
    let cluster = Cluster::start(2, 1);
    let mut tour = Command::new(bins::example("tour"));
    let told = Run::of(tour.args(["n1", "n2"].map(|node| cluster.node(node).endpoint))).expect(0).text();
    for line in
        ["durable on 3 nodes", "epoch 2 belongs to n2", "the change of owner was told", "epoch 3 belongs to n1"]
    {
        assert!(told.contains(line), "{line:?} is missing: {told}");
    }
    let left = cluster.cairn("n2", ["ls"]).expect(0).json();
    assert_eq!(left["segments"], serde_json::json!([]));
}
