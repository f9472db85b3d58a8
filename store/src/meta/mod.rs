//! The replicated state machine: pure, and the only place where the cluster's truth changes.
//!
//! ```text
//! Entry (stamp, Command) ──apply──► State, Reply
//! ```
//!
//! - [`command`]: what can be asked; [`reply`]: what is answered;
//! - [`state`]: what is known, in persistent maps: a clone is a snapshot;
//! - [`apply`]: one function a command. Placement, time and liveness come as arguments of the command; nothing is
//!   read from outside, so every node gets the same state. A rejection is part of the reply;
//! - [`event`]: what an entry changed, told to watchers; [`history`]: the newest of it;
//! - [`query`]: questions about a state;
//! - [`snapshot`]: a state as a stream of records, and back; [`backup`]: one as a file, from which another cluster begins;
//! - [`salvage`]: a backup out of what the global tier says;
//! - [`invariant`]: what must hold of every state.

pub mod apply;
pub mod backup;
pub mod command;
pub mod event;
pub mod history;
pub mod invariant;
pub mod query;
pub mod reply;
pub mod salvage;
pub mod snapshot;
pub mod state;

pub use backup::{Backup, BackupError, RestoreStep};
pub use command::{Command, Commit, Entry, Finding, Request, Scope, Source, Stamp};
pub use event::{Change, Event, Watched};
pub use history::History;
pub use reply::{Outcome, Rejection, Reply};
pub use state::{Answer, Origin, Phase, State, Usage};

#[cfg(test)]
mod tests;
