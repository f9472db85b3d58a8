//! What an agent is given that makes no sense: refused before anything is owned, with what to do next.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::fs;

use cairn_tests::agent::{Agent, words};
use cairn_tests::{Cluster, Run, run};
use rustix::process::Signal;
use serde_json::json;

const IDLE: &str = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done";

#[test]
fn what_cannot_be_run_is_refused_before_it_is_owned() {
    let cluster = Cluster::start(3, 1);
    let dir = cluster.scratch();
    let state = dir.join("state");
    let plain = dir.join("plain");
    fs::write(&plain, "no program").unwrap();
    let plain = plain.to_str().unwrap();
    for (program, word) in [
        ("no-such-program", "there is no program"),
        ("/no/such/program", "there is no program"),
        (plain, "not executable"),
    ] {
        let args = ["run", "app", "--state", state.to_str().unwrap(), "--", program];
        let error = cluster.cairn("n1", args).expect(2).error();
        assert!(error["message"].as_str().unwrap().contains(word), "{error}");
    }
    let link = dir.join("link");
    std::os::unix::fs::symlink(&state, &link).unwrap();
    for (path, code) in [("/dev/null", 2), ("/", 2), ("/no/such/folder/state", 1), (link.to_str().unwrap(), 2)] {
        let error = cluster.cairn("n1", ["run", "app", "--state", path, "--", "true"]).expect(code).error();
        assert!(error["hint"].is_string(), "{path}: {error}");
    }
    for flags in [
        ["--lease", "0s"],
        ["--lease", "1y"],
        ["--every", "0s"],
        ["--every", "soon"],
        ["--replicas", "-1"],
        ["--restarts", "x"],
    ] {
        let args = [&["run", "app", "--state", state.to_str().unwrap()][..], &flags, &["--", "true"]].concat();
        assert_eq!(cluster.cairn("n1", args).expect(2).error()["code"], "invalid", "{flags:?}");
    }
    cluster.cairn("n1", ["run", "app", "--state", "state"]).expect(2);
    cluster.cairn("n1", ["run", "../app", "--state", "state", "--", "true"]).expect(2);
    let error = Run::of(&mut cluster.command("s1", words("app", &state, &[], IDLE))).expect(4).error();
    assert!(error["message"].as_str().unwrap().contains("storage-only"), "{error}");
    assert_eq!(cluster.cairn("n1", ["ls"]).expect(0).json()["segments"], json!([]), "nothing was registered");
}

#[test]
fn one_agent_of_a_name_on_a_node_and_one_lease_in_the_cluster() {
    let cluster = Cluster::start(3, 0);
    let state = cluster.scratch().join("state");
    let mut agent = Agent::start(cluster.command("n1", words("app", &state, &[], IDLE)));
    agent.until("started");
    for more in [&[][..], &["--standby"]] {
        let error = Run::of(&mut cluster.command("n1", words("app", &state, more, IDLE))).expect(4).error();
        assert!(error["message"].as_str().unwrap().contains("another agent runs app on n1"), "{error}");
    }
    // Nor of a path, on whatever node of the machine.
    let error = Run::of(&mut cluster.command("n2", words("app/other", &state, &[], IDLE))).expect(4).error();
    assert!(error["message"].as_str().unwrap().contains("another agent has its state"), "{error}");
    let other = cluster.scratch().join("other");
    let error = Run::of(&mut cluster.command("n2", words("app", &other, &[], IDLE))).expect(4).error();
    assert!(error["message"].as_str().unwrap().contains("owned by node n1 under a lease"), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("--standby"), "{error}");
    // A standby that is asked to end while it waits has nothing to give up.
    let mut standby = Agent::start(cluster.command("n2", words("app", &other, &["--standby"], IDLE)));
    standby.until("standing_by");
    standby.signal(Signal::TERM);
    standby.end().expect(0);
    assert_eq!(cluster.show("n3", "app")["owner"], "n1");
    agent.signal(Signal::TERM);
    agent.end().expect(0);
}

#[test]
fn a_command_that_ignores_the_end_is_killed_after_its_grace() {
    let cluster = Cluster::start(1, 0);
    let state = cluster.scratch().join("state");
    let more = ["--replicas", "0", "--grace", "300ms"];
    let deaf = "trap '' TERM INT; echo one > \"$CAIRN_STATE\"; echo ready; while :; do sleep 0.1; done";
    let agent = Agent::start(cluster.command("n1", words("app", &state, &more, deaf)));
    agent.until_said("ready");
    agent.signal(Signal::INT);
    let told = agent.end().expect(0);
    assert!(told.stderr.contains("did not end in time"), "{told:?}");
    assert_eq!(cluster.show("n1", "app")["head"], 1, "what it had was saved");
}

#[test]
fn a_name_that_is_removed_ends_its_agent() {
    let cluster = Cluster::start(3, 0);
    let state = cluster.scratch().join("state");
    let script = format!("echo one > \"$CAIRN_STATE\"; {IDLE}");
    let mut agent =
        Agent::start(cluster.command("n1", words("app", &state, &["--every", "100ms", "--lease", "2s"], &script)));
    agent.until("saved");
    cluster.cairn("n2", ["rm", "app", "--yes"]).expect(4);
    // Its own node may take the name away from under it.
    let epoch = cluster.show("n1", "app")["epoch"].to_string();
    cluster.cairn("n1", ["release", "app", "--epoch", &epoch]).expect(0);
    cluster.cairn("n1", ["rm", "app", "--yes"]).expect(0);
    let told = agent.end();
    assert!(matches!(told.code, 3 | 4), "{told:?}");
    assert!(told.error()["message"].as_str().unwrap().contains("lost"), "{told:?}");
}

#[test]
fn without_a_node_or_a_quorum_it_waits_as_long_as_it_is_told() {
    let mut cluster = Cluster::start(3, 0);
    let state = cluster.scratch().join("state");
    let nobody = format!("unix:{}", cluster.scratch().join("nobody").display());
    let mut command = run::cairn(&nobody, ["--timeout", "300ms"]);
    command.args(words("app", &state, &[], IDLE));
    let error = Run::of(&mut command).expect(5).error();
    assert!(error["hint"].as_str().unwrap().contains("is cairnd running"), "{error}");
    cluster.kill("n2");
    cluster.kill("n3");
    let mut agent = Agent::start(cluster.command("n1", words("app", &state, &[], IDLE)));
    agent.until("waiting");
    cluster.revive("n2");
    agent.until("started");
    agent.signal(Signal::TERM);
    agent.end().expect(0);
}
