//! The data plane: bytes go point to point, never through Raft.
//!
//! ```text
//! push   owner ──Push──► holder          pull   loader ──Pull──► holder
//!        owner ◄─PushAnswer─ holder             loader ◄─PullAnswer, table, payload─ holder
//!        owner ──payload, Sealed, table──► holder
//!        owner ◄─PushDone (receipt)─ holder
//! ```
//!
//! - [`port`]: the listener: greeting, then one request after the other;
//! - [`push`] and [`receive`]: a save's bytes on their way to a new holder;
//! - [`pull`] and [`serve`]: a load's bytes on their way to the loader, resumable at any block;
//! - [`digest`]: table and digest of a source, in one pass;
//! - [`stream`]: payloads over any async stream, for connections without a faster way;
//! - [`snapshot`]: the replicated state on its way to a member that is far behind; [`backup`]: to a client; `pieces`: its
//!   records as frames.

pub mod backup;
pub mod digest;
mod pieces;
pub mod port;
pub mod pull;
pub mod push;
pub mod receive;
pub mod serve;
pub mod snapshot;
pub mod stream;

use cairn_client::wire::{Refusal, RefusalCode};

/// What is said of a copy that was put aside.
pub(crate) const QUARANTINED: &str = "its copy is in quarantine: its bytes failed verification";

pub(crate) fn refusal(code: RefusalCode, message: impl Into<String>) -> Refusal {
    Refusal { code, message: message.into() }
}
