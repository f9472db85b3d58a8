//! The command, as the agent has it: through its guard.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use cairn_client::lease::Term;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::family;
use super::orders::{Ended, Order, Word};

/// How long a guard may take to read.
const GIVE_MAX: Duration = Duration::from_secs(1);

/// A command that was started. Dropped, it is killed with all that it forked.
pub(super) struct Ward {
    words: Lines<BufReader<OwnedReadHalf>>,
    orders: Orders,
    guard: Child,
}

/// The way to the guard, which the keeper of the lease has too: whatever the agent waits for, a renewal reaches the guard.
#[derive(Clone, Debug)]
pub(super) struct Orders(Arc<Mutex<OwnedWriteHalf>>);

impl Orders {
    /// The lease lasts longer.
    pub(super) async fn extend(&self, term: Term) {
        self.give(Order::Until { stop: term.stop_at(), kill: term.kill_at() }).await;
    }

    /// Has the guard do something. If it is gone, [`Ward::next`] says so.
    pub(super) async fn give(&self, order: Order) {
        let Ok(mut line) = serde_json::to_string(&order) else { return };
        line.push('\n');
        // One that is stopped reads nothing: then the agent ends the command itself.
        let _ = timeout(GIVE_MAX, async { self.0.lock().await.write_all(line.as_bytes()).await }).await;
    }
}

impl Ward {
    /// Starts the guard, and with it the command. Must be called on the thread that lasts as long as this process.
    pub(super) async fn start(
        command: &[OsString],
        variables: &[(&str, OsString)],
        lock: &Path,
        term: Term,
    ) -> io::Result<Self> {
        let (own, theirs) = StdStream::pair()?;
        own.set_nonblocking(true)?;
        let mut guard = Command::new("/proc/self/exe");
        guard
            .arg0("cairn")
            .args(["guard", "--lock"])
            .arg(lock)
            .arg("--")
            .args(command)
            .envs(variables.iter().map(|(key, value)| (key, value)))
            // The manager hears of this process, not of the command.
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_USEC")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .process_group(0);
        let guard = guard.spawn()?;
        let (words, orders) = UnixStream::from_std(own)?.into_split();
        let orders = Orders(Arc::new(Mutex::new(orders)));
        orders.extend(term).await;
        Ok(Self { words: BufReader::new(words).lines(), orders, guard })
    }

    /// The way to its guard.
    pub(super) fn orders(&self) -> &Orders {
        &self.orders
    }

    /// What happens next; after [`Word::Ended`] and [`Word::Failed`] nothing does. May be dropped at any point.
    pub(super) async fn next(&mut self) -> Word {
        let line = self.words.next_line().await.ok().flatten();
        if let Some(word) = line.and_then(|line| serde_json::from_str(&line).ok()) {
            return word;
        }
        // Without its guard the command was killed, but not what it had forked.
        Word::Ended(self.destroy().await)
    }

    /// Kills the guard and all that it was to end, for a guard that does not.
    pub(super) async fn destroy(&mut self) -> Ended {
        let _ = self.guard.start_kill();
        let _ = self.guard.wait().await;
        family::end(|_, _| {}).await;
        Ended { code: None, signal: Some(rustix::process::Signal::KILL.as_raw()), left: 0 }
    }
}
