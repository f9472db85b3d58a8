//! Asked to end: Ctrl-C, SIGTERM, or a terminal that is closed.

use std::fs;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// The signals that ask. From its making on they do not end the process by themselves.
pub(crate) struct Signals {
    int: Signal,
    term: Signal,
    /// None if whoever started us wants it ignored, as `nohup` does.
    hup: Option<Signal>,
}

impl Signals {
    /// Must be called within a runtime.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(Failure::io("cannot listen to signals"));
        let hup = if ignores_hangup() { None } else { Some(listen(SignalKind::hangup())?) };
        Ok(Self { int: listen(SignalKind::interrupt())?, term: listen(SignalKind::terminate())?, hup })
    }

    /// The exit code that the next one stands for.
    pub(crate) async fn next(&mut self) -> u8 {
        let hangup = async {
            match &mut self.hup {
                Some(hup) => hup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = hangup => 129,
            _ = self.int.recv() => 130,
            _ = self.term.recv() => 143,
        }
    }
}

/// What the kernel says; a signal's bit is its number less one.
fn ignores_hangup() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}
