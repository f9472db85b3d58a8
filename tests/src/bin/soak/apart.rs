//! Mounts, and a network, of this program's own: whatever it makes there is gone with its last process, even if it is
//! killed.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode};

use crate::args::Trouble;

/// Says that we are apart already.
const APART: &str = "CAIRN_SOAK_APART";

/// What became of it.
pub(crate) enum Entered {
    /// This process goes on.
    Here,
    /// Another one did the work.
    Done(ExitCode),
    /// It cannot be.
    Impossible(String),
}

/// Runs this program once more, apart from everybody else's mounts, if the trouble needs that.
pub(crate) fn enter(trouble: &Trouble) -> Entered {
    let wanted = trouble.apart();
    if wanted.is_empty() || std::env::var_os(APART).is_some() {
        return Entered::Here;
    }
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(wanted).args(["--propagation", "private", "--"]);
        command
    };
    let works = unshare().arg("true").output();
    if !works.is_ok_and(|output| output.status.success()) {
        return Entered::Impossible("mounts of its own need root, and `unshare` of util-linux".into());
    }
    let Ok(own) = std::env::current_exe() else { return Entered::Here };
    // Signals of a terminal reach both; another one's are for the process that it knows.
    let mut command = unshare();
    command.args(["setpriv", "--pdeathsig", "TERM"]).arg(own).args(std::env::args_os().skip(1)).env(APART, "1");
    let ended = command.spawn().and_then(|mut child| {
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if cairn_tests::wait::pause(std::time::Duration::from_millis(100)).is_err() {
                let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
                pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::TERM));
                return child.wait();
            }
        }
    });
    match ended {
        Ok(status) => {
            let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1);
            Entered::Done(ExitCode::from(u8::try_from(code).unwrap_or(1)))
        }
        Err(error) => Entered::Impossible(format!("this program cannot be started once more: {error}")),
    }
}

impl Trouble {
    /// What it needs of its own, in the words of `unshare`.
    fn apart(&self) -> &'static [&'static str] {
        match self {
            Self::Power(_) | Self::Full(_) => &["--mount"],
            Self::Partition(_) => &["--mount", "--net"],
            _ => &[],
        }
    }
}
