//! `strace`, which makes system calls of a running process fail or take longer.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};
use cairn_tests::site::Host;
use rustix::process::{Pid, Signal, kill_process};

/// Attached to all threads of a node. Dropped, it lets go.
pub(crate) struct Tracer(Child);

impl Tracer {
    /// Attaches it, and waits until it is.
    pub(crate) fn attach(host: &Host, calls: &str, what: &str) -> anyhow::Result<Self> {
        let pid = host.pid().context("the node runs")?;
        let mut command = Command::new("strace");
        // What it traces goes nowhere; that it has attached goes to its stderr.
        command.args(["-f", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
        command.args(["-e", &format!("inject={calls}:{what}"), "-p", &pid.to_string()]);
        let mut strace = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let told = BufReader::new(strace.stderr.take().context("piped")?);
        let mut told = told.lines().map_while(Result::ok);
        let Some(line) = told.find(|line| line.contains("attached") || line.contains("attach:")) else {
            let _ = strace.kill();
            let _ = strace.wait();
            bail!("strace did not attach to {}", host.name);
        };
        // It goes on telling of threads.
        std::thread::spawn(move || told.for_each(drop));
        anyhow::ensure!(line.contains("attached"), "strace: {line}");
        Ok(Self(strace))
    }

    /// Lets go.
    pub(crate) fn detach(mut self) -> anyhow::Result<()> {
        self.let_go();
        Ok(())
    }

    fn let_go(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::INT);
            }
            let _ = self.0.wait();
        }
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// What it takes.
pub(crate) fn lacking() -> Option<String> {
    let works = Command::new("strace").args(["-o", "/dev/null", "-e", "inject=fsync:error=EIO", "true"]).output();
    let works = works.is_ok_and(|output| output.status.success());
    (!works).then(|| "strace not found, or not allowed to trace: apt-get install strace, and root".into())
}
