//! Keeps a lease: renews it in time, and says how long it lasts, or that it is lost.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cairn_client::api::{Code, Error};
use cairn_client::dial::Client;
use cairn_client::lease::{Alarm, Moment, Term};
use cairn_client::request;
use cairn_store::name::Name;
use cairn_store::segment::Epoch;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::ward::Orders;

/// The pause before a renewal that failed is tried again.
const PAUSE: Duration = Duration::from_millis(50);

/// What is known of the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// It lasts so long, unless it is renewed.
    Until(Term),
    /// The cluster says that it is no more.
    Lost(Error),
}

/// A lease that is renewed until this is dropped.
#[derive(Debug)]
pub(super) struct Keeper {
    news: watch::Receiver<Held>,
    guard: Arc<Mutex<Option<Orders>>>,
    task: JoinHandle<io::Result<()>>,
}

impl Keeper {
    /// Keeps what was claimed. `client` should not be patient: each renewal is a request of its own.
    pub(super) fn start(client: Client, name: Name, epoch: Epoch, term: Term) -> Self {
        let (told, news) = watch::channel(Held::Until(term));
        let guard = Arc::default();
        let kept = Kept { client, name, epoch, told, guard: Arc::clone(&guard) };
        Self { news, guard, task: tokio::spawn(keep(kept, term)) }
    }

    /// From now on this guard hears of each renewal, whatever the agent is at.
    pub(super) fn tell(&self, guard: Option<Orders>) {
        *self.guard.lock().unwrap_or_else(PoisonError::into_inner) = guard;
    }

    /// What is known now.
    pub(super) fn held(&self) -> Held {
        self.news.borrow().clone()
    }

    /// Waits for something new. May be dropped at any point.
    pub(super) async fn changed(&mut self) -> Held {
        if self.news.changed().await.is_err() {
            // Nobody renews it any more, so its time runs out.
            std::future::pending::<()>().await;
        }
        self.news.borrow_and_update().clone()
    }

    /// Waits until it is lost. May be dropped at any point.
    pub(super) async fn lost(&mut self) -> Error {
        loop {
            if let Held::Lost(error) = self.held() {
                return error;
            }
            self.changed().await;
        }
    }

    /// Waits until it lasts for a while yet: a claim may have taken longer to be answered than the lease. May be dropped at any
    /// point.
    ///
    /// # Errors
    /// It is lost, or could not be renewed in time.
    pub(super) async fn settled(&mut self) -> Result<Term, Error> {
        let patience = match self.held() {
            Held::Until(term) => term.kill_at().left().max(term.span()),
            Held::Lost(error) => return Err(error),
        };
        let settling = async {
            loop {
                match self.held() {
                    Held::Until(term) if !term.renew_at().left().is_zero() => return Ok(term),
                    Held::Until(_) => drop(self.changed().await),
                    Held::Lost(error) => return Err(error),
                }
            }
        };
        let over = |_| Err(Error::unavailable("it could not be renewed in time"));
        timeout(patience, settling).await.unwrap_or_else(over)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the task has that keeps a lease.
struct Kept {
    client: Client,
    name: Name,
    epoch: Epoch,
    told: watch::Sender<Held>,
    guard: Arc<Mutex<Option<Orders>>>,
}

async fn keep(kept: Kept, mut term: Term) -> io::Result<()> {
    let Kept { client, name, epoch, told, guard } = kept;
    let alarm = Alarm::new()?;
    loop {
        alarm.set(term.renew_at())?;
        alarm.ring().await?;
        // Before the first sending (R5).
        let asked = Moment::now();
        match client.renew(request::new_id(), &name, epoch).await {
            Ok(span) => {
                term = Term::new(asked, span);
                told.send_replace(Held::Until(term));
                let guard = guard.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if let Some(guard) = guard {
                    guard.extend(term).await;
                }
            }
            // Only these say that it is not ours any more.
            Err(error) if matches!(error.code, Code::Conflict | Code::NotFound) => {
                told.send_replace(Held::Lost(error));
                return Ok(());
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}
