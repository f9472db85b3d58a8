//! A word on a terminal while no node answers. Never in a pipe.

use std::convert::Infallible;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cairn_client::dial::{Client, Contact};

/// Whoever answers sooner is not waited for.
const QUIET: Duration = Duration::from_secs(1);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What is waited for, if anything is.
#[derive(Debug, Default)]
struct Now {
    since: Option<Instant>,
    what: String,
}

/// Says once what is waited for, if that lasts.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Arc<Mutex<Now>>);

impl Waiting {
    /// A client whose answers are waited for.
    pub(crate) fn on(&self, client: Client) -> Client {
        let now = Arc::clone(&self.0);
        client.telling(Arc::new(move |contact| {
            let mut now = now.lock().unwrap_or_else(PoisonError::into_inner);
            match contact {
                Contact::Answered => *now = Now::default(),
                Contact::Failed(error) => now.what.clone_from(&error.message),
                Contact::Asking(endpoint) => {
                    if now.since.is_none() {
                        *now = Now { since: Some(Instant::now()), what: format!("{endpoint} has not answered yet") };
                    }
                }
            }
        }))
    }

    /// Never ends: it is dropped with what it belongs to. `patience` is how long that may last.
    pub(crate) async fn tell(&self, patience: Duration) -> Infallible {
        if io::stderr().is_terminal() {
            let what = loop {
                tokio::time::sleep(LOOK).await;
                let now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                if now.since.is_some_and(|since| since.elapsed() >= QUIET) {
                    break now.what.clone();
                }
            };
            let patience = humantime::format_duration(patience);
            // Without a terminal after all there is nobody to tell.
            let _ = writeln!(io::stderr().lock(), "waiting: {what} (gives up after {patience}, see --timeout)");
        }
        std::future::pending().await
    }
}
