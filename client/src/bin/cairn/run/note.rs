//! What the agent tells: a line each on stderr, and to systemd. The standard output is the command's.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cairn_store::name::Name;
use cairn_store::segment::{Epoch, Version};
use sd_notify::NotifyState;
use serde::Serialize;

use crate::output::Format;
use crate::views;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    /// The cluster does not answer.
    Waiting,
    /// Another node has the lease.
    StandingBy,
    /// A version came to the path.
    Applied,
    /// What was at the path was put aside.
    Replaced,
    /// This node has the lease.
    Claimed,
    /// The command runs.
    Started,
    /// A version was made.
    Saved,
    /// A save failed; it is tried again.
    SaveFailed,
    /// A signal asks this agent to end.
    Ending,
    /// The command has ended.
    Ended,
    /// The command is started again after a pause.
    Restarting,
    /// The lease is lost.
    Lost,
    /// The lease was given up.
    Released,
}

#[derive(Serialize)]
struct Line<'a> {
    at: String,
    event: What,
    name: &'a Name,
    epoch: Option<Epoch>,
    version: Option<Version>,
    message: &'a str,
}

/// Tells what happens to one name.
pub(super) struct Notes {
    name: Name,
    format: Format,
    /// What was said last of each kind that is said again and again.
    last: Mutex<BTreeMap<What, String>>,
}

impl Notes {
    pub(super) fn new(name: Name, format: Format) -> Self {
        Self { name, format, last: Mutex::default() }
    }

    /// Says that the agent is at work: to systemd, once.
    pub(super) fn ready(&self) {
        // Nobody may have asked.
        let _ = sd_notify::notify(&[NotifyState::Ready]);
    }

    /// Says that it ends.
    pub(super) fn stopping(&self) {
        let _ = sd_notify::notify(&[NotifyState::Stopping]);
    }

    /// Says what happened.
    pub(super) fn say(&self, event: What, epoch: Option<Epoch>, version: Option<Version>, message: &str) {
        // What was in the way is over: if it comes again it is said again.
        self.last().retain(|what, _| !matches!(what, What::SaveFailed | What::Waiting));
        self.write(event, epoch, version, message);
    }

    fn last(&self) -> MutexGuard<'_, BTreeMap<What, String>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, event: What, epoch: Option<Epoch>, version: Option<Version>, message: &str) {
        let _ = sd_notify::notify(&[NotifyState::Status(message)]);
        let text = match self.format {
            Format::Table => format!("cairn run {}: {message}", self.name),
            _ => serde_json::to_string(&Line { at: views::now(), event, name: &self.name, epoch, version, message })
                .unwrap_or_else(|error| error.to_string()),
        };
        // Without a place for notes there is nothing more to say.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// The same, unless it is what was said last of this.
    pub(super) fn say_once(&self, event: What, epoch: Option<Epoch>, version: Option<Version>, message: &str) {
        let before = self.last().insert(event, message.into());
        if before.as_deref() != Some(message) {
            self.write(event, epoch, version, message);
        }
    }
}
