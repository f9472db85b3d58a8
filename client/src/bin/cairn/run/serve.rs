//! One ownership: the command runs, its state is saved, the lease is renewed, until one of them ends.

use std::time::Duration;

use cairn_client::fault::Fault;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::agent::{Agent, END_PATIENCE, Hold, Served};
use super::keeper::Held;
use super::note::What;
use super::orders::{Ended, Order, Word};
use super::restarts::Restarts;
use super::saver::{Ask, Saver};
use super::signals::{Asked, Signals};
use super::ward::Ward;
use crate::report::Report;

/// How many requests to save may wait: one that waits saves what the next one would.
const ASKS_MAX: usize = 1;
/// How long a command that was asked to end because of its lease is waited for to be owned again.
const VERDICT_PAUSE: Duration = Duration::from_millis(50);

/// How one run of the command ended.
struct Life {
    ended: Ended,
    /// The lease is lost.
    lost: Option<String>,
    /// A signal asked this agent to end.
    asked: bool,
    /// The guard ended it, because nothing was heard of the cluster in time.
    stopped: bool,
    lived: Duration,
}

impl Agent {
    /// Runs the command under an ownership, again and again if it fails.
    pub(super) async fn serve(&mut self, mut hold: Hold) -> Result<Served, Report> {
        let mut restarts = Restarts::new(self.job.restarts);
        loop {
            let life = match self.live(&mut hold).await? {
                Ok(life) => life,
                Err(why) => return Ok(Served::GaveUp(why)),
            };
            let how = life.ended.in_words();
            let epoch = Some(hold.epoch);
            if let Some(why) = life.lost {
                return Ok(Served::Lost(why));
            }
            if life.stopped {
                match self.verdict(&mut hold).await {
                    Ok(()) if life.asked => {}
                    Ok(()) => {
                        self.notes.say(What::Restarting, epoch, hold.version, "the lease was renewed after all");
                        continue;
                    }
                    Err(why) => return Ok(Served::Lost(why)),
                }
            }
            if life.asked || life.ended.code == Some(0) {
                self.notes.say(What::Ended, epoch, hold.version, &format!("the command {how}"));
                let clean = life.asked || life.ended.is_clean();
                return self.finish(hold, clean, how).await;
            }
            let Some(pause) = restarts.after(life.lived) else { return Ok(Served::GaveUp(how)) };
            let again = humantime::format_duration(pause);
            self.notes.say(What::Restarting, epoch, hold.version, &format!("the command {how}: again in {again}"));
            let asked = tokio::select! {
                () = sleep(pause) => false,
                _ = self.signals.end() => true,
            };
            if asked {
                // What a command that failed left at the path is not known to be whole: the last version stands.
                return Ok(Served::Done { saved: true, clean: true, why: how });
            }
            if let Held::Lost(error) = hold.keeper.held() {
                return Ok(Served::Lost(error.message));
            }
        }
    }

    /// Runs the command once; or says why it could not be started.
    async fn live(&mut self, hold: &mut Hold) -> Result<Result<Life, String>, Report> {
        let term = match hold.keeper.settled().await {
            Ok(term) => term,
            Err(error) => return Ok(Ok(Life::lost(error.message))),
        };
        let variables = [
            ("CAIRN_NAME", self.job.name.to_string().into()),
            ("CAIRN_EPOCH", hold.epoch.to_string().into()),
            ("CAIRN_VERSION", hold.version.map_or(0, |version| version.0).to_string().into()),
            ("CAIRN_STATE", self.state.path().into()),
            ("CAIRN_ENDPOINTS", self.home.endpoints.join(",").into()),
        ];
        let lock = self.home.guard_lock(&self.job.name);
        let started = Ward::start(&self.job.command, &variables, &lock, term).await;
        let mut ward = started.map_err(|error| Report::internal(format!("cannot start the guard: {error}")))?;
        let (ask, asks) = mpsc::channel(ASKS_MAX);
        // The signals are listened to while the state, the notes and the client are in use.
        let Self { signals, .. } = self;
        let saver = Saver {
            client: &self.client,
            notes: &self.notes,
            name: &self.job.name,
            node: &self.home.node,
            state: self.state.clone(),
            epoch: hold.epoch,
            terms: &self.job.terms,
            version: hold.version,
            saved: hold.saved,
        };
        let grace = self.job.grace;
        let life =
            watch(Watched { ward: &mut ward, hold, signals, grace, saver, ask, asks, notes: &self.notes }).await;
        Ok(life)
    }

    /// Whether the lease is in hand after all, when the guard has ended the command because of it.
    async fn verdict(&self, hold: &mut Hold) -> Result<(), String> {
        loop {
            match hold.keeper.held() {
                Held::Until(term) if !term.stop_at().left().is_zero() => return Ok(()),
                // By then others may own it.
                Held::Until(term) if term.kill_at().left().is_zero() => {
                    return Err("it could not be renewed in time".into());
                }
                Held::Until(_) => sleep(VERDICT_PAUSE).await,
                Held::Lost(error) => return Err(error.message),
            }
        }
    }

    /// The last save.
    async fn finish(&mut self, hold: Hold, clean: bool, why: String) -> Result<Served, Report> {
        self.notes.stopping();
        let mut saver = self.saver(hold.epoch, hold.version);
        saver.saved = hold.saved;
        let (ask, asks) = mpsc::channel(ASKS_MAX);
        // Nothing was asked before, so there is room.
        let _ = ask.try_send(Ask::Finish);
        match saver.run(asks, self.job.timeout.unwrap_or(END_PATIENCE)).await {
            Ok(saved) => Ok(Served::Done { saved, clean, why }),
            Err(fault) => Ok(Served::Lost(format!("the last save was refused: {fault}"))),
        }
    }
}

impl Life {
    fn lost(why: String) -> Self {
        let ended = Ended::default();
        Self { ended, lost: Some(why), asked: false, stopped: false, lived: Duration::ZERO }
    }
}

/// A command that runs, and all that has to do with it.
struct Watched<'a> {
    ward: &'a mut Ward,
    hold: &'a mut Hold,
    signals: &'a mut Signals,
    grace: Duration,
    saver: Saver<'a>,
    ask: mpsc::Sender<Ask>,
    asks: mpsc::Receiver<Ask>,
    notes: &'a super::note::Notes,
}

/// Until all of the command is gone; or why it could not be started.
async fn watch(watched: Watched<'_>) -> Result<Life, String> {
    let Watched { ward, hold, signals, grace, mut saver, ask, asks, notes } = watched;
    let epoch = Some(hold.epoch);
    let (start, mut kill_at) = (Instant::now(), None);
    let (mut lost, mut asked, mut stopped) = (None, false, false);
    let ended = {
        let mut saving = std::pin::pin!(saver.run(asks, END_PATIENCE));
        loop {
            let killing = async {
                match kill_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                word = ward.next() => match word {
                    Word::Started { pid } => {
                        notes.say(What::Started, epoch, hold.version, &format!("the command runs, as process {pid}"));
                    }
                    Word::Stopping => {
                        stopped = true;
                        notes.say(What::Lost, epoch, None, "the lease was not renewed in time: the command is asked to end");
                    }
                    Word::Ended(ended) => break ended,
                    Word::Failed(why) => return Err(format!("could not be started: {why}")),
                },
                held = hold.keeper.changed(), if lost.is_none() => match held {
                    Held::Until(term) => ward.extend(term).await,
                    Held::Lost(error) => {
                        lost = Some(error.message);
                        ward.order(Order::Kill).await;
                    }
                },
                saved = &mut saving, if lost.is_none() => {
                    // It ends by itself only when the ownership is over.
                    lost = Some(saved.err().map_or_else(|| "nothing can be saved".into(), |fault: Fault| fault.to_string()));
                    ward.order(Order::Kill).await;
                }
                signal = signals.next() => match signal {
                    // One that waits already does it.
                    Asked::Save => drop(ask.try_send(Ask::Save)),
                    Asked::Pass(number) => ward.order(Order::Signal(number)).await,
                    Asked::End(number) => {
                        if !asked {
                            notes.stopping();
                            notes.say(What::Ending, epoch, None, &format!("signal {number} asks it to end"));
                        }
                        asked = true;
                        kill_at.get_or_insert(Instant::now() + grace);
                        ward.order(Order::Signal(number)).await;
                    }
                },
                () = killing => {
                    kill_at = None;
                    notes.say(What::Ending, epoch, None, "the command did not end in time, and is killed");
                    ward.order(Order::Kill).await;
                }
            }
        }
    };
    hold.version = saver.version;
    hold.saved = saver.saved;
    Ok(Life { ended, lost, asked, stopped, lived: start.elapsed() })
}
