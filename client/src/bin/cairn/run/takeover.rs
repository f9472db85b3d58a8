//! A name is taken over: its turn is waited for, with the newest version at hand; it is claimed, and the lease is in hand.
//!
//! [`turn`] decides whose turn it is, without IO.

use std::cell::Cell;
use std::time::Duration;

use cairn_client::api::{Code, Error};
use cairn_client::claim::ClaimOptions;
use cairn_client::fault::Fault;
use cairn_client::lease::{Moment, RENEWALS, Term};
use cairn_client::request;
use cairn_client::standby::{Standby, Standing};
use cairn_store::node::NodeName;
use cairn_store::segment::{Epoch, Kind, Version};
use tokio::time::{Instant, sleep};

use super::agent::{Agent, Hold, Job, PAUSE};
use super::home::Home;
use super::keeper::Keeper;
use super::note::{Notes, What};
use super::saver::{Saved, Saver, Unsaved};
use super::state::StatePath;
use crate::report::Report;

/// The least time that one renewal gets: the table of answers remembers it for as long, and a little more (R6).
const RENEWAL_MIN: Duration = Duration::from_millis(200);
/// How often a name that others claim or change meanwhile is looked at again, by an agent that does not stand by.
const TRIES: u32 = 5;
/// The pause before an owned version is looked for again that was not found.
const LOOK: Duration = Duration::from_millis(100);
/// The pause before a standby claims again that was refused though nobody has the name.
const REFUSED_PAUSE: Duration = Duration::from_secs(3);
/// How much later a standby claims for each version that it lacks: the one with the newest comes first.
const BEHIND: Duration = Duration::from_millis(300);
/// The most of them that count.
const BEHIND_MAX: u32 = 5;

/// What to do about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Another node has the lease.
    Wait,
    /// Nobody keeps it: claim it, after so long.
    Claim(Duration),
}

/// Whose turn it is, by what is known of the name; `own` is the node of this agent, the only one on it.
fn turn(standing: &Standing, own: &NodeName) -> Turn {
    // What this node has, an earlier agent on it had: that one is gone.
    if standing.lease.is_some() && standing.owner.as_ref() != Some(own) {
        return Turn::Wait;
    }
    let number = |version: Option<Version>| version.map_or(0, |version| version.0);
    let lacking = number(standing.head).saturating_sub(number(standing.received));
    let lacking = u32::try_from(lacking).unwrap_or(u32::MAX).min(BEHIND_MAX);
    Turn::Claim(BEHIND.saturating_mul(lacking))
}

/// What a look at the name came to.
enum Step {
    /// Look again.
    Again,
    /// Somebody else was first; or it was refused for this reason, whoever has it.
    Refused(Option<Epoch>, Error),
    /// It is owned.
    Claimed(Claimed),
}

/// A claim that was granted.
struct Claimed {
    epoch: Epoch,
    head: Option<Version>,
    term: Term,
}

/// What became of a claim that was granted.
enum Settled {
    Held(Hold),
    /// A signal asked to end.
    Ending,
    /// It was lost before the command began.
    Lost(String),
}

impl Agent {
    /// Waits for its turn, with the newest version at hand, and becomes the owner; none if a signal asks to end before.
    pub(super) async fn take_over(&mut self, standby: &mut Standby) -> Result<Option<Hold>, Report> {
        let (mut silent, mut refused, mut refusals) = (None, None, 0);
        loop {
            let (step, ending) = {
                let Self { job, home, state, notes, signals, .. } = self;
                let wait = job.standby && standby.known().is_some();
                let claiming = Cell::new(false);
                let mut step = std::pin::pin!(step(job, home, state, notes, standby, wait, &claiming));
                tokio::select! {
                    step = &mut step => (Some(step), false),
                    // A claim that is on its way may be granted: that is waited for, and given up.
                    _ = signals.end() => (if claiming.get() { Some(step.await) } else { None }, true),
                }
            };
            let step = match step {
                Some(Ok(Step::Claimed(claimed))) if ending => {
                    self.release(claimed.epoch).await;
                    return Ok(None);
                }
                Some(step) if !ending => step,
                _ => return Ok(None),
            };
            match step {
                Ok(Step::Again) => (silent, refused, refusals) = (None, None, 0),
                Ok(Step::Claimed(claimed)) => {
                    let epoch = claimed.epoch;
                    match self.settle(standby, claimed).await? {
                        Settled::Held(hold) => return Ok(Some(hold)),
                        Settled::Ending => return Ok(None),
                        Settled::Lost(why) => self.lose(epoch, &why, false).await?,
                    }
                }
                Ok(Step::Refused(epoch, error)) => {
                    // Refused twice in one epoch it was not because somebody else was first.
                    let again = refused.replace(epoch) == Some(epoch);
                    refusals += 1;
                    if !self.job.standby && (again || refusals >= TRIES) {
                        return Err(if again { error.into() } else { self.busy() });
                    }
                    if again {
                        let message = format!("it cannot be claimed: {error}");
                        self.notes.say_once(What::Waiting, epoch, None, &message);
                        if self.ends_within(REFUSED_PAUSE).await {
                            return Ok(None);
                        }
                    }
                    standby.set_stale();
                }
                Err(fault) => {
                    let since = *silent.get_or_insert_with(Instant::now);
                    let over = self.job.timeout.is_some_and(|timeout| since.elapsed() >= timeout);
                    if !fault.retryable() || over {
                        return Err(fault.into());
                    }
                    self.notes.say_once(What::Waiting, None, None, &format!("waiting for an answer: {fault}"));
                    if self.ends_within(PAUSE).await {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Whether a signal asks to end before this time is over.
    async fn ends_within(&mut self, span: Duration) -> bool {
        tokio::select! {
            () = sleep(span) => false,
            _ = self.signals.end() => true,
        }
    }

    /// Has the owned version at the path, and its lease in hand.
    async fn settle(&mut self, standby: &mut Standby, claimed: Claimed) -> Result<Settled, Report> {
        let Claimed { epoch, head, term } = claimed;
        let message = format!("{} has the lease, in epoch {epoch}", self.home.node);
        self.notes.say(What::Claimed, Some(epoch), head, &message);
        let renewing = self.home.any((self.job.lease / RENEWALS).max(RENEWAL_MIN));
        let mut keeper = Keeper::start(renewing, self.job.name.clone(), epoch, term);
        let prepared = {
            let Self { job, home, client, state, notes, signals, .. } = self;
            let first = Saver::new(client, notes, (job, home), state, (epoch, Saved::default()));
            tokio::select! {
                prepared = prepare(state, notes, standby, head, first) => prepared,
                error = keeper.lost() => return Ok(Settled::Lost(error.message)),
                _ = signals.end() => Err(None),
            }
        };
        let saved = match prepared {
            Ok(saved) => saved,
            Err(why) => {
                self.release(epoch).await;
                return why.map_or(Ok(Settled::Ending), |why| match why {
                    Unsaved::Lost(fault) => Ok(Settled::Lost(fault.to_string())),
                    Unsaved::Failed(fault) => Err(fault.into()),
                    Unsaved::Gone => Err(Report::internal("the state was there, and is gone")),
                });
            }
        };
        let settled = tokio::select! {
            settled = keeper.settled() => Some(settled),
            _ = self.signals.end() => None,
        };
        match settled {
            Some(Ok(_)) => Ok(Settled::Held(Hold { epoch, saved, keeper })),
            Some(Err(error)) => Ok(Settled::Lost(error.message)),
            None => {
                self.release(epoch).await;
                Ok(Settled::Ending)
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

/// Has the owned version at the path; or makes the first one of what is there.
async fn prepare(
    state: &mut StatePath,
    notes: &Notes,
    standby: &mut Standby,
    head: Option<Version>,
    mut first: Saver<'_>,
) -> Result<Saved, Option<Unsaved>> {
    if head.is_none() {
        first.save().await.map_err(Some)?;
        return Ok(first.saved);
    }
    // Nobody else makes versions any more.
    loop {
        match bring(state, notes, standby).await {
            Ok(()) => {}
            Err(fault) if fault.retryable() => {
                notes.say_once(What::Waiting, None, head, &format!("waiting for version {head:?}: {fault}"));
                sleep(PAUSE).await;
            }
            Err(fault) => return Err(Some(Unsaved::Failed(fault))),
        }
        if let Some(known) = standby.known().filter(|known| known.applied == head) {
            let (version, digest, size) = (known.head, known.digest, known.size);
            return Ok(Saved { version, digest, size, signature: state.look().await });
        }
        // It is being removed, or was let go of: the keeper of the lease hears of that.
        sleep(LOOK).await;
        standby.look().await.map_err(|fault| Some(Unsaved::Failed(fault)))?;
    }
}

/// Waits for the next thing to happen to the name, has its newest version at the path, and claims it if that may be.
async fn step(
    job: &Job,
    home: &Home,
    state: &mut StatePath,
    notes: &Notes,
    standby: &mut Standby,
    wait: bool,
    claiming: &Cell<bool>,
) -> Result<Step, Fault> {
    if wait {
        standby.changed().await?;
    }
    let standing = standby.look().await?.cloned();
    let pause = match &standing {
        Some(standing) => match turn(standing, &home.node) {
            Turn::Wait if !job.standby => return Err(leased(job, standing).into()),
            Turn::Wait => {
                tell_standing(notes, standing);
                bring(state, notes, standby).await?;
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
        bring(state, notes, standby).await?;
    }
    claiming.set(true);
    claim(job, home, state, standing.as_ref()).await
}

async fn claim(job: &Job, home: &Home, state: &StatePath, standing: Option<&Standing>) -> Result<Step, Fault> {
    let if_epoch = standing.map(|standing| standing.epoch);
    let options = ClaimOptions {
        lease: Some(job.lease),
        if_epoch,
        create: standing.is_none().then(|| state.kind().unwrap_or(Kind::File)),
        request: request::new_id(),
        name: job.name.clone(),
    };
    // Before the first sending (R5).
    let asked = Moment::now();
    match home.client(job.patience()).claim(options).await {
        Ok(claimed) => {
            let term = Term::new(asked, job.lease);
            Ok(Step::Claimed(Claimed { epoch: claimed.epoch, head: claimed.head, term }))
        }
        Err(error) if matches!(error.code, Code::Conflict | Code::NotFound) => Ok(Step::Refused(if_epoch, error)),
        Err(error) => Err(error.into()),
    }
}

/// Has the newest version here and at the path; what is there and is no version is put aside.
async fn bring(state: &mut StatePath, notes: &Notes, standby: &mut Standby) -> Result<(), Fault> {
    let Some(known) = standby.known().cloned() else { return Ok(()) };
    if known.head.is_some() && !state.is_as_applied().await {
        standby.set_applied(None);
        // An agent that begins anew often finds what it left.
        let same = match known.digest {
            Some(digest) => state.holds(digest).await,
            None => false,
        };
        if same {
            state.set_applied().await;
            standby.set_applied(known.head);
        } else if let Some(aside) = state.put_aside()? {
            let (path, aside) = (state.path().display(), aside.display());
            let message = format!("what was at {path} is not the newest version: it is {aside} now");
            notes.say(What::Replaced, None, known.head, &message);
        }
    }
    let before = standby.known().and_then(|known| known.applied);
    standby.bring().await?;
    let applied = standby.known().and_then(|known| known.applied);
    if applied.is_some() && applied != before {
        state.set_applied().await;
        let message = format!("version {} is here", applied.unwrap_or_default());
        notes.say(What::Applied, Some(known.epoch), applied, &message);
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

#[cfg(test)]
mod tests {
    use cairn_store::id::SegmentId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_newest_version_comes_first_and_a_lease_before_all() {
        let node = |name: &str| name.parse::<NodeName>().unwrap();
        let standing = |owner: Option<&str>, lease, received| Standing {
            segment: SegmentId(Uuid::nil()),
            kind: Kind::File,
            owner: owner.map(node),
            epoch: Epoch(3),
            lease,
            head: Some(Version(9)),
            digest: None,
            size: None,
            received,
            applied: None,
            revision: 1,
        };
        let (own, lease) = (node("n2"), Some(Duration::from_secs(1)));
        let of = |owner, lease, received| turn(&standing(owner, lease, received), &own);
        assert_eq!(of(Some("n1"), lease, Some(Version(9))), Turn::Wait);
        assert_eq!(of(Some("n2"), lease, Some(Version(9))), Turn::Claim(Duration::ZERO));
        assert_eq!(of(Some("n1"), None, Some(Version(9))), Turn::Claim(Duration::ZERO));
        assert_eq!(of(None, None, Some(Version(8))), Turn::Claim(BEHIND));
        assert_eq!(of(None, None, None), Turn::Claim(BEHIND * BEHIND_MAX));
    }
}
