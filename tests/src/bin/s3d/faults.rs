//! What goes wrong, as a file says. It is read anew at each request; write it elsewhere and rename it into place.

use std::io::ErrorKind;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use hyper::{Method, Uri};
use serde::Deserialize;

/// The file, and how many requests it was asked about.
pub(crate) struct Faults {
    path: Option<PathBuf>,
    seen: Mutex<Seen>,
}

/// Requests that a text of the file was meant for. Another text is counted from 0.
#[derive(Default)]
struct Seen {
    text: String,
    requests: u64,
}

/// What the file can say. What is not said does not happen.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Fault {
    /// Milliseconds before a request is looked at.
    pub(crate) delay_ms: u64,
    /// Bytes a second of each body, there and back.
    pub(crate) rate: Option<NonZeroU64>,
    /// The status of the reply; the request is read, and not done.
    pub(crate) status: Option<u16>,
    /// Bytes of a body after which the connection is dropped. A body that is not longer is left alone.
    pub(crate) cut: Option<u64>,
    /// The request is done, and the connection is dropped in place of a reply.
    pub(crate) lost: bool,
    /// `status`, `cut` and `lost` hold for each such one of the requests meant: 3 is the third, the sixth, ….
    every: Option<NonZeroU64>,
    /// Only requests of this method are meant.
    only: Option<String>,
    /// Only requests are meant with this in their path and query, as they are sent: `partNumber=2` finds a part.
    key_contains: Option<String>,
}

impl Faults {
    /// Faults as `path` says; never any without.
    pub(crate) fn new(path: Option<PathBuf>) -> Self {
        Self { path, seen: Mutex::default() }
    }

    /// What happens to a request. An error is about the file.
    pub(crate) async fn of(&self, method: &Method, uri: &Uri) -> Result<Fault, String> {
        let Some(path) = &self.path else { return Ok(Fault::default()) };
        let text = match tokio::fs::read_to_string(path).await {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::from("{}"),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let fault: Fault = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        if !fault.means(method, uri) {
            return Ok(Fault::default());
        }
        let nth = self.count(text);
        match fault.every {
            Some(every) if !nth.is_multiple_of(every.get()) => Ok(fault.without_failure()),
            _ => Ok(fault),
        }
    }

    /// The number of a request among those that this text was meant for, from 1.
    fn count(&self, text: String) -> u64 {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.text != text {
            *seen = Seen { text, requests: 0 };
        }
        seen.requests += 1;
        seen.requests
    }
}

impl Fault {
    fn means(&self, method: &Method, uri: &Uri) -> bool {
        let sent = uri.path_and_query().map_or(uri.path(), |both| both.as_str());
        self.only.as_ref().is_none_or(|only| only == method.as_str())
            && self.key_contains.as_ref().is_none_or(|part| sent.contains(part.as_str()))
    }

    /// Slow as before, and it succeeds.
    fn without_failure(self) -> Self {
        Self { status: None, cut: None, lost: false, ..self }
    }
}
