//! One call of a program, and what it said.

use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// How a program ended.
#[derive(Debug)]
pub struct Run {
    /// Its exit code; 128 + the signal if one ended it.
    pub code: i32,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it complained of.
    pub stderr: String,
}

impl Run {
    /// Runs a command to its end, with no input.
    pub fn of(command: &mut Command) -> Self {
        let output = command.stdin(Stdio::null()).output().expect("the program starts");
        output.into()
    }

    /// What it printed, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// What it printed, as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|e| panic!("not JSON ({e}): {self:?}"))
    }

    /// The error that it printed with `-o json`.
    pub fn error(&self) -> Value {
        let line = self.stderr.lines().find(|line| line.starts_with('{'));
        let error: Value = serde_json::from_str(line.unwrap_or_default())
            .unwrap_or_else(|e| panic!("no error in JSON ({e}): {self:?}"));
        for key in ["code", "message", "hint", "retryable", "outcome"] {
            assert!(error["error"].get(key).is_some(), "{key} is missing: {error}");
        }
        error["error"].clone()
    }

    /// Insists on an exit code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.text(), self.stderr);
        self
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let status = output.status;
        Self {
            code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The `cairn` command, asking `endpoint`.
pub fn cairn(endpoint: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(crate::bins::cairn());
    command.env_remove("CAIRN_ENDPOINTS").env_remove("CAIRN_EPOCH").env("NO_COLOR", "1");
    command.args(["-o", "json", "--endpoint", endpoint]).args(args);
    command
}

/// The most memory that a process ever had, in KiB.
pub fn peak_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel tells the peak");
    line.trim().strip_suffix(" kB").and_then(|peak| peak.parse().ok()).expect("a number of KiB")
}
