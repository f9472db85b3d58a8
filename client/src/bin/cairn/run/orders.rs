//! What an agent and its guard say to each other: one JSON object a line, over a socket pair.

use cairn_client::lease::Moment;
use serde::{Deserialize, Serialize};

/// The agent's part. The end of it is an order too: to kill at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// The lease lasts: ask the command to end at `stop`, and kill it at `kill`, unless told anew. The first one starts it.
    Until { stop: Moment, kill: Moment },
    /// Pass a signal on.
    Signal(i32),
    /// Kill all of it.
    Kill,
}

/// The guard's part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word {
    /// The command runs.
    Started { pid: i32 },
    /// The lease was not renewed in time: the command was asked to end.
    Stopping,
    /// All of it is gone.
    Ended(Ended),
    /// It could not be started.
    Failed(String),
}

/// How the command ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ended {
    /// Its exit code.
    pub(super) code: Option<i32>,
    /// The signal that ended it.
    pub(super) signal: Option<i32>,
    /// How many processes it left behind, which were killed.
    pub(super) left: usize,
}

impl Ended {
    /// Whether it was done, and left nothing.
    pub(super) fn is_clean(&self) -> bool {
        self.code == Some(0) && self.left == 0
    }

    /// In words.
    pub(super) fn in_words(&self) -> String {
        let how = match (self.code, self.signal) {
            (Some(code), _) => format!("ended with code {code}"),
            (None, Some(signal)) => format!("was ended by signal {signal}"),
            (None, None) => "ended".into(),
        };
        match self.left {
            0 => how,
            1 => format!("{how}, and left a process behind, which was killed"),
            left => format!("{how}, and left {left} processes behind, which were killed"),
        }
    }
}
