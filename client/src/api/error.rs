//! Why a request failed, and what to do.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What went wrong: the kind decides the exit code of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// Anything else.
    Internal,
    /// The request makes no sense.
    Invalid,
    /// No such name, version or node.
    NotFound,
    /// Name taken, not the owner, stale epoch, another version, a storage-only node asked to own or load.
    Conflict,
    /// No leader, no quorum, timed out, too busy.
    Unavailable,
    /// No copy verifies.
    Corrupt,
    /// Too few durable copies; nothing was committed.
    Durability,
    /// Not allowed.
    Denied,
}

impl Code {
    /// The exit code of the command line (CLI.md's table).
    pub fn exit(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::Invalid => 2,
            Self::NotFound => 3,
            Self::Conflict => 4,
            Self::Unavailable => 5,
            Self::Corrupt => 6,
            Self::Durability => 7,
            Self::Denied => 8,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Internal => "internal",
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Unavailable => "unavailable",
            Self::Corrupt => "corrupt",
            Self::Durability => "durability",
            Self::Denied => "denied",
        })
    }
}

/// Whether it may have happened all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Nothing happened.
    #[default]
    None,
    /// It may have happened.
    Unknown,
}

/// Why a request failed, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// The kind.
    pub code: Code,
    /// What failed, and why.
    pub message: String,
    /// What to try next.
    pub hint: Option<String>,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// Whether it may have happened.
    pub outcome: Outcome,
}

impl Error {
    /// A final error, after which nothing happened.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, retryable: false, outcome: Outcome::None }
    }

    /// A passing trouble: the same request may succeed later.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { retryable: true, ..Self::new(Code::Unavailable, message) }
    }

    /// With what to try next.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// It may have happened.
    #[must_use]
    pub fn unknown(self) -> Self {
        Self { outcome: Outcome::Unknown, ..self }
    }
}
