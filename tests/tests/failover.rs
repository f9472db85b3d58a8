//! The failover agent: a command goes on where its node was lost, and never twice.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::fs;
use std::path::{Path, PathBuf};

use cairn_tests::agent::{Agent, COUNTER, is_gone, process, until_gone, words};
use cairn_tests::wait::until;
use cairn_tests::{Cluster, Run};
use rustix::process::Signal;
use serde_json::{Value, json};

/// The path of the state on a node.
fn state(cluster: &Cluster, node: &str) -> PathBuf {
    let dir = cluster.scratch().join(node);
    fs::create_dir_all(&dir).unwrap();
    dir.join("state")
}

fn start(cluster: &Cluster, node: &str, more: &[&str], script: &str) -> Agent {
    let state = state(cluster, node);
    Agent::start(cluster.command(node, words("app/state", &state, more, script)))
}

/// The number that the counter began at, its epoch and its version.
fn began(line: &str) -> [u64; 3] {
    let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    [numbers[0], numbers[1], numbers[2]]
}

fn number_in(path: &Path) -> u64 {
    fs::read_to_string(path).unwrap().trim().parse().unwrap()
}

/// A counter that does not end when it is asked to.
fn deaf_counter() -> String {
    let lines = COUNTER.lines().map(|line| if line.contains("TERM") { "trap '' TERM" } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

const FAST: [&str; 4] = ["--every", "200ms", "--lease", "2s"];
const STANDBY: [&str; 5] = ["--every", "200ms", "--lease", "2s", "--standby"];

#[test]
fn a_standby_goes_on_when_node_and_application_are_lost() {
    let cluster = Cluster::start(3, 1);
    let mut first = start(&cluster, "n1", &FAST, COUNTER);
    assert_eq!(began(&first.until_said("begins at ")), [0, 2, 0]);
    first.until("saved");
    let mut standbys: Vec<Agent> = ["n2", "n3"].map(|node| start(&cluster, node, &STANDBY, COUNTER)).into();
    for standby in &mut standbys {
        standby.until("standing_by");
        standby.until("applied");
    }
    let saved = first.until("saved")["version"].as_u64().unwrap();
    cluster.kill("n1");
    first.kill();

    let next =
        until("one of them has taken over", || standbys.iter().position(|standby| standby.count("started") > 0));
    let mut next_one = standbys.swap_remove(next);
    let mut other = standbys.remove(0);
    let [number, epoch, version] = began(&next_one.until_said("begins at "));
    assert!(number > 0 && version >= saved && epoch == 3, "{number}, {epoch}, {version}; {saved} was acknowledged");
    next_one.until("saved");
    assert_eq!(other.count("started"), 0, "{:?}", other.all());

    // Asked to end, it saves, and hands over at once.
    next_one.signal(Signal::TERM);
    let told = next_one.end().expect(0);
    let last: u64 = told.text().lines().last().unwrap().strip_prefix("ends at ").unwrap().parse().unwrap();
    other.until("started");
    let [number, epoch, _] = began(&other.until_said("begins at "));
    assert_eq!((number, epoch), (last, 4));
    assert_eq!(cluster.show("n2", "app/state")["epoch"], 4);
}

#[test]
fn who_is_stopped_past_its_lease_has_lost_its_command_before_another_begins() {
    let cluster = Cluster::start(3, 0);
    // It would rather not end.
    let stubborn = deaf_counter();
    let mut first = start(&cluster, "n1", &FAST, &stubborn);
    let command = process(&first.until_said("begins at "));
    first.until("saved");
    let mut second = start(&cluster, "n2", &STANDBY, COUNTER);
    second.until("standing_by");
    first.signal(Signal::STOP);
    second.until("claimed");
    assert!(is_gone(command), "the first one's command runs while the second one owns");
    second.until("started");
    first.signal(Signal::CONT);
    let told = first.end().expect(4);
    assert!(told.stderr.contains("lease is lost"), "{told:?}");

    // Whoever still believes to own it does not save.
    let stale = state(&cluster, "n1");
    Run::of(cluster.command("n1", ["save", "app/state", "--epoch", "2"]).arg(&stale)).expect(4);
    Run::of(cluster.command("n1", ["save", "app/state"]).arg(&stale)).expect(4);
    second.until("saved");
}

#[test]
fn without_a_quorum_the_command_is_ended_in_time() {
    let mut cluster = Cluster::start(3, 0);
    let mut agent = start(&cluster, "n1", &STANDBY, COUNTER);
    agent.until("saved");
    cluster.kill("n2");
    cluster.kill("n3");
    let lost = agent.until("stopping");
    assert!(lost["message"].as_str().unwrap().contains("was not renewed in time"), "{lost}");
    let first = began(&agent.until_said("begins at "));
    agent.until_said("ends at ");
    agent.until("lost");
    // It waits for its turn, which comes when there is a quorum again.
    cluster.revive("n2");
    agent.until("claimed");
    agent.until("started");
    until("it began once more", || {
        (agent.said().iter().filter(|line| line.starts_with("begins")).count() == 2).then_some(())
    });
    let second = began(&agent.until_said("begins at "));
    assert!(second[1] > first[1], "{first:?}, {second:?}");
}

#[test]
fn who_was_asked_to_end_does_not_stand_by() {
    let cluster = Cluster::start(3, 0);
    let deaf = deaf_counter();
    let mut agent = start(&cluster, "n1", &[&STANDBY[..], &["--grace", "1h"]].concat(), &deaf);
    agent.until("saved");
    cluster.kill("n2");
    cluster.kill("n3");
    agent.until("stopping");
    agent.signal(Signal::TERM);
    agent.until("ending");
    let told = agent.end().expect(5);
    assert!(told.error()["message"].as_str().unwrap().contains("the lease is lost"), "{told:?}");
}

#[test]
fn a_guard_that_is_stopped_does_not_keep_a_command_alive() {
    let cluster = Cluster::start(3, 0);
    let mut agent = start(&cluster, "n1", &FAST, COUNTER);
    let command = process(&agent.until_said("begins at "));
    agent.until("saved");
    rustix::process::kill_process(agent.guard(), Signal::STOP).unwrap();
    cluster.kill("n2");
    cluster.kill("n3");
    until_gone(command);
    agent.until("lost");
    agent.end().expect(5);
}

#[test]
fn a_standby_that_has_the_newest_version_waits_in_peace() {
    let cluster = Cluster::start(3, 0);
    let idle = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done";
    let [one, two] = ["n1", "n2"].map(|node| state(&cluster, node));
    fs::write(&one, "the same").unwrap();
    fs::copy(&one, &two).unwrap();
    let mut first = start(&cluster, "n1", &["--lease", "2s"], idle);
    first.until("started");
    let mut second = start(&cluster, "n2", &["--lease", "2s", "--standby"], idle);
    second.until("standing_by");
    // It is told of nothing: neither does it ask again and again.
    let told = second.all().len();
    cluster.cairn("n3", ["save", "app/other", one.to_str().unwrap(), "--replicas", "0"]).expect(0);
    assert_eq!(second.all().len(), told, "{:?}", second.all());
    assert!(second.count("applied") == 0 && second.count("replaced") == 0, "{:?}", second.all());
    first.kill();
    second.until("started");
    assert_eq!((second.count("applied"), second.count("standing_by")), (0, 1), "{:?}", second.all());
}

#[test]
fn what_the_application_saves_is_not_followed_by_what_it_had_before() {
    let cluster = Cluster::start(3, 0);
    let cairn = cairn_tests::bins::cairn();
    // The agent saves all the time, and the application what it has just put there.
    let script = format!(
        r#"trap 'exit 0' TERM
           n=0
           while :; do
               n=$((n + 1)); echo "$n" > "$CAIRN_STATE.new"; mv "$CAIRN_STATE.new" "$CAIRN_STATE"
               "{}" save "$CAIRN_NAME" "$CAIRN_STATE" > /dev/null && echo "saved $n"
           done"#,
        cairn.display()
    );
    let agent = start(&cluster, "n1", &["--every", "100ms", "--lease", "5s"], &script);
    let out = cluster.scratch().join("out");
    let acknowledged = || agent.until_said("saved ").parse::<u64>().unwrap();
    for _ in 0..10 {
        let before = acknowledged();
        let load = ["load", "app/state", "--force", "--out", out.to_str().unwrap()];
        cluster.cairn("n2", load).expect(0);
        assert!(number_in(&out) >= before, "{before} was acknowledged, and {} is the newest", number_in(&out));
        until("it goes on", || (acknowledged() > before).then_some(()));
    }
    assert_eq!(agent.count("lost"), 0, "{:?}", agent.all());
}

#[test]
fn whatever_a_command_forks_ends_with_its_agent_or_its_guard() {
    let cluster = Cluster::start(1, 0);
    let forks = r#"
        setsid sh -c 'echo "session $$"; exec sleep 1000' &
        (sh -c 'echo "orphan $$"; exec sleep 1000' &)
        echo "main $$"; exec sleep 1000
    "#;
    let more = [&FAST[..], &["--replicas", "0"]].concat();
    for guard in [false, true] {
        let mut agent = start(&cluster, "n1", &[&more[..], &["--restarts", "0"]].concat(), forks);
        let all = ["session ", "orphan ", "main "].map(|start| process(&agent.until_said(start)));
        agent.until("started");
        if guard {
            rustix::process::kill_process(agent.guard(), Signal::KILL).unwrap();
            agent.end().expect(1);
            assert!(all.iter().all(|pid| is_gone(*pid)));
        } else {
            agent.kill();
            all.into_iter().for_each(until_gone);
        }
    }
}

#[test]
fn a_command_that_is_done_leaves_its_state_saved_and_the_lease_free() {
    let cluster = Cluster::start(3, 0);
    let more = ["--every", "never", "--lease", "1h"];
    let done = start(&cluster, "n1", &more, r#"echo done > "$CAIRN_STATE""#).end().expect(0);
    assert!(done.stderr.contains("version 1 is saved"), "{done:?}");
    let shown = cluster.show("n2", "app/state");
    assert_eq!((&shown["owner"], &shown["lease"], &shown["head"]), (&Value::Null, &Value::Null, &json!(1)));

    // What is asked of it meanwhile: a save, by a signal and by the command itself; and what is the command's alone.
    let cairn = cairn_tests::bins::cairn();
    let script = format!(
        r#"trap 'echo two > "$CAIRN_STATE"; "{0}" save "$CAIRN_NAME" "$CAIRN_STATE"; echo saved; kill -USR1 $PPID' HUP
           trap 'exit 0' TERM
           cat "$CAIRN_STATE"; echo one > "$CAIRN_STATE"; echo ready; while :; do sleep 0.1; done"#,
        cairn.display()
    );
    let mut agent = start(&cluster, "n2", &more, &script);
    agent.until_said("ready");
    agent.signal(Signal::USR1);
    assert_eq!(agent.until("saved")["version"], 2);
    agent.signal(Signal::HUP);
    agent.until_said("saved");
    let shown = cluster.show("n1", "app/state");
    assert_eq!((&shown["head"], &shown["owner"]), (&json!(3), &json!("n2")));
    agent.signal(Signal::INT);
    agent.signal(Signal::TERM);
    let told = agent.end().expect(0).text();
    assert!(told.starts_with("done\nready\n"), "{told}");
}

#[test]
fn a_command_that_fails_is_started_again_and_then_given_up() {
    let cluster = Cluster::start(3, 0);
    let agent = start(&cluster, "n1", &["--every", "never", "--restarts", "2"], "echo begins; exit 7");
    let told = agent.end().expect(1);
    assert_eq!(told.text(), "begins\nbegins\nbegins");
    let error = told.error();
    assert!(error["message"].as_str().unwrap().contains("the command failed: it ended with code 7"), "{error}");
    let shown = cluster.show("n2", "app/state");
    assert_eq!((&shown["owner"], &shown["lease"]), (&Value::Null, &Value::Null));

    // One that goes to the background would run on without anybody who looks after it.
    let away =
        start(&cluster, "n1", &["--every", "never"], r#"setsid sh -c 'echo "away $$"; exec sleep 1000' & sleep 0.3"#);
    let process = process(&away.until_said("away "));
    let told = away.end().expect(1);
    assert!(told.error()["message"].as_str().unwrap().contains("left a process behind"), "{told:?}");
    assert!(is_gone(process));
}

#[test]
fn a_save_that_fails_never_ends_the_command() {
    let mut cluster = Cluster::start(3, 0);
    let mut agent = start(&cluster, "n1", &FAST, COUNTER);
    agent.until("saved");
    // Two other nodes are asked for, and one is left.
    cluster.kill("n3");
    let failed = agent.until("save_failed");
    assert!(failed["message"].as_str().unwrap().contains("durability not reached"), "{failed}");
    cluster.revive("n3");
    agent.until("saved");

    // A state that is gone is no state: the last version stands.
    let state = state(&cluster, "n1");
    agent.signal(Signal::STOP);
    let command = process(&agent.until_said("begins at "));
    rustix::process::kill_process(command, Signal::STOP).unwrap();
    // What it had begun is done: else that would bring the state back.
    let children = format!("/proc/{0}/task/{0}/children", command.as_raw_nonzero());
    until("what it runs has ended", || {
        let children = fs::read_to_string(&children).unwrap();
        children.split_whitespace().all(|child| is_gone(process(child))).then_some(())
    });
    let aside = state.with_extension("aside");
    fs::rename(&state, &aside).unwrap();
    agent.signal(Signal::CONT);
    let failed = agent.until("save_failed");
    assert!(failed["message"].as_str().unwrap().contains("is gone"), "{failed}");
    fs::rename(&aside, &state).unwrap();
    rustix::process::kill_process(command, Signal::CONT).unwrap();
    agent.until("saved");
    assert_eq!((agent.count("started"), agent.count("lost")), (1, 0), "{:?}", agent.all());
}

#[test]
fn what_is_at_the_path_is_the_first_version_or_is_put_aside() {
    let cluster = Cluster::start(3, 0);
    let path = state(&cluster, "n1");
    fs::write(&path, "41\n").unwrap();
    let mut first = start(&cluster, "n1", &FAST, COUNTER);
    assert_eq!(began(&first.until_said("begins at ")), [41, 2, 1]);
    first.until("saved");
    first.until("saved");
    first.signal(Signal::TERM);
    first.end().expect(0);

    let newest = number_in(&path);
    let elsewhere = state(&cluster, "n2");
    fs::write(&elsewhere, "7\n").unwrap();
    let mut second = start(&cluster, "n2", &FAST, COUNTER);
    second.until("replaced");
    assert_eq!(began(&second.until_said("begins at "))[0], newest);
    assert_eq!(number_in(&elsewhere.with_extension("replaced")), 7);
    second.signal(Signal::TERM);
    second.end().expect(0);
}

#[test]
fn a_state_may_be_a_folder() {
    let cluster = Cluster::start(3, 0);
    let script = r#"mkdir -p "$CAIRN_STATE/sub"; echo "has $(ls "$CAIRN_STATE/sub" | wc -l)"; date +%N > "$CAIRN_STATE/sub/$CAIRN_EPOCH"
        trap 'exit 0' TERM; while :; do sleep 0.1; done"#;
    let run = |node: &str, number: usize| {
        let path = cluster.scratch().join(node);
        fs::create_dir_all(&path).unwrap();
        let mut path = path.join("tree").into_os_string();
        path.push("/");
        let agent = Agent::start(cluster.command(node, words("app/tree", Path::new(&path), &FAST, script)));
        assert_eq!(agent.until_said("has "), number.to_string());
        agent.signal(Signal::TERM);
        agent.end().expect(0);
    };
    run("n1", 0);
    run("n2", 1);
    run("n1", 2);
    let shown = cluster.show("n3", "app/tree");
    assert_eq!(shown["kind"], "tree");
    // What did not change is neither put aside nor saved once more.
    let path = cluster.scratch().join("n1/tree");
    let list = words("app/tree", &path, &FAST, r#"ls "$CAIRN_STATE""#);
    let same = Agent::start(cluster.command("n1", list)).end().expect(0);
    assert!(!same.stderr.contains("replaced") && !same.stderr.contains("is saved"), "{same:?}");
    assert_eq!(cluster.show("n3", "app/tree")["head"], shown["head"]);
}

#[test]
fn a_state_may_lie_on_another_file_system() {
    let cluster = Cluster::start(2, 0);
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else { return };
    let path = dir.path().join("state");
    let more = [&FAST[..], &["--replicas", "1"]].concat();
    let mut first = Agent::start(cluster.command("n1", words("app/state", &path, &more, COUNTER)));
    first.until("saved");
    first.signal(Signal::TERM);
    first.end().expect(0);
    let number = number_in(&path);
    fs::remove_file(&path).unwrap();
    let second = Agent::start(cluster.command("n2", words("app/state", &path, &more, COUNTER)));
    assert_eq!(began(&second.until_said("begins at "))[0], number);
}

/// Where Debian's package `faketime` has its library.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

#[test]
#[allow(clippy::print_stderr, reason = "a test that was skipped must say so")]
fn a_clock_that_jumps_changes_nothing() {
    if !Path::new(FAKETIME).exists() {
        eprintln!("SKIPPED: a clock that jumps needs the package faketime");
        return;
    }
    let cluster = Cluster::start(3, 0);
    let (path, clock) = (state(&cluster, "n1"), cluster.scratch().join("clock"));
    let set = |offset: &str| {
        let new = clock.with_extension("new");
        fs::write(&new, offset).unwrap();
        fs::rename(&new, &clock).unwrap();
    };
    set("+0");
    let mut command = cluster.command("n1", words("app/state", &path, &FAST, COUNTER));
    command.env("LD_PRELOAD", FAKETIME).env("FAKETIME_TIMESTAMP_FILE", &clock).env("FAKETIME_NO_CACHE", "1");
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let mut agent = Agent::start(command);
    let day = |line: &Value| line["at"].as_str().unwrap()[..10].to_owned();
    let today = day(&agent.until("saved"));
    for offset in ["+1d", "-1d", "+400d"] {
        set(offset);
        // Its words show that it has jumped.
        until("its clock has jumped", || (day(&agent.until("saved")) != today).then_some(()));
        agent.until("saved");
    }
    assert_eq!(
        (agent.count("started"), agent.count("lost"), agent.count("stopping")),
        (1, 0, 0),
        "{:?}",
        agent.all()
    );
    let lease = cluster.show("n2", "app/state")["lease"]["remaining_ms"].as_u64().unwrap();
    assert!(lease <= 2000, "{lease}");
}
