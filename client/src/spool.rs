//! A node's local storage, seen from an application on the same machine.
//!
//! A spool is recognised by the mark in it: the same incarnation that the node itself tells. What is put into it has
//! a name that is used once, and goes away when its owner here is dropped. A file that is to be moved gets a second name
//! here and keeps its own until it is saved; if it is not, a copy takes its place where a node may have kept the file
//! itself.

mod home;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use cairn_store::disk::SPOOL_MARK;
use cairn_store::id::Incarnation;
use rustix::fs::OFlags;
use uuid::Uuid;

use crate::api::{Code, Error, Hello, Outcome};
use crate::dial::Client;
use crate::fault::{Fault, FileFault};
use crate::source::{Report, SourceFile};
use home::Home;

/// The longest mark that is read, in bytes.
const MARK_BYTES_MAX: u64 = 256;

/// The spool of a node on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spool {
    dir: PathBuf,
    incarnation: Incarnation,
}

impl Spool {
    /// The spool at `dir`, if it is on this machine and belongs to that very node.
    pub fn recognise(dir: &Path, incarnation: Incarnation) -> io::Result<Option<Self>> {
        // Applications write here: whatever stands in place of the mark must not make us wait.
        let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOFOLLOW).bits()).unwrap_or(0);
        let mark = match OpenOptions::new().read(true).custom_flags(flags).open(dir.join(SPOOL_MARK)) {
            Ok(file) => io::read_to_string(io::Read::take(file, MARK_BYTES_MAX))?,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let same = mark.trim().parse() == Ok(incarnation);
        Ok(same.then(|| Self { dir: dir.into(), incarnation }))
    }

    /// The spool of the node that said hello, if it is on this machine.
    pub(crate) fn of(hello: &Hello) -> Result<Option<Self>, FileFault> {
        Self::recognise(&hello.spool, hello.incarnation).map_err(|error| {
            let hint = format!("this user needs access to the spool of {}", hello.node);
            FileFault::new("recognise the spool", &hello.spool, &error).hint(hint)
        })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The node that it belongs to.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// A new file in the spool, for an application to write what it wants to save.
    pub fn writer(&self) -> Result<SpoolFile, FileFault> {
        let name = format!("cairn-{}.part", Uuid::now_v7().simple());
        let path = self.dir.join(&name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o660)
            .open(&path)
            .map_err(|error| self.denied(&error, FileFault::new("create", &path, &error)))?;
        let spooled = Spooled { incarnation: self.incarnation, path, name, home: None, handed_over: false };
        share(&file, &self.dir).map_err(|error| FileFault::new("set the permissions of", &spooled.path, &error))?;
        Ok(SpoolFile { file, spooled })
    }

    /// Copies a file in.
    pub(crate) fn copy(&self, source: &SourceFile, report: &mut Report<'_>) -> Result<Spooled, Fault> {
        let writer = self.writer()?;
        source.copy_to(&writer.file, writer.spooled.path(), report)?;
        Ok(writer.commit())
    }

    /// Gives a file a name in the spool, if it can be linked and has no other name; `None` if not. Where it was it stays
    /// until the save is over.
    pub(crate) fn take(&self, source: &SourceFile) -> Result<Option<Spooled>, Fault> {
        let fault = |error: &io::Error| self.denied(error, FileFault::new("move", source.path(), error));
        if !source.is_named(source.path()) {
            let message = format!("{} is a link, or was replaced just now", source.path().display());
            return Err(Fault::invalid(message, "move takes the file itself; leave --move out to copy it"));
        }
        let changed = || {
            let message = format!("{} changed while it was moved", source.path().display());
            FileFault::other(message).hint("save it when nothing writes to it")
        };
        if !source.is_at(source.path()) {
            return Err(changed().into());
        }
        let home = Home::of(source.path()).map_err(|error| fault(&error))?;
        if home.has_other_names() {
            // Through another name the node's own copy could be written to.
            return Ok(None);
        }
        let name = format!("cairn-{}.part", Uuid::now_v7().simple());
        let path = self.dir.join(&name);
        // A second name, not another place: whoever is killed in between has lost nothing.
        match fs::hard_link(home.path(), &path) {
            Ok(()) => {}
            // Another file system; another user's file; no links at all, or no more of them.
            Err(error) if cannot_link(&error) => return Ok(None),
            Err(error) => return Err(fault(&error).into()),
        }
        let spooled =
            Spooled { incarnation: self.incarnation, path, name, home: Some(Box::new(home)), handed_over: false };
        // Dropped on an error, it goes back.
        File::open(&spooled.path).and_then(|file| share(&file, &self.dir)).map_err(|error| fault(&error))?;
        if !source.is_at(&spooled.path) {
            return Err(changed().into());
        }
        Ok(Some(spooled))
    }

    fn denied(&self, error: &io::Error, fault: FileFault) -> FileFault {
        if error.kind() == io::ErrorKind::PermissionDenied {
            return fault.hint(format!("this user needs write access to the spool {}", self.dir.display()));
        }
        fault
    }
}

impl Client {
    /// The spool of the node that answers, for an application that writes what it saves straight into local storage:
    /// the very file becomes the owner's copy.
    ///
    /// ```no_run
    /// # async fn example(client: cairn_client::dial::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::io::Write;
    /// use cairn_client::save::{SaveOptions, Source};
    ///
    /// let mut file = client.spool().await?.writer()?;
    /// file.write_all(b"the state")?;
    /// let source = Source::Spooled(file.commit());
    /// let saved = client.save(SaveOptions::new("jobs/one".parse()?, source)).await?;
    /// println!("version {} of epoch {}", saved.version, saved.epoch);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// No node answers; it is on another machine; this user has no access.
    pub async fn spool(&self) -> Result<Spool, Fault> {
        let hello = self.hello().await?;
        Spool::of(&hello)?.ok_or_else(|| elsewhere(&hello).into())
    }
}

/// The node is on another machine, and so is its spool.
pub(crate) fn elsewhere(hello: &Hello) -> Error {
    let (node, spool) = (&hello.node, hello.spool.display());
    Error::new(Code::Invalid, format!("{node} is not on this machine: its spool {spool} is not here"))
        .hint("save through the node of this machine: see --endpoint and CAIRN_ENDPOINTS")
}

fn cannot_link(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::CrossesDevices
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::Unsupported
            | io::ErrorKind::TooManyLinks
    )
}

/// Lets the node read the file, whoever wrote it: through the spool's group.
fn share(file: &File, dir: &Path) -> io::Result<()> {
    let (group, metadata) = (fs::metadata(dir)?.gid(), file.metadata()?);
    let shared = metadata.gid() == group || fchown(file, None, Some(group)).is_ok();
    // Without the group, others of this user's own group get no more than reading.
    let bits = if shared { 0o660 } else { 0o640 };
    let mode = metadata.mode() & 0o7777;
    match file.set_permissions(Permissions::from_mode(mode | bits)) {
        // Not our file, and readable as it is: the node will say if it cannot read it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        done => done,
    }
}

/// A file in a spool that is being written.
#[derive(Debug)]
pub struct SpoolFile {
    file: File,
    spooled: Spooled,
}

impl SpoolFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.spooled.path()
    }

    /// All is written: a file that can be saved.
    pub fn commit(self) -> Spooled {
        self.spooled
    }

    /// What is written to, and the owner, without whom it goes away.
    pub(crate) fn into_parts(self) -> (File, Spooled) {
        (self.file, self.spooled)
    }
}

impl Write for SpoolFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for SpoolFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// A file in a spool that can be saved. Dropped, it is removed; or given back, if it was moved in.
#[derive(Debug)]
pub struct Spooled {
    incarnation: Incarnation,
    path: PathBuf,
    name: String,
    home: Option<Box<Home>>,
    /// A node was told of it, and may keep the file itself as its copy.
    handed_over: bool,
}

impl Spooled {
    /// The node whose spool it is in.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its plain name in the spool.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// It is saved: it does not go back where it came from.
    pub(crate) fn keep(mut self) {
        self.home = None;
    }

    /// A node is told of it: the file itself may become that node's copy.
    pub(crate) fn hand_over(&mut self) {
        self.handed_over = true;
    }

    /// Gives it back where it came from: itself if nothing came of the save, else a copy. If that fails it
    /// stays where it is, and the error says so.
    pub(crate) fn give_back(mut self, outcome: Outcome) -> Result<(), FileFault> {
        self.handed_over &= outcome == Outcome::Unknown;
        self.restore()
    }

    fn restore(&mut self) -> Result<(), FileFault> {
        let Some(home) = self.home.take() else { return self.remove() };
        let path = std::mem::take(&mut self.path);
        home.give_back(&path, self.handed_over)
    }

    fn remove(&mut self) -> Result<(), FileFault> {
        let path = std::mem::take(&mut self.path);
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileFault::new("remove", &path, &error)),
            _ => Ok(()),
        }
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        if let Err(fault) = self.restore() {
            tracing::error!("{}", fault.with_hint());
        }
    }
}

#[cfg(test)]
mod tests;
