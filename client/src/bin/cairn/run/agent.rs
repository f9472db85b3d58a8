//! One agent: stands by, takes over, serves, and stands by again.

use std::ffi::OsString;
use std::time::Duration;

use cairn_client::api::{Code, Error};
use cairn_client::dial::Client;
use cairn_client::fault::Fault;
use cairn_client::request;
use cairn_client::standby::Standby;
use cairn_store::name::Name;
use cairn_store::segment::Epoch;

use super::home::Home;
use super::keeper::Keeper;
use super::note::{Notes, What};
use super::saver::{Saved, Terms};
use super::serve::Served;
use super::signals::Signals;
use super::state::StatePath;
use crate::report::Report;

/// The pause before the cluster is asked again that did not answer.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// How long one question may take before it is said that it is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How long the last save, and giving the lease up, may take.
pub(super) const END_PATIENCE: Duration = Duration::from_secs(30);

/// What an agent is to do.
pub(super) struct Job {
    pub(super) name: Name,
    pub(super) command: Vec<OsString>,
    pub(super) lease: Duration,
    pub(super) standby: bool,
    pub(super) terms: Terms,
    pub(super) grace: Duration,
    pub(super) restarts: u32,
    /// How long the cluster may be silent before the name is owned; none: as long as it takes.
    pub(super) timeout: Option<Duration>,
}

impl Job {
    /// How long one question may take.
    pub(super) fn patience(&self) -> Duration {
        self.timeout.map_or(PATIENCE, |timeout| timeout.min(PATIENCE))
    }
}

/// An ownership, with its lease and its state at the path.
pub(super) struct Hold {
    pub(super) epoch: Epoch,
    pub(super) saved: Saved,
    pub(super) keeper: Keeper,
}

/// An agent at work.
pub(super) struct Agent {
    pub(super) job: Job,
    pub(super) home: Home,
    pub(super) client: Client,
    pub(super) state: StatePath,
    pub(super) notes: Notes,
    pub(super) signals: Signals,
}

impl Agent {
    /// Until the command is done, a signal asks to end, or nothing more can be done.
    pub(super) async fn run(&mut self) -> Result<u8, Report> {
        let output = Some(self.state.output());
        let mut standby = Standby::new(self.client.clone(), self.job.name.clone(), output);
        if self.job.standby {
            self.notes.ready();
        }
        loop {
            let Some(mut hold) = self.take_over(&mut standby).await? else {
                self.notes.say(What::Ended, None, None, "ended while it stood by");
                return Ok(0);
            };
            self.notes.ready();
            let epoch = hold.epoch;
            let served = self.serve(&mut hold).await;
            self.state.set_used();
            standby.set_applied(None);
            match served {
                Ok(Served::Done { saved, clean, why }) => {
                    self.release(epoch).await;
                    return self.done(saved, clean, &why);
                }
                Ok(Served::Lost { why, done }) => self.lose(epoch, &why, done).await?,
                Ok(Served::GaveUp(why)) => {
                    self.release(epoch).await;
                    let hint = "a standby takes over, if there is one; see what the command says";
                    let report = Report::internal(format!("the command failed: it {why}"));
                    return Err(Report { hint: Some(hint.into()), ..report });
                }
                Err(report) => {
                    self.release(epoch).await;
                    return Err(report);
                }
            }
        }
    }

    /// Gives the lease up, so that nobody has to wait for its end.
    pub(super) async fn release(&self, epoch: Epoch) {
        let client = self.home.any(END_PATIENCE);
        match client.release(request::new_id(), &self.job.name, epoch).await {
            Ok(()) => self.notes.say(What::Released, Some(epoch), None, "the lease is given up"),
            // It is over by itself before long.
            Err(error) => {
                let message = format!("the lease could not be given up, and ends by itself: {error}");
                self.notes.say(What::Released, Some(epoch), None, &message);
            }
        }
    }

    fn done(&self, saved: bool, clean: bool, why: &str) -> Result<u8, Report> {
        if !saved {
            let message = format!("the command {why}, and its last state could not be saved");
            let hint = format!("see the lines above; what there is of it is at {}", self.state.path().display());
            return Err(Report { hint: Some(hint), ..Report::internal(message) });
        }
        if !clean {
            return Err(Report::internal(format!("the command {why}: it has to stay in the foreground")));
        }
        Ok(0)
    }

    /// What comes after a lease that is lost: the next turn of a standby; or the end, if there is no more to do.
    pub(super) async fn lose(&self, epoch: Epoch, why: &str, done: bool) -> Result<(), Report> {
        let message = format!("the lease is lost: {why}");
        self.notes.say(What::Lost, Some(epoch), None, &message);
        if self.job.standby && !done {
            return Ok(());
        }
        let hint = match done {
            true => "what was not saved by then is at the path only",
            false => "the command was ended; with --standby this agent would wait for its turn",
        };
        // Who has it now does not give it back; but a cluster that was silent may answer again.
        let error = match self.client.show(&self.job.name).await {
            Ok(shown) if shown.summary.epoch != epoch || shown.summary.owner.as_ref() != Some(&self.home.node) => {
                Error::new(Code::Conflict, message)
            }
            Err(error) if error.code == Code::NotFound => Error::new(Code::NotFound, message),
            _ => Error::unavailable(message),
        };
        Err(Fault::from(error.hint(hint)).into())
    }
}
