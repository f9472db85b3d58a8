//! Why it failed: a node said no, or a file of this machine did.

use std::fmt;
use std::io;
use std::path::Path;

use crate::api::{Code, Error, Outcome};

/// Why a save or a load failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The request failed, on a node or on the way to one.
    #[error(transparent)]
    Request(#[from] Error),
    /// A file of this machine could not be read or written.
    #[error(transparent)]
    File(#[from] FileFault),
}

/// A file that could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FileFault {
    /// What failed, on which path, and why.
    pub message: String,
    /// What to try next.
    pub hint: Option<String>,
    /// Whether something happened all the same, in the cluster.
    pub outcome: Outcome,
}

impl FileFault {
    /// `doing` ("read", "write to") went wrong at `path`.
    pub fn new(doing: &str, path: &Path, error: &io::Error) -> Self {
        let hint = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some("make room, then try again"),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Some("check the path"),
            io::ErrorKind::PermissionDenied => {
                Some("this user has no access to it: check its permissions, and those of its folder")
            }
            _ => None,
        };
        let hint = hint.map(str::to_owned);
        let message = format!("cannot {doing} {}: {}", path.display(), Cause(error));
        Self { message, hint, outcome: Outcome::None }
    }

    /// Something else about a file.
    pub fn other(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, outcome: Outcome::None }
    }

    /// With what to try next.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// In one line.
    pub(crate) fn with_hint(&self) -> String {
        self.hint.as_ref().map_or_else(|| self.message.clone(), |hint| format!("{}; {hint}", self.message))
    }
}

/// An IO error in words, without the operating system's number.
pub(crate) struct Cause<'a>(pub(crate) &'a io::Error);

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        f.write_str(text.split(" (os error").next().unwrap_or(&text))
    }
}

impl Fault {
    /// A request that makes no sense: refused before anything was done.
    pub(crate) fn invalid(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Request(Error::new(Code::Invalid, message).hint(hint))
    }

    /// The kind, as the command line's JSON has it.
    pub fn code(&self) -> String {
        match self {
            Self::Request(error) => error.code.to_string(),
            Self::File(_) => "io".into(),
        }
    }

    /// The exit code of the command line.
    pub fn exit(&self) -> u8 {
        match self {
            Self::Request(error) => error.code.exit(),
            Self::File(_) => 1,
        }
    }

    /// What to try next.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Request(error) => error.hint.as_deref(),
            Self::File(fault) => fault.hint.as_deref(),
        }
    }

    /// Whether the same request may succeed later.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Request(error) if error.retryable)
    }

    /// Whether it may have happened.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Request(error) => error.outcome,
            Self::File(fault) => fault.outcome,
        }
    }

    /// It may have happened, or a part of it has.
    #[must_use]
    pub(crate) fn unknown(self) -> Self {
        match self {
            Self::Request(error) => Self::Request(error.unknown()),
            Self::File(fault) => Self::File(FileFault { outcome: Outcome::Unknown, ..fault }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_exit_code() {
        let cases = [
            (Code::Internal, "internal", 1),
            (Code::Invalid, "invalid", 2),
            (Code::NotFound, "not_found", 3),
            (Code::Conflict, "conflict", 4),
            (Code::Unavailable, "unavailable", 5),
            (Code::Corrupt, "corrupt", 6),
            (Code::Durability, "durability", 7),
            (Code::Denied, "denied", 8),
        ];
        for (code, text, exit) in cases {
            let fault = Fault::from(Error::new(code, "why"));
            assert_eq!((fault.code().as_str(), fault.exit()), (text, exit));
        }
    }

    #[test]
    fn a_file_fault_names_the_path_and_the_cause() {
        let error = io::Error::from_raw_os_error(2);
        let fault = Fault::from(FileFault::new("read", Path::new("/no/such"), &error));
        assert_eq!(fault.to_string(), "cannot read /no/such: No such file or directory");
        assert_eq!((fault.code().as_str(), fault.exit(), fault.retryable()), ("io", 1, false));
        assert_eq!(fault.hint(), Some("check the path"));
    }
}
