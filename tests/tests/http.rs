//! Health and metrics over HTTP: what a probe, a failover controller and Prometheus get to hear.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use cairn_tests::wait::{PATIENCE, until};
use cairn_tests::{Cluster, Run, Shared, bins, files, prepared};
use serde_json::Value;

static CLUSTER: Shared = Shared::new(3, 0);

/// Three blocks and a bit.
const SIZE: u64 = 3 * files::BLOCK + 5;

/// Every name of the contract, as it is written.
const NAMES: [&str; 21] = [
    "cairn_build_info{version=\"",
    "cairn_raft_has_leader ",
    "cairn_raft_applied_lag_entries ",
    "cairn_segments{state=\"replicated\"} ",
    "cairn_segments{state=\"under_replicated\"} ",
    "cairn_segments_under_replicated ",
    "cairn_replication_lag_seconds ",
    "cairn_replication_queue_bytes ",
    "cairn_transfer_bytes_total{direction=\"sent\"} ",
    "cairn_transfer_bytes_total{direction=\"received\"} ",
    "cairn_save_duration_seconds_count ",
    "cairn_load_duration_seconds_count ",
    "cairn_checksum_failures_total ",
    "cairn_store_free_bytes ",
    "cairn_global_reached ",
    "cairn_global_backlog_versions ",
    "cairn_global_backlog_bytes ",
    "cairn_global_backlog_seconds ",
    "cairn_global_failures_total ",
    "cairn_transfer_bytes_total{direction=\"archived\"} ",
    "cairn_transfer_bytes_total{direction=\"recalled\"} ",
];

/// Sends one request, and gives the answer's status and body.
fn ask(cluster: &Cluster, node: &str, line: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(cluster.node(node).http)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "{line} HTTP/1.1\r\nHost: cairn\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    status.zip(body).ok_or_else(|| io::Error::other(format!("no answer: {text:?}")))
}

#[track_caller]
fn get(cluster: &Cluster, node: &str, path: &str) -> (u16, String) {
    ask(cluster, node, &format!("GET {path}")).unwrap()
}

/// Waits for an answer with this status, and gives its body.
#[track_caller]
fn until_status(cluster: &Cluster, node: &str, path: &str, status: u16) -> String {
    until(&format!("{path} of {node} is {status}"), || {
        ask(cluster, node, &format!("GET {path}")).ok().and_then(|(is, body)| (is == status).then_some(body))
    })
}

fn json(body: &str) -> Value {
    serde_json::from_str(body).unwrap()
}

/// One sample of `/metrics`, by everything that stands before its value.
#[track_caller]
fn sample(cluster: &Cluster, node: &str, name: &str) -> f64 {
    let (status, text) = get(cluster, node, "/metrics");
    assert_eq!(status, 200, "{text}");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}: {text}")).parse().unwrap()
}

fn save(cluster: &Cluster, node: &str, name: &str, replicas: &str) -> PathBuf {
    let seed = u64::from_le_bytes(blake3::hash(name.as_bytes()).as_bytes()[..8].try_into().unwrap());
    let file = files::random(&cluster.scratch(), name, SIZE, seed);
    let args = ["save".as_ref(), name.as_ref(), file.as_os_str(), "--replicas".as_ref(), replicas.as_ref()];
    cluster.cairn(node, args).expect(0);
    file
}

#[test]
fn a_healthy_cluster_says_so_at_every_node() {
    let cluster = CLUSTER.get();
    for node in ["n1", "n2", "n3"] {
        assert_eq!(get(&cluster, node, "/livez"), (200, "ok\n".into()));
        assert_eq!(until_status(&cluster, node, "/readyz", 200), "ok\n");
        let verbose = until_status(&cluster, node, "/readyz?verbose", 200);
        assert_eq!(verbose, "node ok\nleader ok\nstate ok\ndisk ok\n");
        let health = until_status(&cluster, node, "/health/cluster", 200);
        assert_eq!(json(&health), serde_json::json!({ "healthy": true, "reasons": [] }));
        for path in ["/", "/livez/", "/health", "/metrics/cluster", "/%2e%2e/node.toml"] {
            assert_eq!(get(&cluster, node, path).0, 404, "{path}");
        }
        assert_eq!(ask(&cluster, node, "POST /livez").unwrap().0, 405);
    }
}

#[test]
fn metrics_have_the_names_of_the_contract_and_follow_what_happens() {
    let cluster = CLUSTER.get();
    let all = |name: &str| ["n1", "n2", "n3"].map(|node| sample(&cluster, node, name)).iter().sum::<f64>();
    let (sent, received) =
        ("cairn_transfer_bytes_total{direction=\"sent\"}", "cairn_transfer_bytes_total{direction=\"received\"}");
    let before = (all(sent), all(received));
    save(&cluster, "n1", "measured", "2");
    let two = (2 * SIZE) as f64;
    assert!(all(sent) >= before.0 + two && all(received) >= before.1 + two, "two copies went over the network");
    assert!(sample(&cluster, "n1", "cairn_save_duration_seconds_count") >= 1.0);
    let loads = sample(&cluster, "n2", "cairn_load_duration_seconds_count");
    cluster.cairn("n2", ["load", "measured"]).expect(0);
    assert!(sample(&cluster, "n2", "cairn_load_duration_seconds_count") > loads);

    let (_, text) = get(&cluster, "n1", "/metrics");
    for name in NAMES {
        assert!(text.lines().any(|line| line.starts_with(name)), "{name} is missing: {text}");
    }
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert!(!text.contains("measured"), "no segment is named: {text}");
    assert!(sample(&cluster, "n1", "cairn_segments{state=\"replicated\"}") >= 1.0);
    assert_eq!(sample(&cluster, "n3", "cairn_raft_has_leader"), 1.0);
    assert!(sample(&cluster, "n1", "cairn_store_free_bytes") > 0.0);
}

#[test]
fn bytes_that_do_not_verify_are_counted() {
    let cluster = Cluster::start(3, 0);
    let file = save(&cluster, "n1", "damaged", "1");
    let digest = files::digest(&file);
    let holders = cluster.holders("n1", "damaged");
    let holder = holders.iter().map(|(node, _)| node.as_str()).find(|node| *node != "n1").unwrap();
    // The owner itself finds its own copy bad, and takes the other one.
    let copy = cluster.copy_on("n1", &digest).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).unwrap();
    let mut bytes = fs::read(&copy).unwrap();
    bytes[17] ^= 1;
    fs::write(&copy, &bytes).unwrap();
    let name = "cairn_checksum_failures_total";
    assert_eq!((sample(&cluster, "n1", name), sample(&cluster, holder, name)), (0.0, 0.0));
    cluster.cairn("n1", ["load", "damaged"]).expect(0);
    assert!(sample(&cluster, "n1", name) >= 1.0);
    assert_eq!(sample(&cluster, holder, name), 0.0);
}

#[test]
fn a_lost_node_and_a_lost_quorum_are_told_and_never_kill_the_living() {
    let cluster = Cluster::start(3, 0);
    save(&cluster, "n1", "watched", "2");
    until_status(&cluster, "n1", "/health/cluster", 200);
    assert_eq!(sample(&cluster, "n1", "cairn_segments_under_replicated"), 0.0);

    cluster.kill("n3");
    let health = json(&until_status(&cluster, "n1", "/health/cluster", 503));
    assert_eq!(health["healthy"], false);
    let reasons = until("the reasons name the node", || {
        let health = json(&get(&cluster, "n1", "/health/cluster").1);
        let reasons = health["reasons"].as_array().unwrap().clone();
        reasons.iter().any(|reason| reason == "node n3 is down").then_some(reasons)
    });
    let told = cluster.cairn("n1", ["cluster", "health"]).expect(1).json();
    assert_eq!(told["reasons"].as_array().unwrap(), &reasons, "the command says the same");
    assert_eq!(sample(&cluster, "n1", "cairn_segments_under_replicated"), 1.0);
    assert_eq!(sample(&cluster, "n1", "cairn_segments{state=\"under_replicated\"}"), 1.0);
    assert_eq!(sample(&cluster, "n1", "cairn_replication_queue_bytes"), SIZE as f64);
    assert!(sample(&cluster, "n1", "cairn_replication_lag_seconds") > 0.0);
    // A majority serves on.
    assert_eq!(until_status(&cluster, "n1", "/readyz", 200), "ok\n");

    cluster.kill("n2");
    let text = until_status(&cluster, "n1", "/readyz", 503);
    assert!(text.contains("leader failed: ") && !text.contains("disk"), "only what failed is told: {text}");
    let (status, verbose) = get(&cluster, "n1", "/readyz?verbose=1");
    assert_eq!((status, verbose.lines().count()), (503, 4), "{verbose}");
    assert!(verbose.contains("node ok\nleader failed: ") && verbose.ends_with("disk ok\n"), "{verbose}");
    assert_eq!(get(&cluster, "n1", "/livez"), (200, "ok\n".into()));
    let health = json(&until_status(&cluster, "n1", "/health/cluster", 503));
    assert!(health["reasons"][0].as_str().unwrap().contains("no leader"), "{health}");
    assert_eq!(sample(&cluster, "n1", "cairn_raft_has_leader"), 0.0);
}

#[test]
fn a_disk_below_its_reserve_is_not_ready_but_alive() {
    let cluster = prepared::start(1, 0, &[("n1", "limits.reserve", "1000000GiB")]);
    let text = until_status(&cluster, "n1", "/readyz", 503);
    assert!(text.starts_with("disk failed: ") && text.contains("limits.reserve"), "{text}");
    assert_eq!(get(&cluster, "n1", "/livez"), (200, "ok\n".into()));
    let health = json(&until_status(&cluster, "n1", "/health/cluster", 503));
    assert!(health["reasons"][0].as_str().unwrap().contains("the disk of node n1"), "{health}");
}

#[test]
fn whatever_comes_in_at_the_port_the_node_lives_on() {
    // Its own: meanwhile nobody else would get a place.
    let cluster = Cluster::start(1, 0);
    let connect = || {
        let stream = TcpStream::connect(cluster.node("n1").http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    let long = format!("GET /livez HTTP/1.1\r\nHost: {}\r\n\r\n", "x".repeat(1 << 20));
    let big = b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n".as_slice();
    let garbage = files::random(&cluster.scratch(), "garbage", files::BLOCK, 9);
    let garbage = fs::read(garbage).unwrap();
    for bytes in [&garbage, long.as_bytes(), big, b"\r\n\r\n\r\n", b"GET", b"GET /livez HTTP/9.9\r\n\r\n", b"\0"] {
        let mut stream = connect();
        // The node may close while it is still being written to.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        assert_eq!(get(&cluster, "n1", "/livez").0, 200);
    }
    // Who says nothing, or too little, is left in time, and more of them than there are places stop nobody for long.
    let mut silent: Vec<TcpStream> = std::iter::repeat_with(connect).take(400).collect();
    let _ = silent[0].write_all(b"GET /livez HTTP/1.1\r\n");
    assert_eq!(until_status(&cluster, "n1", "/livez", 200), "ok\n");
    for mut stream in silent {
        let read = stream.read(&mut [0; 256]);
        assert!(!matches!(read, Err(ref e) if e.kind() == io::ErrorKind::WouldBlock), "it was not left: {read:?}");
    }
    cluster.cairn("n1", ["node", "ls"]).expect(0);
}

#[test]
fn an_address_in_use_is_said_before_anything_is_done() {
    let cluster = Cluster::start(1, 0);
    let node = cluster.node("n1");
    cluster.kill("n1");
    let _taken = TcpListener::bind(&node.http).unwrap();
    let mut command = Command::new(bins::cairnd());
    let run = Run::of(command.arg("start").arg("--config").arg(node.dir.join("cairnd.toml"))).expect(1);
    assert!(run.stderr.contains(&format!("cannot listen on {}", node.http)), "{}", run.stderr);
}
