//! Saving: a file goes into the spool of the node on this machine, and the node is asked until it is done.
//!
//! An attempt is: connect, hello, the file in *that* node's spool, then [`save`](crate::api::Cairn::save) again and
//! again. A lost connection begins a new attempt with the same request id; only a file that lies in another node's
//! spool is put again. Whatever was put into a spool is taken out of it in the end, however it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cairn_store::id::RequestId;
use cairn_store::name::Name;
use cairn_store::segment::{Ack, Epoch, Kind, Version};
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{Instant, sleep_until};

use crate::api::{Code, Error, Hello, Progress, SaveRequest, Saved};
use crate::dial::{Client, Session};
use crate::fault::{Fault, FileFault};
use crate::request;
use crate::retry::{Failure, Retry};
use crate::source::SourceFile;
use crate::spool::{Spool, Spooled};

/// How long a hello or a poll may take: a node answers one at once, the other within [`POLL`](crate::api::POLL).
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(5);
/// The least time between two polls, for a node that answers at once.
pub(crate) const POLL_MIN: Duration = Duration::from_millis(20);

/// Which part of the work goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Into the spool.
    Spooling,
    /// Between nodes.
    Sending,
    /// Out of a node's local storage, or over its data plane.
    Delivering,
}

/// How far the work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which part.
    pub phase: Phase,
    /// Bytes so far.
    pub done: u64,
    /// Bytes in all; 0 while unknown.
    pub total: u64,
}

/// Is told how far the work is, often, from any thread.
pub type Observer = Arc<dyn Fn(Step) + Send + Sync>;

/// What to save.
#[derive(Debug)]
pub enum Source {
    /// A regular file.
    File {
        /// Where it is.
        path: PathBuf,
        /// Whether to take it instead of copying it. If the save fails it is put back.
        take: bool,
    },
    /// A file that the application wrote into the spool, with [`Spool::writer`].
    Spooled(Spooled),
}

/// A save, with the command line's defaults.
pub struct SaveOptions {
    /// The name to save under; registered if it is new.
    pub name: Name,
    /// What to save.
    pub source: Source,
    /// Durable copies on how many other nodes.
    pub replicas: u8,
    /// When it is done.
    pub ack: Ack,
    /// How many versions to keep.
    pub keep: u32,
    /// The head that must stand now: `Version::NONE` for "must be new".
    pub if_version: Option<Version>,
    /// The epoch that must stand now.
    pub epoch: Option<Epoch>,
    /// Labels to set.
    pub labels: BTreeMap<String, String>,
    /// The same at every retry.
    pub request: RequestId,
    /// Is told how far it is.
    pub observer: Option<Observer>,
}

impl SaveOptions {
    /// Two other nodes, all of them durable, two versions kept, a new request.
    pub fn new(name: Name, source: Source) -> Self {
        Self {
            name,
            source,
            replicas: 2,
            ack: Ack::All,
            keep: 2,
            if_version: None,
            epoch: None,
            labels: BTreeMap::new(),
            request: request::new_id(),
            observer: None,
        }
    }
}

/// Why an attempt ended.
pub(crate) enum Stop {
    /// The next attempt may do better.
    Failure(Failure),
    /// None will.
    Fault(Fault),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl<E: Into<Fault>> From<E> for Stop {
    fn from(fault: E) -> Self {
        Self::Fault(fault.into())
    }
}

impl Client {
    /// Saves a file through the node on this machine.
    ///
    /// The client's time-out is time without progress. Needs a tokio runtime with threads for blocking work. If the
    /// future is dropped, the node may go on with the save; the spool is tidied all the same.
    pub async fn save(&self, options: SaveOptions) -> Result<Saved, Fault> {
        let mut job = Job::open(options).await?;
        let mut retry = Retry::new(self.timeout(), true);
        let outcome = loop {
            match job.attempt(self, &mut retry).await {
                Ok(saved) => break Ok(saved),
                Err(Stop::Fault(fault)) => break Err(retry.fault(fault)),
                Err(Stop::Failure(failure)) => {
                    if let Err(error) = retry.again(failure).await {
                        break Err(error.into());
                    }
                }
            }
        };
        match outcome {
            Ok(saved) => {
                job.finish();
                Ok(saved)
            }
            Err(fault) => Err(job.abandon(fault)),
        }
    }
}

/// The bytes of a save, wherever they are just now.
struct Job {
    request: SaveRequest,
    file: Option<Arc<SourceFile>>,
    take: bool,
    spooled: Option<Spooled>,
    /// An application's own spool file: it stays until the save is over, whichever node is asked.
    given: Option<Spooled>,
    /// Endpoints on other machines.
    strangers: BTreeSet<String>,
    observer: Option<Observer>,
}

impl Job {
    async fn open(options: SaveOptions) -> Result<Self, Fault> {
        let (file, take, given) = match options.source {
            Source::File { path, take } => {
                (Some(Arc::new(blocking(move || SourceFile::open(&path)).await??)), take, None)
            }
            Source::Spooled(spooled) => (None, false, Some(spooled)),
        };
        let request = SaveRequest {
            request: options.request,
            wait: Duration::ZERO,
            name: options.name,
            file: String::new(),
            kind: Kind::File,
            replicas: options.replicas,
            ack: options.ack,
            keep: options.keep,
            if_version: options.if_version,
            epoch: options.epoch,
            labels: options.labels,
        };
        Ok(Self { request, file, take, spooled: None, given, strangers: BTreeSet::new(), observer: options.observer })
    }

    async fn attempt(&mut self, client: &Client, retry: &mut Retry) -> Result<Saved, Stop> {
        let session = client.session(retry.left()).await?;
        let hello = client.greet(&session, retry).await?;
        retry.at(hello.incarnation);
        let Some(spool) = spool_of(&hello)? else { return Err(self.stranger(client, &session, &hello)) };
        let first = self.spooled.is_none() && self.given.is_none();
        self.put(spool).await?;
        if first {
            // Copying a large file takes its time, and was progress.
            retry.progress();
        }
        self.request.wait = client.wait_in_all();
        let observe = |done, total| self.observe(Step { phase: Phase::Sending, done, total });
        follow(client, &session, retry, observe, |rpc, context| {
            let request = self.request.clone();
            async move { rpc.save(context, request).await }
        })
        .await
    }

    /// The node is on another machine; another endpoint may be on this one.
    fn stranger(&mut self, client: &Client, session: &Session, hello: &Hello) -> Stop {
        let (node, spool) = (&hello.node, hello.spool.display());
        let message = format!("{node} is not on this machine: its spool {spool} is not here");
        let hint = "save through the node of this machine: see --endpoint and CAIRN_ENDPOINTS";
        self.strangers.insert(session.endpoint.to_string());
        if client.endpoints().iter().all(|endpoint| self.strangers.contains(endpoint)) {
            return Fault::invalid(message, hint).into();
        }
        client.turn(session);
        Failure::unreached(Error::unavailable(message).hint(hint)).into()
    }

    /// Sees to it that the bytes are in the spool of this very node.
    async fn put(&mut self, spool: Spool) -> Result<(), Fault> {
        let here = |spooled: &Option<Spooled>| {
            spooled.as_ref().filter(|s| s.incarnation() == spool.incarnation()).map(|s| s.name().to_owned())
        };
        if let Some(name) = here(&self.spooled).or_else(|| here(&self.given)) {
            self.request.file = name;
            return Ok(());
        }
        if let Some(elsewhere) = self.spooled.take() {
            elsewhere.give_back()?;
        }
        let file = match (&self.file, &self.given) {
            (Some(file), _) => Arc::clone(file),
            (None, given) => {
                let path = given.as_ref().map(|s| s.path().to_owned()).unwrap_or_default();
                Arc::new(blocking(move || SourceFile::open(&path)).await??)
            }
        };
        let (take, observer) = (self.take, self.observer.clone());
        let stopped = StopOnDrop::default();
        let stop = Arc::clone(&stopped.0);
        let spooled = blocking(move || {
            if take && let Some(taken) = spool.take(&file)? {
                return Ok(taken);
            }
            spool.copy(&file, &mut |done| {
                if let Some(observer) = &observer {
                    observer(Step { phase: Phase::Spooling, done, total: file.size() });
                }
                if stop.load(Ordering::Relaxed) { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
            })
        })
        .await??;
        self.request.file = spooled.name().into();
        self.spooled = Some(spooled);
        Ok(())
    }

    fn observe(&self, step: Step) {
        if let Some(observer) = &self.observer {
            observer(step);
        }
    }

    /// Saved: a file that was taken is gone.
    fn finish(&mut self) {
        if let Some(spooled) = self.spooled.take() {
            spooled.keep();
        }
        if let (true, Some(file)) = (self.take, &self.file) {
            // It could only be copied (another file system). If it changed since, it is not what was saved.
            if file.is_at(file.path())
                && let Err(error) = std::fs::remove_file(file.path())
            {
                tracing::warn!("saved, but {}", FileFault::new("remove", file.path(), &error));
            }
        }
    }

    /// Not saved: a file that was taken is put back.
    fn abandon(&mut self, fault: Fault) -> Fault {
        match self.spooled.take().map(Spooled::give_back) {
            Some(Err(stuck)) => {
                let hint = format!("{stuck}; {}", stuck.hint.as_deref().unwrap_or_default());
                match fault {
                    Fault::Request(error) => error.hint(hint).into(),
                    Fault::File(fault) => fault.hint(hint).into(),
                }
            }
            _ => fault,
        }
    }
}

/// Asks again and again on one connection, until the work is done or the connection is not.
pub(crate) async fn follow<T, F>(
    client: &Client,
    session: &Session,
    retry: &mut Retry,
    observe: impl Fn(u64, u64),
    ask: impl Fn(crate::api::CairnClient, tarpc::context::Context) -> F,
) -> Result<T, Stop>
where
    F: Future<Output = Result<Result<Progress<T>, Error>, tarpc::client::RpcError>>,
{
    // What the first poll tells was done before: only what is done from then on is progress.
    let mut before = None;
    loop {
        let asked = Instant::now();
        match client.ask(session, ANSWER_MAX.min(retry.left()), &ask).await? {
            Progress::Done(result) => return Ok(result),
            Progress::Running { done, total } => {
                observe(done, total);
                if before.replace(done).is_some_and(|before| done > before) {
                    retry.progress();
                }
            }
        }
        if retry.left().is_zero() {
            return Err(Failure::unanswered(Error::unavailable("the work makes no progress")).into());
        }
        sleep_until(asked + POLL_MIN).await;
    }
}

/// The spool of the node that said hello, if it is on this machine.
fn spool_of(hello: &Hello) -> Result<Option<Spool>, Fault> {
    Spool::recognise(&hello.spool, hello.incarnation).map_err(|error| {
        let hint = format!("this user needs access to the spool of {}", hello.node);
        FileFault::new("recognise the spool", &hello.spool, &error).hint(hint).into()
    })
}

/// Tells blocking work to stop when nobody waits for it any more.
#[derive(Default)]
pub(crate) struct StopOnDrop(pub(crate) Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs what blocks where it may.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    let panicked = |error: JoinError| Error::new(Code::Internal, format!("the client failed: {error}"));
    Ok(spawn_blocking(work).await.map_err(panicked)?)
}
