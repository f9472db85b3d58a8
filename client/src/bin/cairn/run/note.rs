//! What the agent tells: a line each on stderr, and to systemd. The standard output is the command's.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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
    /// The lease was not renewed in time: the command is asked to end.
    Stopping,
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

/// How many lines may wait for somebody who reads them. What comes then is not told: nothing may wait for a reader.
const LINES_MAX: usize = 1024;
/// How long the last lines are waited for in the end.
const END_MAX: Duration = Duration::from_secs(1);

/// Tells what happens to one name.
pub(super) struct Notes {
    name: Name,
    format: Format,
    lines: Option<SyncSender<String>>,
    /// Ends when the last line is written.
    written: Receiver<()>,
    /// What was said last of each kind that is said again and again.
    last: Mutex<BTreeMap<What, String>>,
}

impl Notes {
    pub(super) fn new(name: Name, format: Format) -> Self {
        let (lines, queue) = sync_channel::<String>(LINES_MAX);
        let (writing, written) = sync_channel::<()>(0);
        std::thread::spawn(move || {
            let _writing = writing;
            for line in queue {
                // Without a place for notes there is nothing more to say.
                let _ = writeln!(std::io::stderr().lock(), "{line}");
            }
        });
        Self { name, format, lines: Some(lines), written, last: Mutex::default() }
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
        if let Some(lines) = &self.lines {
            let _ = lines.try_send(text);
        }
    }

    /// The same, unless it is what was said last of this.
    pub(super) fn say_once(&self, event: What, epoch: Option<Epoch>, version: Option<Version>, message: &str) {
        let before = self.last().insert(event, message.into());
        // Of what is waited for the first word is enough: the others differ in milliseconds.
        let told = before.as_deref().is_some_and(|before| before == message || event == What::Waiting);
        if !told {
            self.write(event, epoch, version, message);
        }
    }
}

impl Drop for Notes {
    fn drop(&mut self) {
        self.lines = None;
        let _ = self.written.recv_timeout(END_MAX);
    }
}
