//! One ownership: the command runs, its state is saved, the lease is renewed, until one of them ends.

use std::time::Duration;

use cairn_client::fault::Fault;
use cairn_client::lease::{Alarm, Term};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::agent::{Agent, END_PATIENCE, Hold, PAUSE};
use super::keeper::Held;
use super::note::{Notes, What};
use super::orders::{Ended, Order, Word};
use super::restarts::Restarts;
use super::saver::{Ask, Saver, newest};
use super::signals::{Asked, Signals};
use super::ward::Ward;
use crate::report::Report;

/// How many requests to save may wait: one that waits saves what the next one would.
const ASKS_MAX: usize = 1;
/// How often it is looked whether the lease is in hand after all.
const VERDICT_PAUSE: Duration = Duration::from_millis(50);

/// How an ownership ended.
pub(super) enum Served {
    /// The command is done, or was asked to end: all is saved, or not.
    Done { saved: bool, clean: bool, why: String },
    /// It was lost; whether the command was done, or asked to end, at that.
    Lost { why: String, done: bool },
    /// The command failed too often.
    GaveUp(String),
}

/// How one run of the command ended.
struct Life {
    ended: Ended,
    /// The lease is lost.
    lost: Option<String>,
    /// A signal asked this agent to end.
    asked: bool,
    /// The guard asked it to end a moment ago, because nothing was heard of the cluster in time.
    stopped: bool,
    lived: Duration,
}

/// What came of a start.
enum Start {
    Lived(Life),
    /// A signal asked this agent to end before.
    Ending,
    /// The lease was lost before.
    Lost(String),
    /// It could not be started.
    Failed(String),
}

impl Agent {
    /// Runs the command under an ownership, again and again if it fails.
    pub(super) async fn serve(&mut self, hold: &mut Hold) -> Result<Served, Report> {
        let mut restarts = Restarts::new(self.job.restarts);
        let epoch = Some(hold.epoch);
        loop {
            let life = match self.live(hold).await? {
                Start::Lived(life) => life,
                Start::Ending => return Ok(Served::Done { saved: true, clean: true, why: "was not started".into() }),
                Start::Lost(why) => return Ok(Served::Lost { why, done: false }),
                Start::Failed(why) => return Ok(Served::GaveUp(why)),
            };
            let how = life.ended.in_words();
            let done = life.asked || life.ended.code == Some(0);
            if let Some(why) = life.lost {
                return Ok(Served::Lost { why, done: life.asked });
            }
            if life.stopped {
                // That it ended says nothing of itself: it was asked to.
                match self.verdict(hold).await {
                    Err(why) => return Ok(Served::Lost { why, done: life.asked }),
                    Ok(()) if life.asked => {}
                    Ok(()) => {
                        let message = format!("the command {how}; the lease was renewed after all");
                        self.notes.say(What::Restarting, epoch, hold.saved.version, &message);
                        if self.pause(PAUSE).await {
                            return self.finish(hold, true, how).await;
                        }
                        continue;
                    }
                }
            }
            if done {
                self.notes.say(What::Ended, epoch, hold.saved.version, &format!("the command {how}"));
                let clean = life.asked || life.ended.is_clean();
                return self.finish(hold, clean, how).await;
            }
            let Some(pause) = restarts.after(life.lived) else {
                self.notes.say(What::Ended, epoch, hold.saved.version, &format!("the command {how}"));
                return Ok(Served::GaveUp(how));
            };
            let again = humantime::format_duration(pause);
            let message = format!("the command {how}: again in {again}");
            self.notes.say(What::Restarting, epoch, hold.saved.version, &message);
            if self.pause(pause).await {
                // What a command that failed left at the path is not known to be whole: the last version stands.
                return Ok(Served::GaveUp(how));
            }
            self.catch_up(hold).await;
        }
    }

    /// The command may have saved by itself: what it is told when it begins again is the newest version.
    async fn catch_up(&self, hold: &mut Hold) {
        // If nobody answers, what is known has to do.
        if let Ok(shown) = self.client.show(&self.job.name).await
            && shown.summary.epoch == hold.epoch
            && shown.summary.head != hold.saved.version
        {
            hold.saved = newest(&shown);
        }
    }

    /// Whether a signal asked this agent to end meanwhile.
    async fn pause(&mut self, span: Duration) -> bool {
        tokio::select! {
            () = sleep(span) => false,
            _ = self.signals.end() => true,
        }
    }

    /// Runs the command once.
    async fn live(&mut self, hold: &mut Hold) -> Result<Start, Report> {
        let term = tokio::select! {
            term = hold.keeper.settled() => match term {
                Ok(term) => term,
                Err(error) => return Ok(Start::Lost(error.message)),
            },
            _ = self.signals.end() => return Ok(Start::Ending),
        };
        let version = hold.saved.version.map_or(0, |version| version.0);
        let variables = [
            ("CAIRN_NAME", self.job.name.to_string().into()),
            ("CAIRN_EPOCH", hold.epoch.to_string().into()),
            ("CAIRN_VERSION", version.to_string().into()),
            ("CAIRN_STATE", self.state.path().into()),
            ("CAIRN_ENDPOINTS", self.home.endpoints.join(",").into()),
        ];
        let lock = self.home.guard_lock(&self.job.name);
        let cannot = |error| Report::internal(format!("cannot start the guard: {error}"));
        let late = Alarm::new().map_err(cannot)?;
        let ward = Ward::start(&self.job.command, &variables, &lock, term).await.map_err(cannot)?;
        hold.keeper.tell(Some(ward.orders().clone()));
        let (ask, asks) = mpsc::channel(ASKS_MAX);
        // The signals are listened to while the state, the notes and the client are in use.
        let Self { signals, client, notes, job, home, state, .. } = self;
        let saver = Saver::new(client, notes, (job, home), state, (hold.epoch, hold.saved));
        let watched = Watched { ward, hold, late, signals, grace: job.grace, saver, ask, notes };
        let life = watched.run(asks, term).await;
        hold.keeper.tell(None);
        Ok(life)
    }

    /// Whether the lease is in hand after all, when the guard has ended the command because of it.
    async fn verdict(&mut self, hold: &mut Hold) -> Result<(), String> {
        loop {
            match hold.keeper.held() {
                Held::Until(term) if !term.stop_at().left().is_zero() => return Ok(()),
                // By then others may own it.
                Held::Until(term) if term.kill_at().left().is_zero() => {
                    return Err("it could not be renewed in time".into());
                }
                Held::Until(_) if self.pause(VERDICT_PAUSE).await => {
                    return Err("nothing was heard of the cluster, and a signal asked to end".into());
                }
                Held::Until(_) => {}
                Held::Lost(error) => return Err(error.message),
            }
        }
    }

    /// The last save.
    async fn finish(&mut self, hold: &mut Hold, clean: bool, why: String) -> Result<Served, Report> {
        self.notes.stopping();
        let Self { client, notes, job, home, state, .. } = &*self;
        let mut saver = Saver::new(client, notes, (job, home), state, (hold.epoch, hold.saved));
        let (ask, asks) = mpsc::channel(ASKS_MAX);
        // Nothing was asked before, so there is room.
        let _ = ask.try_send(Ask::Finish);
        match saver.run(asks, self.job.timeout.unwrap_or(END_PATIENCE)).await {
            Ok(saved) => Ok(Served::Done { saved, clean, why }),
            Err(fault) => Ok(Served::Lost { why: format!("the last save was refused: {fault}"), done: true }),
        }
    }
}

/// A command that runs, and all that has to do with it.
struct Watched<'a> {
    ward: Ward,
    hold: &'a mut Hold,
    late: Alarm,
    signals: &'a mut Signals,
    grace: Duration,
    saver: Saver<'a>,
    ask: mpsc::Sender<Ask>,
    notes: &'a Notes,
}

impl Watched<'_> {
    /// Until all of the command is gone.
    async fn run(self, asks: mpsc::Receiver<Ask>, term: Term) -> Start {
        let Self { mut ward, hold, late, signals, grace, mut saver, ask, notes } = self;
        let epoch = Some(hold.epoch);
        let (start, mut kill_at, mut stopped_at) = (Instant::now(), None, None::<Instant>);
        let (mut lost, mut asked, mut term) = (None, false, term);
        let orders = ward.orders().clone();
        let ended = {
            let mut saving = std::pin::pin!(saver.run(asks, END_PATIENCE));
            loop {
                if late.set(latest(term)).is_err() {
                    break ward.destroy().await;
                }
                let killing = async {
                    match kill_at {
                        Some(at) => sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    word = ward.next() => match word {
                        Word::Started { pid } => {
                            let message = format!("the command runs, as process {pid}");
                            notes.say(What::Started, epoch, hold.saved.version, &message);
                        }
                        Word::Stopping => {
                            stopped_at = Some(Instant::now());
                            let message = "the lease was not renewed in time: the command is asked to end";
                            notes.say(What::Stopping, epoch, None, message);
                        }
                        Word::Ended(ended) => break ended,
                        Word::Failed(why) => return Start::Failed(format!("could not be started: {why}")),
                    },
                    held = hold.keeper.changed(), if lost.is_none() => match held {
                        // The keeper has told the guard.
                        Held::Until(longer) => term = longer,
                        Held::Lost(error) => {
                            lost = Some(error.message);
                            orders.give(Order::Kill).await;
                        }
                    },
                    saved = &mut saving, if lost.is_none() => {
                        // It ends by itself only when the ownership is over.
                        let why = saved.err().map_or_else(|| "nothing can be saved".into(), |fault: Fault| fault.to_string());
                        lost = Some(why);
                        orders.give(Order::Kill).await;
                    }
                    signal = signals.next() => match signal {
                        // One that waits already does it.
                        Asked::Save => drop(ask.try_send(Ask::Save)),
                        Asked::Pass(number) => orders.give(Order::Signal(number)).await,
                        Asked::End(number) => {
                            if !asked {
                                notes.stopping();
                                notes.say(What::Ending, epoch, None, &format!("{} asks this agent to end", signal_name(number)));
                            }
                            asked = true;
                            kill_at.get_or_insert(Instant::now() + grace);
                            orders.give(Order::Signal(number)).await;
                        }
                    },
                    () = killing => {
                        kill_at = None;
                        notes.say(What::Ending, epoch, None, "the command did not end in time, and is killed");
                        orders.give(Order::Kill).await;
                    }
                    // The guard should have done it by now: it hangs, or was stopped.
                    _ = late.ring() => break ward.destroy().await,
                }
            }
        };
        hold.saved = saver.saved;
        // What was asked to end a while ago, and had its lease since, ends by itself.
        let renewed = !term.stop_at().left().is_zero();
        let stopped = stopped_at.is_some_and(|at| !renewed || at.elapsed() < grace);
        Start::Lived(Life { ended, lost, asked, stopped, lived: start.elapsed() })
    }
}

fn signal_name(number: i32) -> &'static str {
    if number == rustix::process::Signal::INT.as_raw() { "SIGINT" } else { "SIGTERM" }
}

/// When the agent ends the command itself, if its guard did not: half-way between the guard's time and the lease's end.
fn latest(term: Term) -> cairn_client::lease::Moment {
    term.kill_at().after(term.span() / 20)
}
