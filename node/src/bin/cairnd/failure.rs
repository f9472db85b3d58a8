//! Errors of the daemon's commands, and the exit codes.

use std::fmt;
use std::io;

use cairn_client::api;
use cairn_client::fault::Fault;
use cairn_node::config::ConfigError;

/// Anything else.
pub(crate) const OTHER: u8 = 1;
/// A usage that cannot be.
pub(crate) const USAGE: u8 = 2;
/// No such name, version or node.
const NOT_FOUND: u8 = 3;
/// It contradicts what is there.
pub(crate) const CONFLICT: u8 = 4;
/// Nobody answered in time.
pub(crate) const UNAVAILABLE: u8 = 5;
/// Bytes that do not verify.
pub(crate) const CORRUPT: u8 = 6;
/// Too few durable copies.
const DURABILITY: u8 = 7;
/// Not allowed.
const DENIED: u8 = 8;
/// The configuration.
const CONFIG: u8 = 78;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: u8,
    /// What failed, and why.
    pub(crate) message: String,
    /// What to try next.
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { exit: OTHER, message: message.into(), hint: None }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    pub(crate) fn exit(self, exit: u8) -> Self {
        Self { exit, ..self }
    }

    /// Its kind, as JSON names it.
    pub(crate) fn code(&self) -> &'static str {
        match self.exit {
            USAGE => "invalid",
            CONFLICT => "conflict",
            NOT_FOUND => "not_found",
            UNAVAILABLE => "unavailable",
            CORRUPT => "corrupt",
            DURABILITY => "durability",
            DENIED => "denied",
            CONFIG => "configuration",
            _ => "internal",
        }
    }

    /// `doing` failed.
    pub(crate) fn io(doing: impl fmt::Display) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::from(io::Error::new(error.kind(), format!("{doing}: {error}")))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let text = error.to_string();
        // The operating system's number says nothing that its words do not.
        Self::new(text.split(" (os error").next().unwrap_or(&text))
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self { exit: CONFIG, message: error.message, hint: Some(error.hint) }
    }
}

impl From<api::Error> for Failure {
    fn from(error: api::Error) -> Self {
        Self { exit: error.code.exit(), message: error.message, hint: error.hint }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self { exit: fault.exit(), message: fault.to_string(), hint: fault.hint().map(str::to_owned) }
    }
}
