//! `cairn bench`: what it prints, what it refuses, and that it leaves nothing. How fast anything is, no test says.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cairn_tests::cluster::gone;
use cairn_tests::wait::until;
use cairn_tests::{Cluster, Run, bins};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A measurement that starts nodes of its own, with its folder in `dir`.
fn alone(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(bins::cairn());
    command.env_remove("CAIRN_ENDPOINTS").arg("bench").args(args).arg("--dir").arg(dir).stdin(Stdio::null());
    command
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

/// Each of these figures is a number; those that are measured in every run have a least and a greatest value too.
fn assert_figures(sheet: &Value, every_run: &[&str], once: &[&str]) {
    for key in every_run {
        let [median, min, max] = ["", "_min", "_max"].map(|end| sheet[format!("{key}{end}")].as_f64());
        assert!(median.is_some() && min <= median && median <= max, "{key}: {sheet}");
    }
    for key in once {
        assert!(sheet[*key].is_number(), "{key}: {sheet}");
    }
    for key in [
        "cpu",
        "cores",
        "memory_bytes",
        "kernel",
        "file_system",
        "load_average_before",
        "load_average_after",
        "stolen_share",
    ] {
        assert!(sheet["machine"].get(key).is_some(), "{key}: {sheet}");
    }
}

#[test]
fn transfers_are_measured_with_nodes_of_its_own_and_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    for (bench, copies) in [("save", 2), ("load", 1)] {
        let args = [bench, "--size", "1MiB", "--runs", "1", "--without-peers", "-o", "json"];
        let sheet = Run::of(&mut alone(dir.path(), &args)).expect(0).json();
        assert_eq!((&sheet["bench"], &sheet["copies"]), (&bench.into(), &copies.into()));
        assert_eq!((&sheet["size_bytes"], &sheet["runs"]), (&(1 << 20).into(), &1.into()));
        assert_eq!(sheet["worth_keeping"], false);
        let took = format!("{bench}_ms");
        let cpu = ["cpu_seconds_per_gb_and_copy", "limit_cpu_seconds_per_gb_and_copy"];
        assert_figures(&sheet, &[&took, "limit_ms", cpu[0], cpu[1]], &["limit_ratio", "peak_bytes"]);
        for absent in ["rsync_ms", "rsync_ms_min", "rsync_ratio", "rsync_cpu_seconds_per_gb_and_copy"] {
            assert_eq!(sheet.get(absent), Some(&Value::Null), "{absent}: {sheet}");
        }
        assert_eq!(entries(dir.path()), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_running_cluster_is_measured_and_keeps_only_what_was_there() {
    let cluster = Cluster::start(3, 0);
    let kept = cluster.scratch().join("kept");
    fs::write(&kept, "kept").unwrap();
    cluster.cairn("n1", ["save", "kept", kept.to_str().unwrap()]).expect(0);
    let before = entries(&cluster.node("n1").dir);
    for (args, every_run, once) in [
        (
            &["small", "--size", "4KiB", "--clients", "2", "--seconds", "1", "--runs", "1"][..],
            &["saves_per_second", "p50_ms", "p99_ms", "limit_per_second", "limit_p50_ms"][..],
            &["limit_ratio"][..],
        ),
        (
            &["meta", "--clients", "2", "--seconds", "1", "--runs", "1", "--without-peers"],
            &["claims_per_second", "p50_ms", "p99_ms", "one_client_claims_per_second", "one_client_p50_ms"],
            &["limit_p50_ms", "limit_ratio"],
        ),
        (&["memory", "--size", "5MiB"], &[], &["peak_bytes"]),
    ] {
        let sheet = cluster.cairn("n1", ["bench"].iter().chain(args)).expect(0).json();
        assert_eq!(sheet["bench"], args[0]);
        assert_figures(&sheet, every_run, once);
        if args[0] == "memory" {
            let nodes = sheet["nodes"].as_array().unwrap();
            assert!(nodes.len() == 3 && nodes.iter().all(|node| node["peak_bytes"].is_u64()), "{sheet}");
            assert_eq!(sheet["ready_ms"], Value::Null);
        }
    }
    let args = ["bench", "small", "--size", "1KiB", "--clients", "1", "--seconds", "1", "--runs", "1", "-o", "table"];
    let table = Run::of(Command::new(bins::cairn()).args(args).args(["--endpoint", &cluster.node("n1").endpoint]));
    let table = table.expect(0).text();
    assert!(table.starts_with("small: size_bytes 1024"), "{table}");
    for word in ["FIGURE", "MEDIAN", "saves_per_second", "limit_ratio", "load average", "worth_keeping false"] {
        assert!(table.contains(word), "{word}: {table}");
    }
    let left = cluster.cairn("n1", ["ls"]).expect(0).json();
    let names: Vec<&Value> = left["segments"].as_array().unwrap().iter().map(|segment| &segment["name"]).collect();
    assert_eq!(names, ["kept"]);
    assert_eq!(entries(&cluster.node("n1").dir), before);
    assert_eq!(cluster.spooled("n1"), Vec::<String>::new());
}

#[test]
fn an_absent_peer_is_an_error_that_names_its_package() {
    let (dir, empty) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (bench, package) in [("save", "apt-get install rsync"), ("meta", "apt-get install etcd-server")] {
        let mut command = alone(dir.path(), &[bench, "-o", "json"]);
        let error = Run::of(command.env("PATH", empty.path())).expect(1).error();
        let hint = error["hint"].as_str().unwrap();
        assert!(hint.contains(package) && hint.contains("--without-peers"), "{error}");
        assert_eq!(entries(dir.path()), Vec::<PathBuf>::new());
    }
}

#[test]
fn what_makes_no_sense_is_a_usage_error() {
    let dir = tempfile::tempdir().unwrap();
    for args in [
        &["save", "--runs", "0"][..],
        &["save", "--size", "1GB"],
        &["save", "--size", "0"],
        &["save", "--replicas", "0"],
        &["small", "--seconds", "0"],
        &["small", "--clients", "0"],
        &["meta", "--size", "1MiB"],
        &["memory", "--runs", "2"],
        &["shaped"],
        &[],
    ] {
        Run::of(&mut alone(dir.path(), args)).expect(2);
    }
    let missing = dir.path().join("missing");
    let refused = Run::of(&mut alone(&missing, &["small", "-o", "json"])).expect(1).error();
    assert!(refused["hint"].as_str().unwrap().contains("--dir"), "{refused}");
}

/// A measurement that does not end by itself, and the processes of its nodes.
fn going_on(dir: &Path) -> (Child, Vec<i32>) {
    let mut bench = alone(dir, &["small", "--seconds", "600", "--runs", "1", "-o", "json"]);
    let bench = bench.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pids = until("the measurement goes on", || {
        let ground = entries(dir).pop()?;
        // The spools are written to.
        fs::metadata(ground.join("source")).ok()?;
        let record = fs::read_to_string(ground.join("cluster/cluster.json")).ok()?;
        let record: Value = serde_json::from_str(&record).unwrap();
        let pid = |node: &Value| i32::try_from(node["pid"].as_i64().unwrap()).unwrap();
        Some(record["nodes"].as_array().unwrap().iter().map(pid).collect::<Vec<_>>())
    });
    assert_eq!(pids.len(), 3);
    (bench, pids)
}

#[test]
fn its_nodes_are_killed_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut bench, pids) = going_on(dir.path());
    bench.kill().unwrap();
    bench.wait().unwrap();
    until("its nodes are gone", || pids.iter().all(|pid| gone(*pid)).then_some(()));
}

#[test]
fn a_signal_ends_it_and_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let (bench, pids) = going_on(dir.path());
    kill_process(Pid::from_raw(i32::try_from(bench.id()).unwrap()).unwrap(), Signal::INT).unwrap();
    let ended = Run::from(bench.wait_with_output().unwrap()).expect(130);
    assert_eq!(ended.error()["code"], "interrupted");
    until("its nodes are gone", || pids.iter().all(|pid| gone(*pid)).then_some(()));
    assert_eq!(entries(dir.path()), Vec::<PathBuf>::new());
}

#[test]
fn many_segments_are_registered_in_a_cluster_of_its_own_only() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["many", "--segments", "1000", "--clients", "2", "--seconds", "1", "-o", "json"];
    let sheet = Run::of(&mut alone(dir.path(), &args)).expect(0).json();
    assert_eq!((&sheet["bench"], &sheet["segments"]), (&"many".into(), &1000.into()));
    let figures =
        ["registered_per_second", "peak_bytes", "lookups_per_second", "lookup_p99_ms", "backup_ms", "backup_bytes"];
    assert_figures(&sheet, &[], &figures);
    assert_figures(&sheet, &[], &["restart_ms", "restart_peak_bytes", "join_ms", "join_peak_bytes"]);
    // So few are no snapshot.
    assert!(["snapshot_ms", "snapshot_bytes"].iter().all(|key| sheet.get(*key) == Some(&Value::Null)), "{sheet}");
    assert_eq!(entries(dir.path()), Vec::<PathBuf>::new());

    let cluster = Cluster::start(1, 0);
    let refused = cluster.cairn("n1", ["bench", "many", "--segments", "10"]).expect(2).error();
    assert!(refused["message"].as_str().unwrap().contains("cluster of its own"), "{refused}");
    assert_eq!(cluster.cairn("n1", ["cluster", "status"]).expect(0).json()["segments"], 0);
}

#[test]
fn a_lost_node_and_a_lost_leader_are_measured_in_a_cluster_of_its_own_only() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["repair", "--segments", "6", "--size", "300KiB", "--clients", "2", "--seconds", "1", "-o", "json"];
    let sheet = Run::of(&mut alone(dir.path(), &args)).expect(0).json();
    assert_eq!((&sheet["bench"], &sheet["repaired_bytes"]), (&"repair".into(), &((6 * 300) << 10).into()));
    assert_figures(&sheet, &["limit_bytes_per_second"], &["repair_ms", "repair_bytes_per_second", "limit_ratio"]);
    assert_figures(&sheet, &[], &["saves_per_second", "p50_ms", "p99_ms"]);
    // So little is repaired sooner than the saves beside it could tell anything.
    assert!(["repairing_p99_ms", "p99_ratio"].iter().all(|key| sheet.get(*key).is_some()), "{sheet}");
    let sheet = Run::of(&mut alone(dir.path(), &["lead", "--runs", "1", "-o", "json"])).expect(0).json();
    assert_figures(&sheet, &["killed_ms", "handed_over_ms"], &["runs"]);
    assert_eq!(entries(dir.path()), Vec::<PathBuf>::new());

    let cluster = Cluster::start(1, 0);
    for bench in ["repair", "lead"] {
        let refused = cluster.cairn("n1", ["bench", bench]).expect(2).error();
        assert!(refused["message"].as_str().unwrap().contains("cluster of its own"), "{refused}");
    }
}
