//! The client's examples do what they say, also when their node is lost.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use cairn_tests::agent::Agent;
use cairn_tests::wait::until;
use cairn_tests::{Cluster, Run, bins, prepared};
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

/// An example under the failover agent on a node.
fn agent(cluster: &Cluster, node: &str, name: &str, more: &[&str], words: &[&str]) -> Agent {
    let dir = cluster.scratch().join(node);
    std::fs::create_dir_all(&dir).unwrap();
    let mut command = cluster.command(node, ["run", name, "--every", "never", "--lease", "2s", "--state"]);
    command.arg(dir.join("state")).args(more).arg("--").args(words);
    Agent::start(command)
}

#[test]
fn a_database_under_constant_writes_goes_on_whole() {
    let cluster = Cluster::start(3, 1);
    let program = bins::example("ledger");
    let run = |node: &str, more: &[&str]| {
        let live = cluster.scratch().join(format!("{node}.db"));
        agent(&cluster, node, "app/ledger", more, &[program.to_str().unwrap(), live.to_str().unwrap()])
    };
    let mut first = run("n1", &[]);
    first.until_said("begins with 0 entries");
    let mut second = run("n2", &["--standby"]);
    second.until("standing_by");
    first.until_said("saved ");
    cluster.kill("n1");
    first.kill();
    let saved = first.until_said("saved ");
    let begun = second.until_said("begins with ");
    let number = |text: &str| text.split(' ').next().unwrap().parse::<u64>().unwrap();
    assert!(number(&begun) >= number(&saved), "{saved} was acknowledged, and it begins with {begun}");
    assert!(begun.ends_with("in epoch 3"), "{begun}");
    second.until_said("saved ");
}

#[test]
fn clients_of_a_server_go_on_through_the_failover() {
    let cluster = Cluster::start(3, 1);
    let program = bins::example("counter");
    let mut ports = prepared::free_ports(2);
    let servers = [(); 2].map(|()| format!("127.0.0.1:{}", ports.next().unwrap()));
    let run = |node: &str, more: &[&str], server: &str| {
        agent(&cluster, node, "app/counter", more, &[program.to_str().unwrap(), "serve", server])
    };
    let mut first = run("n1", &[], &servers[0]);
    first.until_said("serves from 0 on");
    let mut second = run("n2", &["--standby"], &servers[1]);
    second.until("standing_by");
    let mut client = Command::new(&program);
    client.args(["add", &servers.join(","), "60"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut client = client.spawn().unwrap();
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines().map_while(Result::ok);
    let before: Vec<String> = lines.by_ref().take(20).collect();
    cluster.kill("n1");
    first.kill();
    // Whatever it was told goes on, one by one: nothing is lost, and nothing counted twice.
    let told: Vec<String> = before.into_iter().chain(lines).collect();
    assert!(client.wait().unwrap().success(), "{told:?}");
    let counts: Vec<u64> = told.iter().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect();
    assert_eq!(counts, (1..=60).collect::<Vec<u64>>(), "{told:?}");
    assert!(told[0].ends_with("epoch 2") && told[59].ends_with("epoch 3"), "{told:?}");
    until("the standby has said so", || (second.count("started") == 1).then_some(()));
}
