//! One agent: stands by, takes over, serves, and stands by again.

use std::ffi::OsString;
use std::time::Duration;

use cairn_client::api::{Code, Error};
use cairn_client::claim::ClaimOptions;
use cairn_client::dial::Client;
use cairn_client::fault::Fault;
use cairn_client::lease::{Moment, RENEWALS, Term};
use cairn_client::request;
use cairn_client::standby::{Standby, Standing};
use cairn_store::name::Name;
use cairn_store::segment::{Epoch, Kind, Version};
use tokio::time::{Instant, sleep};

use super::home::Home;
use super::keeper::{Held, Keeper};
use super::note::{Notes, What};
use super::saver::{Saver, Terms};
use super::signals::Signals;
use super::state::{Signature, StatePath};
use super::takeover::{Turn, turn};
use crate::report::Report;

/// The pause before the cluster is asked again that did not answer.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// How long one question may take before it is said that it is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How long the last save, and giving the lease up, may take.
pub(super) const END_PATIENCE: Duration = Duration::from_secs(30);
/// The least time that one renewal gets: the table of answers remembers it for as long, and a little more (R6).
const RENEWAL_MIN: Duration = Duration::from_millis(200);
/// How often a name that others claim or change meanwhile is looked at again, by an agent that does not stand by.
const TRIES: u32 = 5;

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

/// An ownership, with its lease and its state at the path.
pub(super) struct Hold {
    pub(super) epoch: Epoch,
    pub(super) version: Option<Version>,
    /// What was at the path when that version was saved, or brought there.
    pub(super) saved: Option<Signature>,
    pub(super) keeper: Keeper,
}

/// How an ownership ended.
pub(super) enum Served {
    /// The command is done, or was asked to end: all is saved, or not.
    Done { saved: bool, clean: bool, why: String },
    /// It was lost.
    Lost(String),
    /// The command failed too often.
    GaveUp(String),
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
            let Some(hold) = self.take_over(&mut standby).await? else {
                self.notes.say(What::Ended, None, None, "ended while it stood by");
                return Ok(0);
            };
            self.notes.ready();
            let epoch = hold.epoch;
            let served = self.serve(hold).await?;
            self.state.set_used();
            standby.set_applied(None);
            match served {
                Served::Done { saved, clean, why } => {
                    self.release(epoch).await;
                    return if !saved {
                        let path = self.state.path().display();
                        let message =
                            format!("{why}, and the state could not be saved: the newest is at {path} only");
                        Err(Report::internal(message))
                    } else if !clean {
                        let message = format!("the command {why}: it has to stay in the foreground");
                        Err(Report::internal(message))
                    } else {
                        Ok(0)
                    };
                }
                Served::Lost(why) => self.lose(epoch, &why).await?,
                Served::GaveUp(why) => {
                    self.release(epoch).await;
                    let hint = "a standby takes over, if there is one; see what the command says";
                    let report = Report::internal(format!("the command failed too often: it {why}"));
                    return Err(Report { hint: Some(hint.into()), ..report });
                }
            }
        }
    }

    /// Waits for its turn, with the newest version at hand, and becomes the owner; none if a signal asks to end before.
    async fn take_over(&mut self, standby: &mut Standby) -> Result<Option<Hold>, Report> {
        let (mut silent, mut tries) = (None, 0);
        loop {
            let step = tokio::select! {
                _ = self.signals.end() => return Ok(None),
                step = step(&self.job, &self.home, &mut self.state, &self.notes, standby, tries > 0) => step,
            };
            let claimed = match step {
                Ok(Step::Claim(claimed)) => claimed,
                Ok(Step::Again) => {
                    silent = None;
                    continue;
                }
                Ok(Step::TooLate) => {
                    tries += 1;
                    if !self.job.standby && tries >= TRIES {
                        return Err(self.busy());
                    }
                    continue;
                }
                Err(fault) => {
                    let since = *silent.get_or_insert_with(Instant::now);
                    let over = self.job.timeout.is_some_and(|timeout| since.elapsed() >= timeout);
                    if !fault.retryable() || over {
                        return Err(fault.into());
                    }
                    let message = format!("waiting for the cluster: {fault}");
                    self.notes.say_once(What::Waiting, None, None, &message);
                    tokio::select! {
                        _ = self.signals.end() => return Ok(None),
                        () = sleep(PAUSE) => continue,
                    }
                }
            };
            let epoch = claimed.epoch;
            match self.settle(standby, claimed).await? {
                Settled::Held(hold) => return Ok(Some(hold)),
                Settled::Ending => return Ok(None),
                Settled::Lost(why) => self.lose(epoch, &why).await?,
            }
        }
    }

    /// What comes after a lease that is lost: the next turn of a standby, or the end.
    async fn lose(&self, epoch: Epoch, why: &str) -> Result<(), Report> {
        let message = format!("the lease is lost: {why}");
        self.notes.say(What::Lost, Some(epoch), None, &message);
        if self.job.standby {
            return Ok(());
        }
        let hint = "the command was ended; with --standby this agent would wait for its turn";
        // Who has it now does not give it back; but a cluster that was silent may answer again.
        let shown = self.client.show(&self.job.name).await;
        let taken = match shown {
            Ok(shown) => shown.summary.epoch != epoch || shown.summary.owner.as_ref() != Some(&self.home.node),
            Err(error) => error.code == Code::NotFound,
        };
        let error = if taken { Error::new(Code::Conflict, message) } else { Error::unavailable(message) };
        Err(error.hint(hint).into())
    }

    /// Has the owned version at the path, and its lease in hand.
    async fn settle(&mut self, standby: &mut Standby, claimed: Claimed) -> Result<Settled, Report> {
        let Claimed { epoch, head, term } = claimed;
        let name = &self.job.name;
        let message = format!("{} has the lease, in epoch {epoch}", self.home.node);
        self.notes.say(What::Claimed, Some(epoch), head, &message);
        let renewing = self.home.any((self.job.lease / RENEWALS).max(RENEWAL_MIN));
        let mut keeper = Keeper::start(renewing, name.clone(), epoch, term);
        let state = &mut self.state;
        let applied = standby.known().and_then(|known| known.applied);
        let brought = async {
            if head.is_some() && (applied != head || !state.is_as_applied()) {
                apply(state, &self.notes, standby, head).await?;
            }
            if head.is_none() && state.kind().is_some() {
                return Ok(true);
            }
            Ok(false)
        };
        let lost = async {
            loop {
                if let Held::Lost(error) = keeper.changed().await {
                    return error;
                }
            }
        };
        let first = tokio::select! {
            brought = brought => match brought {
                Ok(first) => first,
                Err(report) => {
                    self.release(epoch).await;
                    return Err(report);
                }
            },
            error = lost => return Ok(Settled::Lost(error.message)),
            _ = self.signals.end() => {
                self.release(epoch).await;
                return Ok(Settled::Ending);
            }
        };
        let mut version = head;
        if first {
            let (mut saver, name) = (self.saver(epoch, None), name.clone());
            saver.saved = None;
            let saved = match saver.save().await {
                Ok(Ok(())) => Ok(saver.version),
                Ok(Err(_)) => Err(Report::from(
                    Error::new(Code::Durability, format!("{name} could not be saved for the first time"))
                        .hint("see the line above; the command was not started"),
                )),
                Err(fault) => return Ok(Settled::Lost(fault.to_string())),
            };
            match saved {
                Ok(saved) => version = saved,
                Err(report) => {
                    self.release(epoch).await;
                    return Err(report);
                }
            }
        }
        if let Err(error) = keeper.settled().await {
            return Ok(Settled::Lost(error.message));
        }
        Ok(Settled::Held(Hold { epoch, version, saved: self.state.signature(), keeper }))
    }

    /// Saves under an ownership.
    pub(super) fn saver(&self, epoch: Epoch, version: Option<Version>) -> Saver<'_> {
        Saver {
            client: &self.client,
            notes: &self.notes,
            name: &self.job.name,
            node: &self.home.node,
            state: self.state.clone(),
            epoch,
            terms: &self.job.terms,
            version,
            saved: self.state.signature(),
        }
    }

    /// Gives the lease up, so that nobody has to wait for its end.
    async fn release(&self, epoch: Epoch) {
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

    fn busy(&self) -> Report {
        let message = format!("others take {} over again and again", self.job.name);
        Error::new(Code::Conflict, message)
            .hint("use --standby on every node, so that they wait for each other")
            .into()
    }
}

/// What became of a claim that was granted.
enum Settled {
    Held(Hold),
    /// A signal asked to end.
    Ending,
    /// It was lost before the command began.
    Lost(String),
}

/// What a look at the name came to.
enum Step {
    /// Look again.
    Again,
    /// Somebody else was first.
    TooLate,
    /// It is owned.
    Claim(Claimed),
}

/// A claim that was granted.
struct Claimed {
    epoch: Epoch,
    head: Option<Version>,
    term: Term,
}

/// Waits for the next thing to happen to the name, has its newest version at the path, and claims it if that may be.
async fn step(
    job: &Job,
    home: &Home,
    state: &mut StatePath,
    notes: &Notes,
    standby: &mut Standby,
    again: bool,
) -> Result<Step, Fault> {
    let waited = standby.known().is_some() || again;
    if waited && job.standby {
        standby.changed().await?;
    }
    let standing = standby.look().await?.cloned();
    let pause = match &standing {
        Some(standing) => match turn(standing, &home.node) {
            Turn::Wait if !job.standby => return Err(leased(job, standing).into()),
            Turn::Wait => {
                tell_standing(notes, standing);
                follow(state, notes, standby).await?;
                return Ok(Step::Again);
            }
            Turn::Claim(pause) => pause,
        },
        None => Duration::ZERO,
    };
    if job.standby {
        // Another one that has more is to be first.
        sleep(pause).await;
    }
    if standing.is_some() {
        follow(state, notes, standby).await?;
    }
    claim(job, home, state, standing.as_ref()).await
}

async fn claim(job: &Job, home: &Home, state: &StatePath, standing: Option<&Standing>) -> Result<Step, Fault> {
    let options = ClaimOptions {
        lease: Some(job.lease),
        if_epoch: standing.map(|standing| standing.epoch),
        create: standing.is_none().then(|| state.kind().unwrap_or(Kind::File)),
        ..ClaimOptions::new(job.name.clone())
    };
    // Before the first sending (R5).
    let asked = Moment::now();
    match home.client(PATIENCE).claim(options).await {
        Ok(claimed) => {
            let term = Term::new(asked, job.lease);
            Ok(Step::Claim(Claimed { epoch: claimed.epoch, head: claimed.head, term }))
        }
        Err(error) if matches!(error.code, Code::Conflict | Code::NotFound) => Ok(Step::TooLate),
        Err(error) => Err(error.into()),
    }
}

/// Has the newest version at the path; what is there and is no version is put aside.
async fn follow(state: &mut StatePath, notes: &Notes, standby: &mut Standby) -> Result<(), Fault> {
    let Some(known) = standby.known() else { return Ok(()) };
    let head = known.head;
    if head.is_none() || (known.applied == head && known.is_fresh()) {
        return standby.bring().await;
    }
    let digest = known.digest;
    if known.applied.is_none() && !state.is_as_applied() {
        let here = state.clone();
        let same = tokio::task::spawn_blocking(move || digest.is_some_and(|digest| here.has(digest)));
        if same.await.unwrap_or(false) {
            state.set_applied();
            standby.set_applied(head);
        }
    }
    apply(state, notes, standby, head).await.map_err(|report| {
        Fault::Request(Error { retryable: report.retryable, ..Error::new(Code::Internal, report.message) })
    })
}

/// Brings a version to the path.
async fn apply(
    state: &mut StatePath,
    notes: &Notes,
    standby: &mut Standby,
    head: Option<Version>,
) -> Result<(), Report> {
    if !state.is_as_applied() {
        standby.set_applied(None);
        if let Some(aside) = state.put_aside()? {
            let message = format!(
                "what was at {} is not the newest version: it is {} now",
                state.path().display(),
                aside.display()
            );
            notes.say(What::Replaced, None, head, &message);
        }
    }
    while standby.known().is_some_and(|known| known.applied < head) {
        standby.bring().await?;
        if standby.known().is_some_and(|known| known.applied.is_some()) {
            state.set_applied();
        }
        if standby.known().is_some_and(|known| known.applied < head) {
            standby.look().await?;
        }
    }
    if let Some(known) = standby.known() {
        notes.say(
            What::Applied,
            Some(known.epoch),
            known.applied,
            &format!("version {} is here", known.applied.unwrap_or_default()),
        );
    }
    Ok(())
}

fn tell_standing(notes: &Notes, standing: &Standing) {
    let owner = standing.owner.as_ref().map_or_else(|| "another node".into(), ToString::to_string);
    let message = format!("standing by: {owner} has the lease, in epoch {}", standing.epoch);
    notes.say_once(What::StandingBy, Some(standing.epoch), standing.head, &message);
}

fn leased(job: &Job, standing: &Standing) -> Error {
    let owner = standing.owner.as_ref().map_or_else(|| "another node".into(), ToString::to_string);
    let left = standing.lease.unwrap_or_default();
    let left = humantime::format_duration(Duration::from_millis(u64::try_from(left.as_millis()).unwrap_or(u64::MAX)));
    let message = format!("{} is owned by node {owner} under a lease for another {left}", job.name);
    Error::new(Code::Conflict, message).hint("with --standby this agent waits, and takes over when it ends")
}
