//! `cairn run` at work, and what it tells.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

use crate::run::Run;
use crate::wait::until;

/// An application: counts in its state, which it replaces by a rename, and says where it began.
pub const COUNTER: &str = r#"
    n=$(cat "$CAIRN_STATE" 2>/dev/null || echo 0)
    echo "begins at $n in epoch $CAIRN_EPOCH with version $CAIRN_VERSION as $$"
    trap 'echo "ends at $(cat "$CAIRN_STATE")"; exit 0' TERM
    trap 'echo "hangs up"' HUP
    while :; do
        n=$((n + 1)); echo $n > "$CAIRN_STATE.new"; mv "$CAIRN_STATE.new" "$CAIRN_STATE"; sleep 0.1
    done
"#;

/// An agent's process. Dropped, it is killed, and its command with it.
pub struct Agent {
    child: Child,
    told: Arc<Mutex<Vec<Value>>>,
    said: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
    seen: usize,
}

impl Agent {
    /// Starts it. `command` is `cairn run …` with `-o json`, as [`Cluster::command`](crate::Cluster::command) makes it.
    pub fn start(mut command: Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("cairn starts");
        let (told, said) = (Arc::default(), Arc::default());
        let keep = |line: String, told: &Mutex<Vec<Value>>| {
            let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
            told.lock().unwrap_or_else(PoisonError::into_inner).push(value);
        };
        let readers = vec![
            read(child.stderr.take().expect("a pipe"), Arc::clone(&told), keep),
            read(child.stdout.take().expect("a pipe"), Arc::clone(&said), |line, said: &Mutex<Vec<String>>| {
                said.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }),
        ];
        Self { child, told, said, readers, seen: 0 }
    }

    /// Waits until it tells of such an event, after those that were waited for before.
    #[track_caller]
    pub fn until(&mut self, event: &str) -> Value {
        let (told, seen) = (Arc::clone(&self.told), self.seen);
        let (at, found) = until(&format!("the agent tells of {event}: {:?}", self.all()), || {
            let told = told.lock().unwrap_or_else(PoisonError::into_inner);
            let at = told.iter().skip(seen).position(|line| line["event"] == event)?;
            Some((seen + at, told[seen + at].clone()))
        });
        self.seen = at + 1;
        found
    }

    /// Waits until its command says something that starts so, and returns the rest of the last such line.
    #[track_caller]
    pub fn until_said(&self, start: &str) -> String {
        until(&format!("the command says {start:?}: {:?}", self.all()), || {
            let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            said.iter().rev().find_map(|line| line.strip_prefix(start)).map(str::to_owned)
        })
    }

    /// What its command said.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often it has told of such an event.
    pub fn count(&self, event: &str) -> usize {
        self.all().iter().filter(|line| line["event"] == event).count()
    }

    /// All that it told.
    pub fn all(&self) -> Vec<Value> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The process of its guard.
    pub fn guard(&self) -> Pid {
        let path = format!("/proc/{0}/task/{0}/children", self.child.id());
        until("there is a guard", || {
            let children = std::fs::read_to_string(&path).unwrap_or_default();
            children.split_whitespace().next()?.parse().ok().and_then(Pid::from_raw)
        })
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the agent runs");
    }

    /// Kills it, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("the agent runs");
        self.child.wait().expect("a child");
    }

    /// Waits until it ends.
    pub fn end(mut self) -> Run {
        let status = until("the agent ends", || self.child.try_wait().expect("a child"));
        self.readers.drain(..).for_each(|reader| drop(reader.join()));
        // The error, if there is one, where [`Run::error`] looks for it.
        let (errors, notes): (Vec<Value>, Vec<Value>) =
            self.all().into_iter().partition(|line| line.get("error").is_some());
        let lines: Vec<String> = errors.iter().chain(&notes).map(ToString::to_string).collect();
        let stdout = self.said().join("\n").into_bytes();
        Run::from(std::process::Output { status, stdout, stderr: lines.join("\n").into_bytes() })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The words of `cairn run` for a name and its state, with a shell's script as the command.
pub fn words<'a>(name: &'a str, state: &'a Path, more: &[&'a str], script: &'a str) -> Vec<&'a OsStr> {
    let mut words: Vec<&OsStr> = vec!["run".as_ref(), name.as_ref(), "--state".as_ref(), state.as_ref()];
    words.extend(more.iter().map(|word| OsStr::new(*word)));
    words.extend(["--", "sh", "-c", script].map(OsStr::new));
    words
}

/// Waits until a process is gone, or only waits to be reaped.
pub fn until_gone(pid: Pid) {
    until("the process is gone", || is_gone(pid).then_some(()));
}

/// Whether a process is gone, or only waits to be reaped.
pub fn is_gone(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    test_kill_process(pid).is_err() || stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

/// A number that the command said, as a process.
pub fn process(text: &str) -> Pid {
    let number = text.split_whitespace().last().and_then(|word| word.parse().ok());
    number.and_then(Pid::from_raw).unwrap_or_else(|| panic!("no process in {text:?}"))
}

fn read<T: Send + Sync + 'static>(
    pipe: impl Read + Send + 'static,
    kept: Arc<T>,
    keep: impl Fn(String, &T) + Send + 'static,
) -> JoinHandle<()> {
    std::thread::spawn(move || BufReader::new(pipe).lines().map_while(Result::ok).for_each(|line| keep(line, &kept)))
}
