//! Processes that end with the measurement.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::daemon::find_cairnd;
use crate::report::Report;

/// How long a process may take to end when it is asked to: `cairnd dev` gives its nodes ten seconds.
const END_PATIENCE: Duration = Duration::from_secs(15);
/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// Ports of this machine that were free just now.
pub(super) fn free_ports<const N: usize>() -> Result<[u16; N], Report> {
    let failed = |error: io::Error| Report::internal(format!("no port is free: {error}"));
    // All are held until all are drawn: none comes twice.
    let (mut held, mut ports) = (Vec::new(), [0; N]);
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
        *port = listener.local_addr().map_err(failed)?.port();
        held.push(listener);
    }
    Ok(ports)
}

/// A process. Dropped, it is asked to end, and has ended.
pub(super) struct Running {
    child: Child,
}

/// The program that started the cluster.
pub(super) fn cairnd() -> Result<Box<Path>, Report> {
    find_cairnd("it started the cluster a moment ago")
}

impl Running {
    /// Starts it in a group of its own: Ctrl-C is for this process, which ends the other.
    pub(super) fn spawn(command: &mut Command) -> Result<Self, Report> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::null()).process_group(0).spawn();
        let failed = |error| Report::internal(format!("cannot start {name}: {error}"));
        child.map(|child| Self { child }).map_err(failed)
    }

    /// A node, by its configuration.
    pub(super) fn node(config: &Path) -> Result<Self, Report> {
        let mut command = Command::new(cairnd()?.as_os_str());
        command.arg("start").arg("--config").arg(config);
        command.args(["--die-with-parent", &std::process::id().to_string()]);
        Self::spawn(command.stdout(Stdio::null()).stderr(Stdio::null()))
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    fn signal(&self, signal: Signal) {
        // Not reaped yet, so the number is still this process's.
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.has_ended() {
            return;
        }
        self.signal(Signal::TERM);
        let deadline = Instant::now() + END_PATIENCE;
        while Instant::now() < deadline {
            if self.has_ended() {
                return;
            }
            std::thread::sleep(LOOK);
        }
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}
