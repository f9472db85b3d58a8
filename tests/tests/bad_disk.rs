//! A node's folder on a disk that cannot be written to, or has no room: what `cairnd start` says, and leaves as it is.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cairn_tests::agent::{Agent, words};
use cairn_tests::mounts::Mount;
use cairn_tests::wait::until;
use cairn_tests::{Run, bins, prepared, run};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Room for a node, and not much more.
const DISK: u64 = 96 << 20;

/// A node by itself. Its folder is `data` in `dir`.
struct Alone {
    dir: TempDir,
    config: PathBuf,
    endpoint: String,
}

impl Alone {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut ports = prepared::free_ports(3);
        let mut address = || format!("127.0.0.1:{}", ports.next().unwrap());
        let (rpc, data, http) = (address(), address(), address());
        let config = dir.path().join("cairnd.toml");
        let text = format!(
            "[node]\nname = \"alone\"\ndir = \"data\"\n[listen]\nrpc = \"{rpc}\"\ndata = \"{data}\"\nhttp = \"{http}\"\n"
        );
        fs::write(&config, text).unwrap();
        Self { dir, config, endpoint: rpc }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn cairnd(&self, verb: &str) -> Command {
        let mut command = Command::new(bins::cairnd());
        command.arg(verb).arg("--config").arg(&self.config);
        command
    }

    /// Insists that it does not start, and says these words.
    #[track_caller]
    fn refuses(&self, words: &[&str]) {
        let told = Run::of(&mut self.cairnd("start")).expect(1).stderr;
        let last = told.find("error: ").map(|at| &told[at..]).unwrap_or_default();
        for word in words {
            assert!(last.contains(word), "{word:?} in {told}");
        }
    }

    /// Runs it until it answers, then ends it with this signal.
    fn run(&self, signal: Signal) {
        let mut node = self.start();
        kill_process(Pid::from_child(&node.0), signal).unwrap();
        node.0.wait().unwrap();
    }

    /// Starts it, and waits until it answers.
    fn start(&self) -> Running {
        let log = fs::File::create(self.dir.path().join("log")).unwrap();
        let mut node = Running(self.cairnd("start").stdout(Stdio::null()).stderr(log).spawn().unwrap());
        until("the node answers", || {
            assert!(
                node.0.try_wait().unwrap().is_none(),
                "{}",
                fs::read_to_string(self.dir.path().join("log")).unwrap()
            );
            (Run::of(&mut run::cairn(&self.endpoint, ["node", "ls", "--timeout", "2s"])).code == 0).then_some(())
        });
        node
    }
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

#[test]
fn a_folder_that_can_only_be_read_is_said_and_left_as_it_is() {
    let node = Alone::new();
    Run::of(&mut node.cairnd("init")).expect(0);
    let data = node.data();
    let Some(_mounted) = Mount::read_only(&data, &data) else { return };
    let before = entries(&data.join("log"));
    node.refuses(&["Read-only file system", "hint: nothing was changed. Make the file system writable"]);
    assert_eq!(entries(&data.join("log")), before);
}

#[test]
fn a_full_disk_is_said_and_a_node_that_ran_there_before_starts() {
    let node = Alone::new();
    let data = node.data();
    let Some(disk) = Mount::small(&data, DISK) else { return };
    Run::of(&mut node.cairnd("init")).expect(0);
    let filler = disk.fill("of-somebody-else", 0);
    node.refuses(&["No space left on device", "hint: make room"]);
    fs::remove_file(&filler).unwrap();
    node.run(Signal::TERM);

    // What the log has set aside is enough to open it; then whoever frees space can ask the node to.
    disk.fill("of-somebody-else", 0);
    node.run(Signal::TERM);
    node.run(Signal::KILL);
    node.run(Signal::TERM);
}

#[test]
fn an_agent_whose_node_has_no_room_says_so_and_saves_when_there_is_some() {
    let node = Alone::new();
    let Some(disk) = Mount::small(&node.data(), DISK) else { return };
    Run::of(&mut node.cairnd("init")).expect(0);
    let _running = node.start();
    let state = node.dir.path().join("state");
    // Each is too large for what the filler leaves, and small enough for the disk.
    let script = r#"
        trap 'exit 0' TERM
        echo small > "$CAIRN_STATE"; echo ready
        trap 'head -c 4000000 /dev/urandom > "$CAIRN_STATE.new"; mv "$CAIRN_STATE.new" "$CAIRN_STATE"' HUP
        while :; do sleep 0.1; done
    "#;
    let more = ["--every", "200ms", "--replicas", "0", "--keep", "1"];
    let mut agent = Agent::start(run::cairn(&node.endpoint, words("app", &state, &more, script)));
    agent.until("saved");
    let filler = disk.fill("of-somebody-else", 2 << 20);
    agent.signal(Signal::HUP);
    let failed = agent.until("save_failed");
    assert!(failed["message"].as_str().unwrap().contains("room"), "{failed}");
    fs::remove_file(&filler).unwrap();
    assert_eq!(agent.until("saved")["version"], 2);
    assert_eq!((agent.count("started"), agent.count("ended")), (1, 0), "{:?}", agent.all());
    agent.signal(Signal::TERM);
    agent.end().expect(0);
}
