//! The peer for large files: `rsync --fsync` to a daemon of its own, several at once.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command as Program;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use tokio::process::Command;
use tokio::time::sleep;

use super::cpu;
use super::ground::{Ground, failed};
use super::program::{Running, free_ports};
use crate::daemon::on_path;
use crate::report::Report;

/// How long the daemon may take to listen.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// How long what served a push may take to end after it.
const SETTLE_PATIENCE: Duration = Duration::from_secs(5);
/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// The program; an error says where to get it.
pub(super) fn find() -> Result<Box<Path>, Report> {
    let found = on_path("rsync").ok_or_else(|| absent("there is no rsync to compare with"))?;
    let help = Program::new(found.as_os_str()).arg("--help").output().ok();
    let able = help.is_some_and(|help| String::from_utf8_lossy(&help.stdout).contains("--fsync"));
    if able { Ok(found) } else { Err(absent("this rsync knows no --fsync: it is older than 3.2.4")) }
}

fn absent(message: &str) -> Report {
    let hint = "install it (Debian: apt-get install rsync), or measure with --without-peers";
    Report { hint: Some(hint.into()), ..Report::internal(message) }
}

/// A daemon with modules to push into. Dropped, it ends.
pub(super) struct Rsync {
    program: Box<Path>,
    port: u16,
    modules: Vec<PathBuf>,
    daemon: Running,
}

impl Rsync {
    /// Starts it, with so many modules in the folder.
    pub(super) async fn start(program: &Path, ground: &Ground, modules: u8) -> Result<Self, Report> {
        let modules: Vec<PathBuf> =
            (0..modules).map(|nth| ground.folder(&format!("rsync-{nth}"))).collect::<Result<_, _>>()?;
        let config = ground.dir().join("rsyncd.conf");
        // Started by root it would give its rights away, and could not write here.
        let user = if rustix::process::geteuid().is_root() { "uid = 0\ngid = 0\n" } else { "" };
        let mut text = format!("{user}use chroot = no\nreverse lookup = no\nsocket options = TCP_NODELAY\n");
        for (nth, module) in modules.iter().enumerate() {
            text.push_str(&format!("[m{nth}]\npath = {}\nread only = no\n", module.display()));
        }
        fs::write(&config, text).map_err(failed("write", &config))?;
        let [port] = free_ports()?;
        let mut daemon = Program::new(program.as_os_str());
        daemon.args(["--daemon", "--no-detach", "--address=127.0.0.1", &format!("--port={port}")]);
        daemon.arg(format!("--config={}", config.display())).arg("--log-file=/dev/null");
        let mut daemon = Running::spawn(&mut daemon)?;
        let deadline = Instant::now() + START_PATIENCE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if daemon.has_ended() || Instant::now() >= deadline {
                return Err(Report::internal(format!("the rsync daemon does not listen on port {port}")));
            }
            sleep(LOOK).await;
        }
        Ok(Self { program: program.into(), port, modules, daemon })
    }

    /// The daemon's process.
    pub(super) fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// Pushes a file into every module at once, and returns when all have it on their disk.
    pub(super) async fn push(&self, file: &Path) -> Result<(), Report> {
        try_join_all((0..self.modules.len()).map(|nth| self.push_to(nth, file))).await.map(drop)
    }

    /// Waits until the daemon has missed the children that served the pushes: only then does it count their time.
    pub(super) async fn settled(&self) {
        let deadline = Instant::now() + SETTLE_PATIENCE;
        while cpu::has_children(self.pid()) == Some(true) && Instant::now() < deadline {
            sleep(LOOK).await;
        }
    }

    async fn push_to(&self, nth: usize, file: &Path) -> Result<(), Report> {
        let mut rsync = Command::new(self.program.as_os_str());
        rsync.args(["--fsync", "--sockopts=TCP_NODELAY"]).arg(file);
        rsync.arg(format!("rsync://127.0.0.1:{}/m{nth}/", self.port)).kill_on_drop(true);
        let done = rsync.output().await.map_err(|error| Report::internal(format!("cannot start rsync: {error}")))?;
        if done.status.success() {
            return Ok(());
        }
        Err(Report::internal(format!("rsync failed: {}", String::from_utf8_lossy(&done.stderr).trim())))
    }

    /// Takes away what was pushed.
    pub(super) fn clear(&self, file: &Path) -> Result<(), Report> {
        for module in &self.modules {
            let pushed = module.join(file.file_name().unwrap_or_default());
            fs::remove_file(&pushed).map_err(failed("remove", &pushed))?;
        }
        Ok(())
    }
}
