//! The last step of a load: from a node's local storage, or over its data plane, to where the caller wants it.
//!
//! A file, or a tree's folder, is written beside its final place, verified, synced, and renamed: it appears whole or not
//! at all.

mod blocks;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cairn_store::digest::{BLOCK_BYTES, Digest};
use cairn_store::id::{Incarnation, RequestId};
use cairn_store::name::Name;
use cairn_store::segment::{Kind, Version};
use rustix::fs::ioctl_ficlone;
use tokio::sync::mpsc;

use crate::api::{Error, Loaded};
use crate::dial::Client;
use crate::fault::{Fault, FileFault};
use crate::fetch::{Fetch, FetchError, Range, Wanted};
use crate::load::corrupt;
use crate::part::{Part, folder_of, taken};
use crate::retry::{Failure, Retry};
use crate::save::{Observer, Phase, Step, StopOnDrop, blocking};
use crate::spool::Spool;
use blocks::{Blocks, write};

/// The most blocks that wait between the network and the disk.
const BLOCKS_WAITING_MAX: usize = 4;
/// How far above a copy its node's folder can be.
const LEVELS_MAX: usize = 4;

/// Where the bytes of a load go.
#[derive(Clone)]
pub enum Output {
    /// A file, or the folder of a tree: it appears whole or not at all.
    File {
        /// Where.
        path: PathBuf,
        /// Whether to replace what is there: a file, or a link (the link itself, not what it names); by a tree, a folder
        /// too.
        force: bool,
        /// Whether to make a hard link to the node's read-only copy, instead of a copy. Not of a tree.
        link: bool,
    },
    /// A stream. It gets verified bytes only, but may get some before an error.
    Stream(Arc<Mutex<dyn Write + Send>>),
}

impl Output {
    /// A stream.
    pub fn stream(stream: impl Write + Send + 'static) -> Self {
        Self::Stream(Arc::new(Mutex::new(stream)))
    }

    /// Whether it can be written, as far as that can be told beforehand.
    pub(crate) fn check(&self, ranged: bool) -> Result<(), Fault> {
        let Self::File { path, force, link } = self else { return Ok(()) };
        if *link && ranged {
            return Err(Fault::invalid(
                "a link has all of the bytes, not a range of them",
                "leave one of the two out",
            ));
        }
        let folder = folder_of(path);
        let hint = "make the folder first, or choose another path";
        match fs::metadata(folder) {
            Ok(there) if there.is_dir() => {}
            Ok(_) => return Err(FileFault::other(format!("{} is not a folder", folder.display())).hint(hint).into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(FileFault::new("write to", folder, &error).hint(hint).into());
            }
            Err(error) => return Err(FileFault::new("write to", folder, &error).into()),
        }
        match fs::symlink_metadata(path) {
            Ok(_) if !force => Err(taken(path)),
            Ok(there) if !there.is_file() && !there.is_symlink() && !there.is_dir() => {
                let message = format!("{} is not a regular file and is not replaced", path.display());
                Err(Fault::invalid(message, "choose another path"))
            }
            _ => Ok(()),
        }
    }

    /// Whether it depends on the kind of the segment if it can be written.
    pub(crate) fn depends(&self, ranged: bool) -> bool {
        matches!(self, Self::File { path, link, .. } if *link || ranged || is_folder(path))
    }

    /// Whether this kind can be written to it.
    pub(crate) fn check_kind(&self, kind: Kind, ranged: bool) -> Result<(), Fault> {
        let Self::File { path, link, .. } = self else { return Ok(()) };
        match kind {
            Kind::Tree if *link => {
                Err(Fault::invalid("a tree cannot be a link", "leave --link out to get its folder"))
            }
            Kind::Tree if ranged => {
                let hint = "leave --range out to get its folder, or give --out - to get bytes of its tar stream";
                Err(Fault::invalid("a folder is not a range of bytes", hint))
            }
            Kind::File if is_folder(path) => {
                let message = format!("{} is a folder and is not replaced by a file", path.display());
                Err(Fault::invalid(message, "choose another path"))
            }
            _ => Ok(()),
        }
    }
}

fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|there| there.is_dir())
}

/// Why nothing was delivered.
pub(crate) enum Undelivered {
    /// The copy is not what it should be. Another load may bring a better one.
    BadCopy(Fault),
    /// Something else.
    Fault(Fault),
}

impl Undelivered {
    /// A stream got some bytes already: beginning again would give them twice.
    fn finally(self) -> Self {
        Self::Fault(self.into_fault())
    }

    pub(crate) fn into_fault(self) -> Fault {
        match self {
            Self::BadCopy(fault) | Self::Fault(fault) => fault,
        }
    }
}

impl<E: Into<Fault>> From<E> for Undelivered {
    fn from(fault: E) -> Self {
        Self::Fault(fault.into())
    }
}

/// One copy on its way to one output.
#[derive(Clone)]
pub(crate) struct Delivery {
    name: Name,
    version: Version,
    kind: Kind,
    wanted: Wanted,
    range: Range,
    ranged: bool,
    path: PathBuf,
    data: String,
    incarnation: Incarnation,
    stale: bool,
    output: Output,
    observer: Option<Observer>,
}

impl Delivery {
    pub(crate) fn new(
        request: RequestId,
        loaded: &Loaded,
        output: Output,
        range: Option<Range>,
        observer: Option<Observer>,
    ) -> Result<Self, Fault> {
        output.check_kind(loaded.kind, range.is_some())?;
        let whole = Range::all(loaded.size);
        if let Some(range) = range.filter(|range| range.end() > loaded.size) {
            let (first, end) = (range.offset, range.end());
            let message = format!("bytes {first} to {end} were asked for, and {} has {}", loaded.name, loaded.size);
            return Err(Fault::invalid(message, "ask for a range within the size"));
        }
        Ok(Self {
            name: loaded.name.clone(),
            version: loaded.version,
            kind: loaded.kind,
            wanted: Wanted { request, copy: loaded.copy, size: loaded.size, digest: loaded.digest },
            range: range.unwrap_or(whole),
            ranged: range.is_some(),
            path: loaded.path.clone(),
            data: loaded.data.clone(),
            incarnation: loaded.incarnation,
            stale: loaded.stale,
            output,
            observer,
        })
    }

    /// Delivers, from the nearest place.
    pub(crate) async fn carry_out(self, client: &Client) -> Result<(), Undelivered> {
        let stopped = StopOnDrop::default();
        let (here, stop) = (self.clone(), Arc::clone(&stopped.0));
        if blocking(move || here.deliver_local(&stop)).await?? {
            return Ok(());
        }
        self.deliver_remote(client).await
    }

    /// From the node's local storage; false if that is not within reach.
    fn deliver_local(&self, stop: &AtomicBool) -> Result<bool, Undelivered> {
        let here = is_storage_of(&self.path, self.incarnation);
        // A stale load's file in the spool is the caller's to remove, whatever becomes of the delivery.
        let _leftover = (here && self.stale).then(|| Leftover(&self.path));
        let source = if here { File::open(&self.path).ok() } else { None };
        match (&self.output, source) {
            (Output::File { path, force, link: true }, Some(_)) => {
                Part::link(&self.path, path)?.publish(*force)?;
            }
            (Output::File { link: true, .. }, None) => {
                let message = format!("{} is not within reach here: it cannot be linked to", self.path.display());
                return Err(Fault::invalid(message, "leave --link out to get a copy").into());
            }
            (Output::File { .. }, Some(source)) if self.kind == Kind::Tree => {
                self.unpack(&source, stop)?;
            }
            (Output::File { path, force, .. }, Some(source)) => {
                let part = Part::create(path)?;
                self.copy_to_file(source, &part, stop)?;
                part.sync()?;
                part.publish(*force)?;
            }
            (Output::Stream(stream), Some(source)) => {
                // A stream cannot be taken back: the bytes are verified before the first one goes out.
                self.copy(&source, &mut io::sink(), Path::new("-"), stop, None)?;
                let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
                let copied = self.copy(&source, &mut *stream, Path::new("the output"), stop, self.observer.as_ref());
                copied.map_err(Undelivered::finally)?;
                stream.flush().map_err(|error| FileFault::new("write to", Path::new("the output"), &error))?;
            }
            (_, None) => return Ok(false),
        }
        Ok(true)
    }

    fn copy_to_file(&self, source: File, part: &Part, stop: &AtomicBool) -> Result<(), Undelivered> {
        let cloned = !self.ranged && self.wanted.size > 0 && ioctl_ficlone(part.file()?, &source).is_ok();
        if cloned {
            // What was written is what counts: it is read again.
            let file = File::open(part.path()).map_err(|error| part.failed(&error))?;
            return self.copy(&file, &mut io::sink(), part.path(), stop, self.observer.as_ref());
        }
        self.copy(&source, &mut part.file()?, part.path(), stop, self.observer.as_ref())
    }

    /// Unpacks a tree while it is verified: it appears only if it is what it should be.
    fn unpack(&self, source: &File, stop: &AtomicBool) -> Result<(), Undelivered> {
        let (blocks, waiting) = mpsc::channel::<Vec<u8>>(BLOCKS_WAITING_MAX);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| write(self.output.clone(), self.kind, waiting));
            self.copy(source, &mut Blocks(&blocks), Path::new("-"), stop, self.observer.as_ref())?;
            // Only now is it known to be whole. If nobody takes the end, the writer says why.
            let _ = blocks.blocking_send(Vec::new());
            drop(blocks);
            Ok(writer.join().unwrap_or_else(|_| Err(FileFault::other("the tree's writer failed").into()))?)
        })
    }

    /// Reads all from the start, writes what is in the range, and compares the digest of all.
    fn copy(
        &self,
        source: &File,
        sink: &mut dyn Write,
        sink_path: &Path,
        stop: &AtomicBool,
        observer: Option<&Observer>,
    ) -> Result<(), Undelivered> {
        use std::os::unix::fs::FileExt;
        let failed = |error: &io::Error| FileFault::new("read", &self.path, error);
        let (mut hasher, mut buffer, mut at) = (blake3::Hasher::new(), vec![0; BLOCK_BYTES], 0_u64);
        loop {
            let length = match source.read_at(&mut buffer, at) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(&error).into()),
            };
            let bytes = buffer.get(..length).unwrap_or_default();
            if bytes.is_empty() || at > self.wanted.size || stop.load(Ordering::Relaxed) {
                break;
            }
            hasher.update(bytes);
            let written = sink.write_all(self.range.cut(at, bytes));
            written.map_err(|error| FileFault::new("write to", sink_path, &error))?;
            at = at.saturating_add(length as u64);
            self.observe(observer, at);
        }
        if at == self.wanted.size && Digest(hasher.finalize().into()) == self.wanted.digest {
            return Ok(());
        }
        let why = format!("{} has other bytes", self.path.display());
        Err(Undelivered::BadCopy(corrupt(&self.name, self.version, &why)))
    }

    /// Over the data plane, going on from the same block after a broken connection.
    async fn deliver_remote(&self, client: &Client) -> Result<(), Undelivered> {
        let (output, kind) = (self.output.clone(), self.kind);
        let (blocks, waiting) = mpsc::channel::<Vec<u8>>(BLOCKS_WAITING_MAX);
        let writer = blocking(move || write(output, kind, waiting));
        let reader = async {
            let mut next = self.range.first_block();
            let mut retry = Retry::new(client.timeout(), false);
            loop {
                match self.fetch(client, &blocks, &mut next, &mut retry).await {
                    Ok(()) => break,
                    Err(error) if error.bad_copy() => {
                        let bad = Undelivered::BadCopy(corrupt(&self.name, self.version, &error.to_string()));
                        let begun = matches!(self.output, Output::Stream(_)) && next > self.range.first_block();
                        return Err(if begun { bad.finally() } else { bad });
                    }
                    Err(error) => {
                        let passing = error.passing();
                        let error = Error::unavailable(format!("cannot fetch from {}: {error}", self.data));
                        retry.again(Failure::unreached(Error { retryable: passing, ..error })).await?;
                    }
                }
            }
            // The end of the channel alone does not say that all is there.
            let _ = blocks.send(Vec::new()).await;
            drop(blocks);
            Ok(())
        };
        let (written, read) = futures::join!(writer, reader);
        // If writing failed, reading only ended because of it.
        match (written?, read) {
            (Err(fault), Ok(())) => Err(fault.into()),
            (_, read) => read,
        }
    }

    async fn fetch(
        &self,
        client: &Client,
        blocks: &mpsc::Sender<Vec<u8>>,
        next: &mut u64,
        retry: &mut Retry,
    ) -> Result<(), FetchError> {
        let start = |block: u64| block.saturating_mul(BLOCK_BYTES as u64);
        let mut fetch = Fetch::open(client.connector(), &self.data, self.wanted, *next, client.timeout()).await?;
        while start(*next) < self.range.end() {
            let Some(block) = fetch.next().await? else { break };
            let wanted = self.range.cut(start(*next), &block).to_vec();
            // The writer is gone only if it failed, and then it says why.
            if !wanted.is_empty() && blocks.send(wanted).await.is_err() {
                break;
            }
            *next += 1;
            retry.progress();
            self.observe(self.observer.as_ref(), start(*next).min(self.wanted.size));
        }
        Ok(())
    }

    fn observe(&self, observer: Option<&Observer>, done: u64) {
        if let Some(observer) = observer {
            observer(Step { phase: Phase::Delivering, done, total: self.wanted.size });
        }
    }
}

/// Whether `path` lies in the folder of that very node: its spool, somewhere above or beside it, holds the mark.
fn is_storage_of(path: &Path, incarnation: Incarnation) -> bool {
    let marked = |dir: &Path| matches!(Spool::recognise(dir, incarnation), Ok(Some(_)));
    path.ancestors().skip(1).take(LEVELS_MAX).any(|dir| marked(dir) || marked(&dir.join("spool")))
}

/// A file that goes away in the end.
struct Leftover<'a>(&'a Path);

impl Drop for Leftover<'_> {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("{}", FileFault::new("remove", self.0, &error));
        }
    }
}
