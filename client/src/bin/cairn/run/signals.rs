//! What is asked of an agent by signals.

use std::io;

use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// To end: the command too, by the same signal.
    End(i32),
    /// To save.
    Save,
    /// Nothing of the agent: it is the command's.
    Pass(i32),
}

/// The signals that an agent listens to. From its making on they do not end the process by themselves.
pub(super) struct Signals {
    int: Signal,
    term: Signal,
    usr1: Signal,
    usr2: Signal,
    hup: Signal,
    quit: Signal,
}

impl Signals {
    /// Must be called within a runtime.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            int: signal(SignalKind::interrupt())?,
            term: signal(SignalKind::terminate())?,
            usr1: signal(SignalKind::user_defined1())?,
            usr2: signal(SignalKind::user_defined2())?,
            hup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    /// The next one. May be dropped at any point.
    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.int.recv() => Asked::End(Number::INT.as_raw()),
            _ = self.term.recv() => Asked::End(Number::TERM.as_raw()),
            _ = self.usr1.recv() => Asked::Save,
            _ = self.usr2.recv() => Asked::Pass(Number::USR2.as_raw()),
            _ = self.hup.recv() => Asked::Pass(Number::HUP.as_raw()),
            _ = self.quit.recv() => Asked::Pass(Number::QUIT.as_raw()),
        }
    }

    /// The next one that asks to end.
    pub(super) async fn end(&mut self) -> i32 {
        loop {
            if let Asked::End(number) = self.next().await {
                return number;
            }
        }
    }
}
