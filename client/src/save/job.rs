//! One save: its bytes, wherever they are just now, and its attempts.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cairn_store::id::Incarnation;
use cairn_store::segment::Kind;
use uuid::Uuid;

use super::supply::Supply;
use super::{Observer, Phase, SaveOptions, Source, Step, Stop, StopOnDrop, blocking, follow};
use crate::api::{Code, Error, Hello, SaveRequest, Saved};
use crate::dial::{Client, Session};
use crate::fault::{Fault, FileFault};
use crate::retry::{Failure, Retry};
use crate::source::SourceFile;
use crate::spool::{Spool, Spooled, elsewhere};

/// The bytes of a save, wherever they are just now.
pub(super) struct Job {
    request: SaveRequest,
    /// Until it is in a spool.
    supply: Option<Supply>,
    file: Option<Arc<SourceFile>>,
    /// The file is not there, and an earlier save with the same request id may have taken it.
    missing: Option<Fault>,
    repeats: bool,
    take: bool,
    /// Whether what lies in the spools was copied from a file that is still there.
    copied: bool,
    /// In each spool where it was put. All stay until the save is over: the node that was asked first may be at work.
    spooled: Vec<Spooled>,
    /// An application's own spool file: it stays until the save is over, whichever node is asked.
    given: Option<Spooled>,
    /// To which process of which node a copy was handed over last.
    handed: BTreeMap<Incarnation, Uuid>,
    /// Endpoints on other machines.
    strangers: BTreeSet<String>,
    observer: Option<Observer>,
}

impl Job {
    pub(super) async fn open(options: SaveOptions) -> Result<Self, Fault> {
        let (mut supply, mut file, mut missing, mut take, mut given) = (None, None, None, false, None);
        match options.source {
            Source::File { path, take: wanted } => {
                take = wanted;
                let (opened, there) = blocking(move || (SourceFile::open(&path), is_there(&path))).await?;
                match opened {
                    Ok(opened) => file = Some(Arc::new(opened)),
                    Err(fault) if options.repeats && !there => missing = Some(fault),
                    Err(fault) => return Err(fault),
                }
            }
            Source::Spooled(spooled) => given = Some(spooled),
            Source::Stream(stream) => supply = Some(Supply::Stream(stream)),
            Source::Tree(path) => supply = Some(Supply::Tree(path)),
        }
        let request = SaveRequest {
            request: options.request,
            wait: Duration::ZERO,
            name: options.name,
            file: String::new(),
            kind: supply.as_ref().map_or(Kind::File, Supply::kind),
            replicas: options.replicas,
            ack: options.ack,
            keep: options.keep,
            if_version: options.if_version,
            epoch: options.epoch,
            labels: options.labels,
            archive: options.archive,
        };
        Ok(Self {
            request,
            supply,
            file,
            missing,
            repeats: options.repeats,
            take,
            copied: false,
            spooled: Vec::new(),
            given,
            handed: BTreeMap::new(),
            strangers: BTreeSet::new(),
            observer: options.observer,
        })
    }

    pub(super) async fn attempt(&mut self, client: &Client, retry: &mut Retry) -> Result<Saved, Stop> {
        let session = client.session(retry.left()).await?;
        let hello = client.greet(&session, retry).await?;
        retry.at(hello.incarnation);
        let Some(spool) = Spool::of(&hello)? else { return Err(self.stranger(client, &session, &hello)) };
        if self.put(spool, hello.process).await? {
            // Copying a large file takes its time, and was progress.
            retry.progress();
        }
        self.request.wait = client.wait_in_all();
        self.spooled.iter_mut().for_each(Spooled::hand_over);
        // Not through `self`, whose stream no two threads may share: callers spawn saves.
        let (observer, request) = (self.observer.clone(), self.request.clone());
        let observe = move |done, total| {
            if let Some(observer) = &observer {
                observer(Step { phase: Phase::Sending, done, total });
            }
        };
        follow(client, &session, retry, observe, |rpc, context| {
            let request = request.clone();
            async move { rpc.save(context, request).await }
        })
        .await
    }

    /// The node is on another machine; another endpoint may be on this one.
    fn stranger(&mut self, client: &Client, session: &Session, hello: &Hello) -> Stop {
        let error = elsewhere(hello);
        self.strangers.insert(session.endpoint.to_string());
        if client.endpoints().iter().all(|endpoint| self.strangers.contains(endpoint)) {
            return Fault::from(error).into();
        }
        client.turn(session);
        Failure::unreached(Error { code: Code::Unavailable, retryable: true, ..error }).into()
    }

    /// Sees to it that the bytes are in the spool of this very node; whether they had to be put there.
    async fn put(&mut self, spool: Spool, process: Uuid) -> Result<bool, Fault> {
        if self.missing.is_some() {
            // Without a file a node can only answer what it knows.
            return Ok(false);
        }
        if let Some(supply) = self.supply.take() {
            self.fill(spool, supply).await?;
            return Ok(true);
        }
        // Another process reads the bytes anew, and perhaps from a disk that has forgotten what nobody had synced.
        let stale = self.handed.insert(spool.incarnation(), process).is_some_and(|known| known != process);
        let mut known = self.spooled.iter().rev().chain(&self.given).filter(|_| !stale || !self.copied);
        if let Some(here) = known.find(|spooled| spooled.incarnation() == spool.incarnation()) {
            self.request.file = here.name().to_owned();
            return Ok(false);
        }
        let file = match (&self.file, &self.given) {
            (Some(file), _) => Arc::clone(file),
            (None, given) => {
                let path = given.as_ref().map(|s| s.path().to_owned()).unwrap_or_default();
                Arc::new(blocking(move || SourceFile::open(&path)).await??)
            }
        };
        // What was moved into another spool stays there, and is copied from there.
        let take = self.take && self.spooled.is_empty();
        let stopped = StopOnDrop::default();
        let mut report = self.spooling(&stopped, file.size());
        let (spooled, copied) = blocking(move || {
            if take && let Some(taken) = spool.take(&file)? {
                return Ok::<_, Fault>((taken, false));
            }
            Ok((spool.copy(&file, &mut report)?, true))
        })
        .await??;
        self.copied = copied;
        self.request.file = spooled.name().into();
        self.spooled.push(spooled);
        Ok(true)
    }

    /// Puts what is read only once into a spool. Into any other one it is copied from there.
    async fn fill(&mut self, spool: Spool, supply: Supply) -> Result<(), Fault> {
        // The owner stays here, and the file goes with it, even while a read waits for bytes that never come.
        let (file, spooled) = blocking(move || spool.writer()).await??.into_parts();
        let path = spooled.path().to_owned();
        let stopped = StopOnDrop::default();
        let mut report = self.spooling(&stopped, 0);
        let filled = blocking(move || {
            supply.write_to(&file, &path, &mut report)?;
            SourceFile::open(&path)
        });
        self.file = Some(Arc::new(filled.await??));
        self.request.file = spooled.name().into();
        self.spooled.push(spooled);
        Ok(())
    }

    /// What work on the spool reports to: the observer, and it ends when nobody waits for it.
    fn spooling(&self, stopped: &StopOnDrop, total: u64) -> impl FnMut(u64) -> io::Result<()> + Send + 'static {
        let (observer, stop) = (self.observer.clone(), Arc::clone(&stopped.0));
        move |done| {
            if let Some(observer) = &observer {
                observer(Step { phase: Phase::Spooling, done, total });
            }
            if stop.load(Ordering::Relaxed) { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
        }
    }

    /// Sees to it that the result is that of these bytes: an earlier save may have had the request id.
    pub(super) async fn compare(&mut self, saved: &Saved) -> Result<(), Fault> {
        let Some(spooled) = self.spooled.last().or(self.given.as_ref()).filter(|_| self.repeats) else {
            return Ok(());
        };
        // A file that was taken may be readable only where it is open already.
        let taken = self.file.clone().filter(|file| file.is_named(spooled.path()));
        let (path, size, digest) = (spooled.path().to_owned(), saved.size, saved.digest);
        let same = blocking(move || {
            let file = match taken {
                Some(file) => file,
                None => Arc::new(SourceFile::open(&path)?),
            };
            Ok::<_, Fault>(file.size() == size && file.digest()? == digest)
        });
        match same.await? {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::new(Code::Conflict, "this request id was used for another save")
                .hint("use a new --request-id")
                .into()),
            Err(fault) => Err(fault.unknown()),
        }
    }

    /// Saved: a file that was taken is gone.
    pub(super) fn finish(&mut self) {
        self.spooled.drain(..).for_each(Spooled::keep);
        if let (true, Some(file)) = (self.take, &self.file) {
            // It could only be copied (another file system, or another name). If it changed since, it is not what was saved.
            if file.is_at(file.path())
                && let Err(error) = std::fs::remove_file(file.path())
            {
                tracing::warn!("saved, but {}", FileFault::new("remove", file.path(), &error));
            }
        }
    }

    /// Not saved: a file that was taken is put back.
    pub(super) fn abandon(&mut self, fault: Fault) -> Fault {
        let fault = match (self.missing.take(), fault) {
            // The node knows no such request: then it is the file that is missing.
            (Some(missing), Fault::Request(error)) if error.code == Code::Invalid => missing,
            (_, fault) => fault,
        };
        let outcome = fault.outcome();
        // Here and now, however long it takes: nobody must end it half-way.
        let stuck: Vec<String> = self
            .spooled
            .drain(..)
            .filter_map(|spooled| spooled.give_back(outcome).err())
            .map(|stuck| stuck.with_hint())
            .collect();
        match (stuck.is_empty(), fault) {
            (true, fault) => fault,
            (false, Fault::Request(error)) => error.hint(stuck.join("; ")).into(),
            (false, Fault::File(fault)) => fault.hint(stuck.join("; ")).into(),
        }
    }
}

/// Whether there is anything at `path`, even if it cannot be opened.
fn is_there(path: &Path) -> bool {
    !std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}
