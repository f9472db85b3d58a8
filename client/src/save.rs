//! Saving: a file, a stream or a tree goes into the spool of the node on this machine, and the node is asked until it
//! is done.
//!
//! An attempt is: connect, hello, the file in *that* node's spool, then [`save`](crate::api::Cairn::save) again and
//! again. A lost connection begins a new attempt with the same request id; only what lies in another node's
//! spool is put again. Whatever was put into a spool is taken out of it in the end, however it ends.

mod job;
mod supply;

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cairn_store::archive::Policy;
use cairn_store::id::RequestId;
use cairn_store::name::Name;
use cairn_store::segment::{Ack, Epoch, Version};
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{Instant, sleep_until};

use crate::api::{Code, Error, Progress, Saved};
use crate::dial::{Client, Session};
use crate::fault::Fault;
use crate::request;
use crate::retry::{Failure, Retry};
use crate::spool::Spooled;
use job::Job;

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
pub enum Source {
    /// A regular file.
    File {
        /// Where it is.
        path: PathBuf,
        /// Whether to take it instead of copying it. If the save fails it is put back.
        take: bool,
    },
    /// A file that the application wrote into the spool, with [`Spool::writer`](crate::spool::Spool::writer).
    Spooled(Spooled),
    /// All that can be read, to its end: it goes into the spool first.
    Stream(Box<dyn Read + Send>),
    /// A folder with all that is in it: as a tar stream, which goes into the spool first.
    Tree(PathBuf),
}

impl Source {
    /// A stream.
    pub fn stream(stream: impl Read + Send + 'static) -> Self {
        Self::Stream(Box::new(stream))
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, take } => f.debug_struct("File").field("path", path).field("take", take).finish(),
            Self::Spooled(spooled) => f.debug_tuple("Spooled").field(spooled).finish(),
            Self::Stream(_) => f.write_str("Stream"),
            Self::Tree(path) => f.debug_tuple("Tree").field(path).finish(),
        }
    }
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
    /// Which versions go into the global tier from now on; none: as before.
    pub archive: Option<Policy>,
    /// The same at every retry.
    pub request: RequestId,
    /// Whether an earlier save may have had this id, as one that the user chose: its result is this one's too, even
    /// if its file is gone by now, but only if it saved the same bytes.
    pub repeats: bool,
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
            archive: None,
            request: request::new_id(),
            repeats: false,
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
    ///
    /// ```no_run
    /// # async fn example(client: cairn_client::dial::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use cairn_client::api::Code;
    /// use cairn_client::fault::Fault;
    /// use cairn_client::save::{SaveOptions, Source};
    ///
    /// let source = Source::File { path: "state.db".into(), take: false };
    /// let options = SaveOptions { replicas: 1, ..SaveOptions::new("jobs/one".parse()?, source) };
    /// match client.save(options).await {
    ///     Ok(saved) => println!("version {} is durable on {} nodes", saved.version, saved.replicas.len() + 1),
    ///     Err(Fault::Request(error)) if error.code == Code::Conflict => println!("another node owns it: {error}"),
    ///     Err(fault) => return Err(fault.into()),
    /// }
    /// # Ok(()) }
    /// ```
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
        let compared = match outcome {
            Ok(saved) => job.compare(&saved).await.map(|()| saved),
            Err(fault) => Err(fault),
        };
        match compared {
            Ok(saved) => {
                job.finish();
                Ok(saved)
            }
            Err(fault) => Err(job.abandon(fault)),
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
    let mut joined = false;
    loop {
        let asked = Instant::now();
        let answer = client.ask(session, ANSWER_MAX.min(retry.left()), &ask).await;
        if joined && answer.is_err() && retry.left().is_zero() {
            // The last poll was only cut short: it is the work that stands still.
            return Err(Failure::unanswered(stands_still()).into());
        }
        match answer? {
            Progress::Done(result) => return Ok(result),
            Progress::Running { done, total, steps } => {
                observe(done, total);
                if joined {
                    retry.stands_at(steps);
                } else {
                    retry.begins_at(steps);
                    joined = true;
                }
            }
        }
        if retry.left().is_zero() {
            return Err(Failure::unanswered(stands_still()).into());
        }
        sleep_until(asked + POLL_MIN).await;
    }
}

fn stands_still() -> Error {
    Error::unavailable("the node works on it, and nothing moves")
        .hint("a node that it needs may be down or stuck: see `cairn node ls`, or give more --timeout")
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
