//! Errors, as the command line tells them.

use cairn_client::api::{self, Code, Outcome};
use cairn_client::fault::Fault;
use cairn_store::name::InvalidName;
use serde::Serialize;

/// What went wrong, what to try next, and the exit code.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    pub(crate) retryable: bool,
    pub(crate) outcome: Outcome,
    #[serde(skip)]
    pub(crate) exit: u8,
}

/// What to say when nobody waited for the answer.
const INTERRUPTED: &str = "the cluster may go on with it: see `cairn show NAME`, or `cairn node ls`";

impl Report {
    /// A request that makes no sense.
    pub(crate) fn invalid(message: impl Into<String>, hint: impl Into<String>) -> Self {
        api::Error::new(Code::Invalid, message).hint(hint).into()
    }

    /// What no name can start with.
    pub(crate) fn no_such_prefix(prefix: &str, error: &InvalidName) -> Self {
        Self::invalid(format!("no name starts with {prefix:?}: {error}"), "give the beginning of a name, such as db/")
    }

    /// Anything else.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        api::Error::new(Code::Internal, message).into()
    }

    /// A signal came; nobody waited for what the node made of the request.
    pub(crate) fn interrupted(exit: u8) -> Self {
        Self {
            exit,
            code: "interrupted".into(),
            ..api::Error::new(Code::Internal, "interrupted").hint(INTERRUPTED).unknown().into()
        }
    }

    /// Nothing stays of what was interrupted, so nothing is unknown.
    pub(crate) fn without_effect(self) -> Self {
        Self { hint: None, outcome: Outcome::None, ..self }
    }

    /// Words that do not parse.
    pub(crate) fn usage(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        let mut parts = text.split("\n\n").map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
        let message = parts.next().unwrap_or_default();
        let message = message.strip_prefix("error: ").unwrap_or(&message);
        let hint = parts.find(|part| part.starts_with("tip:")).map(|tip| tip.replacen("tip: ", "", 1));
        Self::invalid(message, hint.unwrap_or_else(|| "see `cairn --help`".into()))
    }
}

impl From<Fault> for Report {
    fn from(fault: Fault) -> Self {
        Self {
            code: fault.code(),
            message: fault.to_string(),
            hint: fault.hint().map(str::to_owned),
            retryable: fault.retryable(),
            outcome: fault.outcome(),
            exit: fault.exit(),
        }
    }
}

impl From<api::Error> for Report {
    fn from(error: api::Error) -> Self {
        Fault::from(error).into()
    }
}
