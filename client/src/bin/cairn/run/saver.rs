//! Saves the state: at an interval, when asked, and in the end; each time only if it changed.
//!
//! The application may save by itself meanwhile. So each save here says which version it has seen before it looked at the state: one
//! that came in between refuses it, and the state is looked at again. What the application was told is never followed by what it had
//! before.

use std::time::Duration;

use cairn_client::api::{Code, SegmentDetail};
use cairn_client::dial::Client;
use cairn_client::fault::{Fault, FileFault};
use cairn_client::save::SaveOptions;
use cairn_store::archive::Policy;
use cairn_store::digest::Digest;
use cairn_store::name::Name;
use cairn_store::node::NodeName;
use cairn_store::segment::{Ack, Epoch, Kind, Version};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::agent::Job;
use super::home::Home;
use super::note::{Notes, What};
use super::state::{Signature, StatePath};
use crate::args::CopiesArgs;

/// How soon a save that failed is tried again, at the latest.
const RETRY_MAX: Duration = Duration::from_secs(10);
/// The pause before the last save is tried again.
const PAUSE: Duration = Duration::from_millis(500);
/// How often a state is looked at anew because the application has saved meanwhile.
const TRIES: u32 = 4;
/// An interval that never comes.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// How the state is saved.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) every: Option<Duration>,
    pub(super) replicas: u8,
    pub(super) ack: Ack,
    pub(super) keep: u32,
    /// Which versions go into the global tier.
    pub(super) archive: Option<Policy>,
}

impl Terms {
    pub(super) fn new(every: Option<Duration>, copies: &CopiesArgs) -> Self {
        let CopiesArgs { replicas, ack, keep, archive } = *copies;
        Self { every, replicas, ack: ack.into(), keep, archive }
    }
}

/// What a saver is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Save now.
    Save,
    /// Save what is there in the end, and be done.
    Finish,
}

/// Why the state is not saved.
#[derive(Debug)]
pub(super) enum Unsaved {
    /// The ownership is over: nothing more can be saved under it.
    Lost(Fault),
    /// The next try may do better.
    Failed(Fault),
    /// There is nothing at the path any more.
    Gone,
}

/// The newest version that is known, and what was at the path when it was made of it or brought there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Saved {
    pub(super) version: Option<Version>,
    pub(super) digest: Option<Digest>,
    pub(super) size: Option<u64>,
    pub(super) signature: Option<Signature>,
}

/// Saves the state of one ownership.
pub(super) struct Saver<'a> {
    client: &'a Client,
    notes: &'a Notes,
    name: &'a Name,
    /// The owner.
    node: &'a NodeName,
    state: StatePath,
    epoch: Epoch,
    terms: &'a Terms,
    pub(super) saved: Saved,
}

impl<'a> Saver<'a> {
    /// Saves under an ownership, in whose beginning this is known of the newest version.
    pub(super) fn new(
        client: &'a Client,
        notes: &'a Notes,
        (job, home): (&'a Job, &'a Home),
        state: &StatePath,
        (epoch, saved): (Epoch, Saved),
    ) -> Self {
        let (name, node, terms, state) = (&job.name, &home.node, &job.terms, state.clone());
        Self { client, notes, name, node, state, epoch, terms, saved }
    }

    /// Saves until it is told to finish: then whether the last save, if it needed one, was acknowledged. An error says that the
    /// ownership is lost.
    pub(super) async fn run(&mut self, mut asks: mpsc::Receiver<Ask>, patience: Duration) -> Result<bool, Fault> {
        let every = self.terms.every.unwrap_or(NEVER);
        let mut tick = interval(every);
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
            again = match self.save().await {
                Ok(()) => None,
                Err(Unsaved::Lost(fault)) => return Err(fault),
                Err(_) => Some(Instant::now() + every.min(RETRY_MAX)),
            };
        }
    }

    /// The last save: tried again until `patience` is over.
    async fn finish(&mut self, patience: Duration) -> Result<bool, Fault> {
        let end = Instant::now() + patience.min(NEVER);
        // Compared byte by byte: what is written through a map of memory shows by no time.
        self.saved.signature = None;
        loop {
            match self.save().await {
                Ok(()) => return Ok(true),
                Err(Unsaved::Lost(fault)) => return Err(fault),
                Err(Unsaved::Failed(fault)) if may_pass(&fault) && Instant::now() < end => sleep(PAUSE).await,
                Err(_) => return Ok(false),
            }
        }
    }

    /// Saves what is there, if it changed.
    pub(super) async fn save(&mut self) -> Result<(), Unsaved> {
        for _ in 1..TRIES {
            match self.save_once().await {
                Err(Unsaved::Failed(Fault::Request(error))) if error.code == Code::Conflict => {
                    if !self.catch_up().await.map_err(Unsaved::Lost)? {
                        return Err(self.failed(error.into()));
                    }
                }
                Err(Unsaved::Failed(fault)) if is_absent(&fault) => {
                    self.catch_up().await.map_err(Unsaved::Lost)?;
                    return Err(self.failed(fault));
                }
                Err(Unsaved::Failed(fault)) => return Err(self.failed(fault)),
                Err(Unsaved::Gone) => {
                    let path = self.state.path().display();
                    self.complain(&format!("nothing can be saved: {path} is gone"));
                    return Err(Unsaved::Gone);
                }
                done => return done,
            }
        }
        let busy = FileFault::other("the application saves faster than the state can be looked at");
        Err(self.failed(busy.into()))
    }

    async fn save_once(&mut self) -> Result<(), Unsaved> {
        let Some(now) = self.state.look().await else {
            // The command may not have made it yet.
            return if self.saved.version.is_none() { Ok(()) } else { Err(Unsaved::Gone) };
        };
        if self.saved.signature.is_some_and(|saved| saved.is_still(&now)) {
            return Ok(());
        }
        if self.has_newest().await {
            self.saved.signature = Some(now);
            return Ok(());
        }
        let options = SaveOptions {
            replicas: self.terms.replicas,
            ack: self.terms.ack,
            keep: self.terms.keep,
            archive: self.terms.archive,
            epoch: Some(self.epoch),
            if_version: Some(self.saved.version.unwrap_or(Version::NONE)),
            ..SaveOptions::new(self.name.clone(), self.state.source())
        };
        let saved = self.client.save(options).await.map_err(Unsaved::Failed)?;
        let (version, size) = (saved.version, saved.size);
        self.saved =
            Saved { version: Some(version), digest: Some(saved.digest), size: Some(size), signature: Some(now) };
        let message = format!("version {version} is saved ({size} bytes)");
        self.notes.say(What::Saved, Some(self.epoch), Some(version), &message);
        Ok(())
    }

    /// Whether the bytes of the newest version are there, so that nothing needs to be saved.
    async fn has_newest(&self) -> bool {
        let Some(digest) = self.saved.digest else { return false };
        let size = std::fs::symlink_metadata(self.state.path()).map(|there| there.len()).ok();
        // A tree's stream has another size than its folder.
        let may_be = self.state.kind() == Some(Kind::Tree) || size == self.saved.size;
        may_be && self.state.holds(digest).await
    }

    /// Looks which version is the newest, after a save was refused: whether that is another one than was thought. An error says that the
    /// ownership is over.
    async fn catch_up(&mut self) -> Result<bool, Fault> {
        let shown = match self.client.show(self.name).await {
            Ok(shown) => shown,
            Err(error) if error.code == Code::NotFound => return Err(error.into()),
            // The keeper of the lease will find out.
            Err(_) => return Ok(false),
        };
        let summary = &shown.summary;
        if summary.epoch != self.epoch || summary.owner.as_ref() != Some(self.node) {
            let message = format!("the epoch of {} is {}", self.name, summary.epoch);
            return Err(cairn_client::api::Error::new(Code::Conflict, message).into());
        }
        let news = summary.head != self.saved.version;
        self.saved = Saved { signature: None, ..newest(&shown) };
        Ok(news)
    }

    fn failed(&self, fault: Fault) -> Unsaved {
        let hint = fault.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
        self.complain(&format!("a save failed: {fault}{hint}"));
        Unsaved::Failed(fault)
    }

    fn complain(&self, message: &str) {
        self.notes.say_once(What::SaveFailed, Some(self.epoch), self.saved.version, message);
    }
}

/// What is known of the newest version.
pub(super) fn newest(shown: &SegmentDetail) -> Saved {
    let summary = &shown.summary;
    Saved { version: summary.head, digest: summary.digest, size: summary.size, signature: None }
}

fn may_pass(fault: &Fault) -> bool {
    !matches!(fault, Fault::Request(error) if matches!(error.code, Code::Invalid | Code::Conflict))
}

fn is_absent(fault: &Fault) -> bool {
    matches!(fault, Fault::Request(error) if error.code == Code::NotFound)
}
