//! One seed in a process of its own, which is ended if it hangs.

use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::Context as _;

/// How long a seed may take, in real time, before it is taken for hung.
pub(crate) const SEED_MAX: Duration = Duration::from_secs(240);

/// Runs a process to its end; tells whether it was ended for it.
pub(crate) fn watched(command: &mut Command) -> anyhow::Result<(Output, bool)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().context("cannot start a process")?;
    let watchdog = Watchdog::over(&child);
    let output = child.wait_with_output()?;
    Ok((output, watchdog.ended()))
}

/// Ends a child that hangs.
struct Watchdog {
    done: std::sync::mpsc::Sender<()>,
    thread: std::thread::JoinHandle<bool>,
}

impl Watchdog {
    fn over(child: &Child) -> Self {
        let (done, wait) = std::sync::mpsc::channel();
        let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
        let thread = std::thread::spawn(move || {
            let hung = wait.recv_timeout(SEED_MAX) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
            if let Some(pid) = pid.filter(|_| hung) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            hung
        });
        Self { done, thread }
    }

    /// Tells whether it had to.
    fn ended(self) -> bool {
        let _ = self.done.send(());
        self.thread.join().unwrap_or(false)
    }
}
