//! Saves the state: at an interval, when asked, and in the end; each time only if it changed.

use std::path::Path;
use std::time::Duration;

use cairn_client::api::{Code, Saved};
use cairn_client::dial::Client;
use cairn_client::fault::Fault;
use cairn_client::save::SaveOptions;
use cairn_store::name::Name;
use cairn_store::node::NodeName;
use cairn_store::segment::{Ack, Epoch, Version};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::note::{Notes, What};
use super::state::{Signature, StatePath};

/// How soon a save that failed is tried again, at the latest.
const RETRY_MAX: Duration = Duration::from_secs(10);
/// The pause before the last save is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// How the state is saved.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) every: Option<Duration>,
    pub(super) replicas: u8,
    pub(super) ack: Ack,
    pub(super) keep: u32,
}

/// What a saver is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Save now.
    Save,
    /// Save what is there in the end, and be done.
    Finish,
}

/// Saves the state of one ownership.
pub(super) struct Saver<'a> {
    pub(super) client: &'a Client,
    pub(super) notes: &'a Notes,
    pub(super) name: &'a Name,
    /// The owner.
    pub(super) node: &'a NodeName,
    pub(super) state: StatePath,
    pub(super) epoch: Epoch,
    pub(super) terms: &'a Terms,
    /// The newest version, and what was at the path when it was made of it or brought there.
    pub(super) version: Option<Version>,
    pub(super) saved: Option<Signature>,
}

impl Saver<'_> {
    /// Saves until it is told to finish: then whether the last save, if it needed one, was acknowledged. An error says that the
    /// ownership is lost.
    pub(super) async fn run(&mut self, mut asks: mpsc::Receiver<Ask>, patience: Duration) -> Result<bool, Fault> {
        let every = self.terms.every.unwrap_or(Duration::MAX / 4);
        let mut tick = interval(every.min(Duration::from_secs(365 * 24 * 3600)));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.tick().await;
        let mut again = None;
        loop {
            let retry = async {
                match again {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                ask = asks.recv() => match ask {
                    Some(Ask::Save) => {}
                    // Nobody asks any more.
                    Some(Ask::Finish) | None => return self.finish(patience).await,
                },
                _ = tick.tick(), if self.terms.every.is_some() => {}
                () = retry => {}
            }
            let failed = self.save().await?.is_err();
            again = failed.then(|| Instant::now() + every.min(RETRY_MAX));
        }
    }

    /// The last save: tried again until `patience` is over.
    async fn finish(&mut self, patience: Duration) -> Result<bool, Fault> {
        let end = Instant::now() + patience;
        loop {
            match self.save().await? {
                Ok(()) => return Ok(true),
                Err(retryable) if retryable && Instant::now() < end => sleep(PAUSE).await,
                Err(_) => return Ok(false),
            }
        }
    }

    /// Saves what is there, if it changed; the inner error says whether it may be tried again.
    pub(super) async fn save(&mut self) -> Result<Result<(), bool>, Fault> {
        let Some(now) = self.state.signature() else {
            return Ok(self.nothing_there());
        };
        if self.saved == Some(now) {
            return Ok(Ok(()));
        }
        let options = SaveOptions {
            replicas: self.terms.replicas,
            ack: self.terms.ack,
            keep: self.terms.keep,
            epoch: Some(self.epoch),
            ..SaveOptions::new(self.name.clone(), self.state.source())
        };
        match self.client.save(options).await {
            Ok(Saved { version, size, .. }) => {
                (self.version, self.saved) = (Some(version), Some(now));
                let message = format!("version {version} is saved ({size} bytes)");
                self.notes.say(What::Saved, Some(self.epoch), self.version, &message);
                Ok(Ok(()))
            }
            Err(fault) if self.is_lost(&fault).await => Err(fault),
            Err(fault) => {
                let hint = fault.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
                self.complain(&format!("a save failed, and is tried again: {fault}{hint}"));
                Ok(Err(!matches!(&fault, Fault::Request(error) if error.code == Code::Invalid)))
            }
        }
    }

    /// Whether a refusal means that this ownership is over, so that no save of this epoch can succeed.
    async fn is_lost(&self, fault: &Fault) -> bool {
        let Fault::Request(error) = fault else { return false };
        if !matches!(error.code, Code::Conflict | Code::NotFound) {
            return false;
        }
        match self.client.show(self.name).await {
            Ok(shown) => shown.summary.epoch != self.epoch || shown.summary.owner.as_ref() != Some(self.node),
            Err(error) => error.code == Code::NotFound,
        }
    }

    fn nothing_there(&self) -> Result<(), bool> {
        if self.version.is_none() {
            // The command has not made it yet.
            return Ok(());
        }
        let path: &Path = self.state.path();
        self.complain(&format!("nothing can be saved: {} is gone, or cannot be read", path.display()));
        Err(false)
    }

    fn complain(&self, message: &str) {
        self.notes.say_once(What::SaveFailed, Some(self.epoch), self.version, message);
    }
}
