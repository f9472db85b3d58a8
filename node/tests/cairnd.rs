//! The `cairnd` program, as an operator meets it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]
#![allow(clippy::disallowed_methods, reason = "real processes and files: outside the seams")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn cairnd(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cairnd"));
    command.args(words).env_remove("CAIRN_LOG_LEVEL");
    command
}

fn run(words: &[&str]) -> Output {
    cairnd(words).output().unwrap()
}

/// The exit code and what was said on stderr.
fn told(output: &Output) -> (i32, String) {
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Two lines: what failed, and what to do.
fn refused(output: &Output, exit: i32, words: &[&str]) {
    let (code, text) = told(output);
    assert_eq!(code, exit, "{text}");
    assert!(text.contains("error: ") && text.contains("hint: "), "{text}");
    for word in words {
        assert!(text.contains(word), "{word} is not in: {text}");
    }
}

/// A configuration on three ports that were free just now.
fn config(dir: &Path, more: &str) -> PathBuf {
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

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "{what} takes too long");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A `dev` in a folder that stays.
struct Dev {
    process: Child,
}

impl Dev {
    fn start(dir: &Path) -> Self {
        let words = ["dev", "--nodes", "1", "--storage-nodes", "1", "--base-port", "0", "--dir"];
        let process = cairnd(&words).arg(dir).stdout(Stdio::piped()).spawn().unwrap();
        let mut dev = Self { process };
        let lines = BufReader::new(dev.process.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line == "ready"), "dev ended before it was ready");
        dev
    }

    fn end(mut self, signal: rustix::process::Signal) -> Option<i32> {
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

fn nodes(dir: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(dir.join("cluster.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&text).unwrap();
    record["nodes"].as_array().unwrap().clone()
}

/// Whether the process is gone; one that only waits to be reaped is.
fn gone(pid: &serde_json::Value) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

#[test]
fn help_lists_what_is_built_and_nothing_else() {
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names: Vec<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["demo", "dev", "init", "join", "start"]);
}

#[test]
fn a_wrong_configuration_is_refused_before_anything_is_made() {
    let dir = TempDir::new().unwrap();
    let file = config(dir.path(), "capacty = \"1GiB\"");
    let word = file.to_str().unwrap();
    for command in [&["init", "--config", word][..], &["start", "--config", word]] {
        refused(&run(command), 78, &["node.capacty", "node.capacity", word]);
    }
    refused(&run(&["start", "--config", "/no/such.toml"]), 78, &["/no/such.toml"]);
    config(dir.path(), "");
    let open = ["init", "--config", word, "--set", "listen.rpc=0.0.0.0:7420"];
    refused(&run(&open), 78, &["listen.rpc", "listen.insecure"]);
    let by_variable = cairnd(&["init", "--config", word]).env("CAIRN_NODE_ROLE", "boss").output().unwrap();
    refused(&by_variable, 78, &["CAIRN_NODE_ROLE", "storage"]);
    assert!(!dir.path().join("data").exists());
}

#[test]
fn a_folder_is_initialised_once_and_only_then_started() {
    let dir = TempDir::new().unwrap();
    let file = config(dir.path(), "");
    let word = file.to_str().unwrap();
    refused(&run(&["start", "--config", word]), 1, &["cairnd init", "cairnd join"]);
    let made = run(&["init", "--config", word]);
    assert!(made.status.success(), "{:?}", told(&made));
    let identity = fs::read_to_string(dir.path().join("data/node.toml")).unwrap();
    refused(&run(&["init", "--config", word]), 4, &["cairnd start"]);
    assert_eq!(fs::read_to_string(dir.path().join("data/node.toml")).unwrap(), identity);
    // A port that another process has.
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap().to_string();
    refused(&run(&["start", "--config", word, "--set", &format!("listen.rpc={taken}")]), 1, &[&taken]);
}

#[test]
fn an_init_that_was_interrupted_is_repeated_and_a_lost_identity_is_not_replaced() {
    let dir = TempDir::new().unwrap();
    let file = config(dir.path(), "");
    let word = file.to_str().unwrap();
    assert!(run(&["init", "--config", word]).status.success());
    let identity = dir.path().join("data/node.toml");
    fs::remove_file(&identity).unwrap();
    assert!(run(&["init", "--config", word]).status.success(), "only folders were there");
    fs::write(dir.path().join("data/log/r-0.wal"), "x").unwrap();
    fs::remove_file(&identity).unwrap();
    refused(&run(&["init", "--config", word]), 4, &["node.toml is gone"]);
}

#[test]
fn dev_names_the_port_that_is_in_use() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    let dir = TempDir::new().unwrap();
    let made = cairnd(&["dev", "--base-port", &port.to_string(), "--dir"]).arg(dir.path()).output().unwrap();
    refused(&made, 1, &[&format!("127.0.0.1:{port}"), "--base-port"]);
}

#[test]
fn dev_keeps_its_folder_and_its_nodes_end_with_it() {
    use rustix::process::Signal;
    let dir = TempDir::new().unwrap();
    let dev = Dev::start(dir.path());
    let first = nodes(dir.path());
    let names: Vec<&str> = first.iter().filter_map(|n| n["name"].as_str()).collect();
    assert_eq!(names, ["n1", "s1"]);
    assert!(first.iter().all(|n| n["id"].is_u64() && n["pid"].is_u64() && n["http"].is_string()), "{first:?}");
    assert_eq!(first[1]["dir"], dir.path().join("s1").to_str().unwrap());

    // A member is told so; a stranger's folder is refused.
    let seed = first[0]["endpoint"].as_str().unwrap();
    let member = dir.path().join("s1/cairnd.toml");
    let again = run(&["join", "--config", member.to_str().unwrap(), "--seed", seed]);
    assert!(again.status.success(), "{:?}", told(&again));
    assert!(String::from_utf8_lossy(&again.stdout).contains("has joined already"));
    let other = TempDir::new().unwrap();
    let file = config(other.path(), "");
    assert!(run(&["init", "--config", file.to_str().unwrap()]).status.success());
    refused(&run(&["join", "--config", file.to_str().unwrap(), "--seed", seed]), 4, &["empty folder"]);

    // A join whose last step was lost gets the same id again.
    let joiner = TempDir::new().unwrap();
    let file = config(joiner.path(), "");
    let text = fs::read_to_string(&file).unwrap().replace("\"n1\"", "\"late\"");
    fs::write(&file, text).unwrap();
    let join = ["join", "--config", file.to_str().unwrap(), "--seed", seed];
    assert!(run(&join).status.success());
    let identity = joiner.path().join("data/node.toml");
    let before = fs::read_to_string(&identity).unwrap();
    let incarnation = before.lines().find_map(|line| line.strip_prefix("incarnation = ")).unwrap();
    fs::write(joiner.path().join("data/joining"), incarnation.trim_matches('"')).unwrap();
    fs::remove_file(&identity).unwrap();
    assert!(run(&join).status.success());
    assert_eq!(fs::read_to_string(&identity).unwrap(), before);

    // Killed without a word, it takes its nodes with it.
    dev.end(Signal::KILL);
    wait_until("the end of the nodes", || first.iter().all(|n| gone(&n["pid"])));

    // The same command starts the same cluster, on the same ports, and ends it when asked to.
    let dev = Dev::start(dir.path());
    let second = nodes(dir.path());
    let same = |key: &str| first.iter().zip(&second).all(|(a, b)| a[key] == b[key]);
    assert!(same("id") && same("endpoint") && same("dir") && !same("pid"), "{second:?}");
    assert_eq!(dev.end(Signal::TERM), Some(0));
    assert!(second.iter().all(|n| gone(&n["pid"])));
    // Another shape is another cluster.
    let more = cairnd(&["dev", "--nodes", "2", "--dir"]).arg(dir.path()).output().unwrap();
    refused(&more, 2, &["holds another cluster"]);
}
