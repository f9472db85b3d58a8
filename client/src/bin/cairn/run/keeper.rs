//! Keeps a lease: renews it in time, and says how long it lasts, or that it is lost.

use std::io;
use std::time::Duration;

use cairn_client::api::Error;
use cairn_client::dial::Client;
use cairn_client::lease::{Alarm, Moment, Term};
use cairn_client::request;
use cairn_store::name::Name;
use cairn_store::segment::Epoch;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

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
    task: JoinHandle<io::Result<()>>,
}

impl Keeper {
    /// Keeps what was claimed. `client` should not be patient: each renewal is a request of its own.
    pub(super) fn start(client: Client, name: Name, epoch: Epoch, term: Term) -> Self {
        let (told, news) = watch::channel(Held::Until(term));
        Self { news, task: tokio::spawn(keep(client, name, epoch, term, told)) }
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

    /// Waits until it lasts for a while yet: a claim may have taken longer to be answered than the lease.
    pub(super) async fn settled(&mut self) -> Result<Term, Error> {
        loop {
            match self.held() {
                Held::Until(term) if !term.renew_at().left().is_zero() => return Ok(term),
                Held::Until(_) => drop(self.changed().await),
                Held::Lost(error) => return Err(error),
            }
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(client: Client, name: Name, epoch: Epoch, mut term: Term, told: watch::Sender<Held>) -> io::Result<()> {
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
            }
            Err(error) if error.retryable => sleep(PAUSE).await,
            Err(error) => {
                told.send_replace(Held::Lost(error));
                return Ok(());
            }
        }
    }
}
