//! The Pacemaker agent: every action, by hand, on machines whose nodes are real, as Pacemaker would call it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use cairn_tests::wait::until;
use cairn_tests::{Cluster, Run, Shared, bins};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

static CLUSTER: Shared = Shared::new(3, 0);

/// What the agent answers with.
const SUCCESS: i32 = 0;
const GENERIC: i32 = 1;
const ARGS: i32 = 2;
const UNIMPLEMENTED: i32 = 3;
const INSTALLED: i32 = 5;
const CONFIGURED: i32 = 6;
const NOT_RUNNING: i32 = 7;
const PROMOTED: i32 = 8;
const FAILED_PROMOTED: i32 = 9;

const PARAMETERS: [&str; 8] = ["name", "state", "endpoint", "every", "replicas", "lease", "cairn", "user"];
const ACTIONS: [&str; 8] = ["start", "stop", "promote", "demote", "monitor", "notify", "meta-data", "validate-all"];

/// Where resource-agents has the rules of descriptions.
const RULES: &str = "/usr/share/resource-agents";

/// A machine: a node, and the folders that are its own.
struct Machine {
    dir: PathBuf,
    /// Of the agent, without the prefix.
    parameters: Vec<(&'static str, String)>,
}

fn agent() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("deploy/ocf/cairn")
}

impl Machine {
    /// That of a node, for the state of `name`.
    fn new(cluster: &Cluster, node: &str, name: &str) -> Self {
        let dir = cluster.scratch().join(name).join(node);
        fs::create_dir_all(&dir).unwrap();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let parameters = vec![
            ("name", name.to_owned()),
            ("state", text(&dir.join("state"))),
            ("endpoint", cluster.node(node).endpoint),
            ("every", "100ms".to_owned()),
            ("cairn", text(&bins::cairn())),
            // In milliseconds; as Pacemaker tells it.
            ("CRM_meta_timeout", "60000".to_owned()),
        ];
        Self { dir, parameters }
    }

    /// The same, with another value of a parameter.
    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.parameters.retain(|(known, _)| *known != name);
        self.parameters.push((name, value.to_owned()));
        self
    }

    fn command(&self, action: &str) -> Command {
        let mut command = Command::new(agent());
        // So that what Debian ships with it is not needed.
        command.arg(action).env("OCF_FUNCTIONS_DIR", &self.dir).env("OCF_RESOURCE_INSTANCE", "state:0");
        command.env("HA_RSCTMP", self.dir.join("run"));
        for (name, value) in &self.parameters {
            command.env(format!("OCF_RESKEY_{name}"), value);
        }
        command
    }

    /// Insists on what an action answers.
    #[track_caller]
    fn act(&self, action: &str, code: i32) -> Run {
        Run::of(&mut self.command(action)).expect(code)
    }

    /// The same, and on words about why.
    #[track_caller]
    fn refuse(&self, action: &str, code: i32, why: &str) {
        let run = self.act(action, code);
        assert!(run.stderr.contains("ocf-exit-reason:") && run.stderr.contains(why), "{action}: {run:?}");
    }

    fn until_monitor_says(&self, code: i32) {
        until(&format!("the monitor says {code}"), || {
            (Run::of(&mut self.command("monitor")).code == code).then_some(())
        });
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn write(&self, text: &str) {
        // As an application should: nobody sees half of it.
        fs::write(self.path("next"), text).unwrap();
        fs::rename(self.path("next"), self.path("state")).unwrap();
    }

    /// What is in a file; nothing if there is none.
    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn until_state(&self, text: &str) {
        until(&format!("the state is {text:?}"), || (self.read("state") == text).then_some(()));
    }

    /// The process that does a part of the work.
    fn process(&self, part: &str) -> Pid {
        let text = self.read(&format!("run/cairn-state/{part}.pid"));
        let pid = text.split_whitespace().next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
        pid.unwrap_or_else(|| panic!("there is no {part}: {text:?}"))
    }
}

impl Drop for Machine {
    /// A test that failed leaves nothing running.
    fn drop(&mut self) {
        if self.path("run").exists() {
            let mut stop = self.command("stop");
            stop.env("OCF_RESKEY_CRM_meta_timeout", "5000");
            Run::of(&mut stop);
        }
    }
}

fn head(cluster: &Cluster, at: &str, name: &str) -> u64 {
    cluster.show(at, name)["head"].as_u64().unwrap()
}

#[test]
fn the_state_goes_where_the_promotion_goes() {
    let cluster = Cluster::start(3, 0);
    let name = "app/moving";
    // Its own node first.
    let all = ["n1", "n2", "n3"].map(|node| cluster.node(node).endpoint).join(",");
    let one = Machine::new(&cluster, "n1", name).with("endpoint", &all).with("replicas", "1");
    let two = Machine::new(&cluster, "n2", name).with("replicas", "1");
    for machine in [&one, &two] {
        machine.act("validate-all", SUCCESS);
        machine.act("monitor", NOT_RUNNING);
        machine.act("promote", NOT_RUNNING);
        machine.act("demote", NOT_RUNNING);
        machine.act("stop", SUCCESS);
    }

    // The first state is on n1; twice is once.
    one.write("one");
    for machine in [&one, &one, &two] {
        machine.act("start", SUCCESS);
        machine.act("monitor", SUCCESS);
    }
    let follower = one.process("follower");
    one.act("start", SUCCESS);
    assert_eq!(one.process("follower"), follower, "another was started");
    one.act("notify", SUCCESS);
    for _ in 0..2 {
        one.act("promote", SUCCESS);
        one.act("monitor", PROMOTED);
    }
    two.act("monitor", SUCCESS);
    assert_eq!(one.read("state.epoch"), "1\n");
    assert_eq!(cluster.show("n3", name)["owner"], "n1");

    // What changes is saved, and comes to the other machine; what does not change is not.
    two.until_state("one");
    assert_eq!(head(&cluster, "n3", name), 1);
    one.write("two");
    until("it is saved", || (head(&cluster, "n3", name) == 2).then_some(()));
    two.until_state("two");
    one.act("monitor", PROMOTED);

    // A saver that ends is missed; a demotion saves what it did not.
    let saver = one.process("saver");
    kill_process_group(saver, Signal::KILL).unwrap();
    one.until_monitor_says(FAILED_PROMOTED);
    one.write("three");
    one.act("demote", SUCCESS);
    one.act("demote", SUCCESS);
    one.act("monitor", SUCCESS);
    assert_eq!(head(&cluster, "n3", name), 3);
    assert!(cluster.show("n3", name)["owner"].is_null(), "it is not released");
    assert!(!one.path("state.epoch").exists(), "n1 has an epoch");
    two.act("promote", SUCCESS);
    assert_eq!((two.read("state"), two.read("state.epoch")), ("three".into(), "2\n".into()));
    two.act("monitor", PROMOTED);

    // Back to n1, whose node dies then: the others know that n2 has it.
    two.write("four");
    two.act("demote", SUCCESS);
    one.act("promote", SUCCESS);
    assert_eq!((one.read("state"), one.read("state.epoch")), ("four".into(), "3\n".into()));
    cluster.kill("n1");
    one.act("monitor", PROMOTED);
    two.act("promote", SUCCESS);
    assert_eq!((two.read("state"), two.read("state.epoch")), ("four".into(), "4\n".into()));
    two.act("monitor", PROMOTED);
    one.refuse("monitor", FAILED_PROMOTED, "was taken over: n2 owns it, in epoch 4");

    // The machine of the dead node can be stopped, and not started.
    let one = one.with("CRM_meta_timeout", "5000");
    one.act("stop", SUCCESS);
    one.act("monitor", NOT_RUNNING);
    one.act("stop", SUCCESS);
    one.refuse("start", GENERIC, "does not answer");
    one.act("monitor", NOT_RUNNING);

    // A stop of the promoted one saves, too.
    two.write("five");
    two.act("stop", SUCCESS);
    two.act("monitor", NOT_RUNNING);
    assert_eq!(head(&cluster, "n3", name), 5);
    let three = Machine::new(&cluster, "n3", name).with("replicas", "1");
    three.act("start", SUCCESS);
    three.until_state("five");
    three.act("stop", SUCCESS);
}

#[test]
fn a_lease_keeps_others_off_and_a_lost_one_fails_the_monitor() {
    let cluster = CLUSTER.get();
    let name = "app/leased";
    let machine = |node| Machine::new(&cluster, node, name).with("lease", "4s");
    let (one, two) = (machine("n1"), machine("n2").with("CRM_meta_timeout", "7000"));
    one.write("one");
    one.act("start", SUCCESS);
    two.act("start", SUCCESS);
    one.act("promote", SUCCESS);
    let lease = cluster.show("n3", name)["lease"].clone();
    assert_eq!(lease["owner"], "n1");
    // It waits for longer than a lease, in vain, and follows on.
    two.refuse("promote", GENERIC, "owned by node n1 under a lease");
    two.act("monitor", SUCCESS);
    one.act("monitor", PROMOTED);

    // A keeper that hangs loses it; n2 waits for that.
    let keeper = one.process("keeper");
    kill_process_group(keeper, Signal::STOP).unwrap();
    let two = two.with("CRM_meta_timeout", "60000");
    two.act("promote", SUCCESS);
    kill_process_group(keeper, Signal::CONT).unwrap();
    one.until_monitor_says(FAILED_PROMOTED);
    one.write("not saved");
    one.act("demote", SUCCESS);
    one.act("monitor", SUCCESS);
    assert_eq!(one.read("state.replaced"), "not saved");
    one.until_state("one");

    // One that ends is missed.
    kill_process(two.process("keeper"), Signal::KILL).unwrap();
    two.until_monitor_says(FAILED_PROMOTED);
    two.act("stop", SUCCESS);
    assert!(cluster.show("n3", name)["lease"].is_null(), "it is not released");
    one.act("promote", SUCCESS);
    one.act("stop", SUCCESS);
}

#[test]
fn who_was_taken_over_saves_nothing_and_loses_nothing() {
    let cluster = CLUSTER.get();
    let name = "app/taken";
    let one = Machine::new(&cluster, "n1", name);
    one.write("one");
    one.act("start", SUCCESS);
    one.act("promote", SUCCESS);
    cluster.cairn("n2", ["claim", name]).expect(0);
    one.refuse("monitor", FAILED_PROMOTED, "was taken over: n2 owns it, in epoch 2");
    one.act("promote", GENERIC);
    one.act("start", GENERIC);
    one.write("too late");
    until("the saver is refused", || one.path("run/cairn-state/lost").exists().then_some(()));
    one.refuse("monitor", FAILED_PROMOTED, "not ours any more");
    assert_eq!(head(&cluster, "n3", name), 1);
    one.act("demote", SUCCESS);
    one.act("monitor", SUCCESS);
    one.until_state("one");
    assert_eq!(one.read("state.replaced"), "too late");

    // As after a power cut: nothing runs, and nobody knows what was saved.
    one.act("promote", SUCCESS);
    kill_process_group(one.process("saver"), Signal::KILL).unwrap();
    fs::remove_dir_all(one.path("run")).unwrap();
    one.write("unsaved");
    one.act("monitor", NOT_RUNNING);
    one.act("start", SUCCESS);
    one.until_state("one");
    assert_eq!(one.read("state.replaced"), "unsaved");

    // A removal is no reason to go on either.
    one.act("promote", SUCCESS);
    cluster.cairn("n1", ["rm", name, "--yes"]).expect(0);
    one.refuse("monitor", FAILED_PROMOTED, "was removed");
    one.act("stop", SUCCESS);
}

#[test]
fn a_first_state_may_come_later_and_be_a_folder() {
    let cluster = CLUSTER.get();
    let name = "app/later";
    let (one, two) = (Machine::new(&cluster, "n1", name), Machine::new(&cluster, "n2", name));
    one.act("start", SUCCESS);
    two.act("start", SUCCESS);
    one.act("promote", SUCCESS);
    one.act("monitor", PROMOTED);
    assert_eq!(one.read("state.epoch"), "0\n");
    // Nothing was saved, and there is nothing to be released.
    one.act("demote", SUCCESS);
    one.act("promote", SUCCESS);
    fs::create_dir(one.path("next")).unwrap();
    fs::write(one.path("next/part"), "one").unwrap();
    fs::rename(one.path("next"), one.path("state")).unwrap();
    until("the first version is saved", || (one.read("state.epoch") == "1\n").then_some(()));
    one.act("monitor", PROMOTED);
    until("it came to n2", || (two.read("state/part") == "one").then_some(()));
    fs::write(one.path("state/part"), "two").unwrap();
    one.act("demote", SUCCESS);
    two.act("promote", SUCCESS);
    assert_eq!(two.read("state/part"), "two");

    // Two begin with nothing; the name is whose state is there first.
    let begin = |node| Machine::new(&cluster, node, "app/first");
    let (slow, fast) = (begin("n1"), begin("n3"));
    slow.act("start", SUCCESS);
    fast.act("start", SUCCESS);
    slow.act("promote", SUCCESS);
    fast.write("first");
    fast.act("promote", SUCCESS);
    slow.until_monitor_says(FAILED_PROMOTED);
    fast.act("monitor", PROMOTED);
    for machine in [one, two, slow, fast] {
        machine.act("stop", SUCCESS);
    }
}

#[test]
fn what_is_wrong_is_told_apart() {
    let cluster = CLUSTER.get();
    let machine = || Machine::new(&cluster, "n1", "app/wrong");
    let wrong = [
        ("name", "", CONFIGURED),
        ("name", "../escape", CONFIGURED),
        ("name", "app//state", CONFIGURED),
        ("name", "-o", CONFIGURED),
        ("state", "", CONFIGURED),
        ("state", "state", CONFIGURED),
        ("state", "/", CONFIGURED),
        ("endpoint", "here", CONFIGURED),
        ("endpoint", "127.0.0.1:7420,", CONFIGURED),
        ("every", "soon", CONFIGURED),
        ("every", "99ms", CONFIGURED),
        ("every", "25h", CONFIGURED),
        ("replicas", "-1", CONFIGURED),
        ("lease", "999ms", CONFIGURED),
        ("lease", "61min", CONFIGURED),
        // On this machine only.
        ("state", "/there/is/none", ARGS),
        ("state", "/dev/null", ARGS),
        ("user", "there-is-none", ARGS),
        ("cairn", "/there/is/none", INSTALLED),
    ];
    for (parameter, value, code) in wrong {
        let machine = machine().with(parameter, value);
        for action in ["validate-all", "start", "monitor", "promote", "demote"] {
            let run = Run::of(&mut machine.command(action));
            assert_eq!(run.code, code, "{action} with {parameter}={value:?}: {run:?}");
            assert!(run.stderr.contains("ocf-exit-reason:"), "{run:?}");
        }
        // A probe of a machine on which nothing can run, and a stop there, are no failures.
        machine.act("stop", SUCCESS);
        machine.with("CRM_meta_interval", "0").act("monitor", NOT_RUNNING);
    }
    machine().act("migrate_to", UNIMPLEMENTED);

    // Its node does not answer: that is no fault of the machine's, which would ban it.
    let dead = machine().with("endpoint", "127.0.0.1:1").with("CRM_meta_timeout", "2000");
    dead.refuse("start", GENERIC, "does not answer");
    dead.act("monitor", NOT_RUNNING);

    // The program goes while it runs: all the same it can be stopped.
    let machine = machine();
    machine.write("one");
    machine.act("start", SUCCESS);
    machine.act("promote", SUCCESS);
    let gone = machine.with("cairn", "/there/is/none");
    gone.act("monitor", INSTALLED);
    gone.act("stop", SUCCESS);
    gone.with("CRM_meta_interval", "0").act("monitor", NOT_RUNNING);
}

#[test]
fn the_description_is_valid_and_whole() {
    // It is asked for without a configuration.
    let told = Run::of(Command::new(agent()).arg("meta-data")).expect(0).text();
    assert!(told.starts_with("<?xml version=\"1.0\"?>\n"), "{told}");
    let named = |tag: &str| -> Vec<&str> {
        let open = format!("<{tag} name=\"");
        told.split(open.as_str()).skip(1).filter_map(|rest| rest.split('"').next()).collect()
    };
    assert_eq!(named("parameter"), PARAMETERS);
    for action in ACTIONS {
        assert!(named("action").contains(&action), "{action} is missing");
    }
    for role in ["Promoted", "Unpromoted"] {
        assert!(told.contains(&format!("role=\"{role}\"")), "no monitor of {role}");
    }
    // Every element that is opened is closed, in turn.
    let mut open = Vec::new();
    for tag in told.split('<').skip(1).filter_map(|rest| rest.split('>').next()) {
        let word = tag.trim_start_matches('/').split_whitespace().next().unwrap();
        match (tag.starts_with('/'), tag.ends_with('/') || tag.starts_with(['?', '!'])) {
            (true, _) => assert_eq!(open.pop(), Some(word)),
            (false, false) => open.push(word),
            (false, true) => {}
        }
    }
    assert!(open.is_empty(), "{open:?} stay open");
    let (page, folder) = (agent().with_file_name("README.md"), Path::new(RULES));
    let page = fs::read_to_string(page).unwrap();
    for parameter in PARAMETERS {
        assert!(page.contains(&format!("| `{parameter}` |")), "README.md does not tell of {parameter}");
    }

    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("meta-data.xml");
    fs::write(&path, &told).unwrap();
    for (option, rules) in [("--dtdvalid", "ra-api-1.dtd"), ("--relaxng", "metadata.rng")] {
        let rules = folder.join(rules);
        if !rules.exists() || !is_there("xmllint") {
            skipped(&format!("there is no xmllint, or no {}", rules.display()));
            continue;
        }
        let mut lint = Command::new("xmllint");
        lint.args(["--noout", "--nonet", option]).arg(&rules).arg(&path);
        Run::of(&mut lint).expect(0);
    }
}

/// The tester of resource-agents, and with it the functions that this agent uses where they are installed.
#[test]
fn the_tester_of_others_is_content() {
    if !is_there("ocf-tester") || !is_there("xmllint") {
        skipped("there is no ocf-tester here, or no xmllint, which it needs");
        return;
    }
    let cluster = CLUSTER.get();
    // The tester wants everybody to be able to read the agent.
    let scratch = tempfile::tempdir().unwrap();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = scratch.path().join("cairn");
    fs::copy(agent(), &copy).unwrap();
    let machine = Machine::new(&cluster, "n1", "app/tester").with("lease", "10s");
    machine.write("one");
    let mut tester = Command::new("ocf-tester");
    tester.args(["-n", "state"]).env("HA_RSCTMP", machine.path("run"));
    for (name, value) in machine.parameters.iter().filter(|(name, _)| PARAMETERS.contains(name)) {
        tester.arg("-o").arg(format!("{name}={value}"));
    }
    let told = Run::of(tester.arg(&copy)).expect(0).text();
    assert!(told.contains("passed all tests"), "{told}");
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).exists())
}

#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}
