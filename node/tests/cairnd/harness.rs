//! What the tests have in common.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn cairnd(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cairnd"));
    command.args(words).env_remove("CAIRN_LOG_LEVEL");
    command
}

pub(crate) fn run(words: &[&str]) -> Output {
    cairnd(words).output().unwrap()
}

/// The exit code and what was said on stderr.
pub(crate) fn told(output: &Output) -> (i32, String) {
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Two lines: what failed, and what to do.
pub(crate) fn refused(output: &Output, exit: i32, words: &[&str]) {
    let (code, text) = told(output);
    assert_eq!(code, exit, "{text}");
    assert!(text.contains("error: ") && text.contains("hint: "), "{text}");
    for word in words {
        assert!(text.contains(word), "{word} is not in: {text}");
    }
}

/// A configuration on three ports that were free just now.
pub(crate) fn config(dir: &Path, more: &str) -> PathBuf {
    let held: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let address: Vec<String> = held.iter().map(|l| l.local_addr().unwrap().to_string()).collect();
    let file = dir.join("c.toml");
    let text = format!(
        "[node]\nname = \"n1\"\ndir = \"data\"\n{more}\n[listen]\nrpc = \"{}\"\ndata = \"{}\"\nhttp = \"{}\"\n",
        address[0], address[1], address[2]
    );
    fs::write(&file, text).unwrap();
    file
}

pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "{what} takes too long");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A `dev` in a folder that stays.
pub(crate) struct Dev {
    process: Child,
}

impl Dev {
    pub(crate) fn start(dir: &Path) -> Self {
        let words = ["dev", "--nodes", "1", "--storage-nodes", "1", "--base-port", "0", "--dir"];
        Self::spawn(cairnd(&words).arg(dir))
    }

    pub(crate) fn spawn(command: &mut Command) -> Self {
        let process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut dev = Self { process };
        let lines = BufReader::new(dev.process.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line == "ready"), "dev ended before it was ready");
        dev
    }

    pub(crate) fn end(mut self, signal: rustix::process::Signal) -> Option<i32> {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.process), signal).unwrap();
        self.process.wait().unwrap().code()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn nodes(dir: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(dir.join("cluster.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&text).unwrap();
    record["nodes"].as_array().unwrap().clone()
}

/// Whether the process is gone; one that only waits to be reaped is.
pub(crate) fn gone(pid: &serde_json::Value) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

/// A folder that is ready to be started; its configuration.
pub(crate) fn initialised(dir: &Path) -> PathBuf {
    let file = config(dir, "");
    assert!(run(&["init", "--config", file.to_str().unwrap()]).status.success());
    file
}

/// A node that runs until this is dropped.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(command: &mut Command, log: &Path, socket: &Path) -> Self {
        let mut running = Self(command.stderr(fs::File::create(log).unwrap()).stdout(Stdio::null()).spawn().unwrap());
        wait_until("the start", || {
            assert!(running.0.try_wait().unwrap().is_none(), "{}", fs::read_to_string(log).unwrap());
            socket.exists() && fs::read_to_string(log).unwrap().contains("ready")
        });
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
