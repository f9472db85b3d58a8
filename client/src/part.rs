//! A file that appears whole or not at all: written beside its final place, and renamed.
//!
//! - `folder`: the same of a folder;
//! - `left`: what processes that were killed left is removed by the next one that writes there.

mod folder;
mod left;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use uuid::Uuid;

use crate::fault::{Fault, FileFault};

pub(crate) use folder::PartFolder;

/// What the name of a part begins with.
const START: &str = ".cairn-";
/// What it ends with.
const END: &str = ".part";
/// What a link ends with on its way to its name. Its bytes are a node's: they are not locked, and it is never taken for
/// left.
const LINK_END: &str = ".link";
/// How many characters its id has.
const ID_CHARS: usize = 32;
/// How often a part is begun that others take for left before it is locked.
const TRIES: u32 = 16;

/// A file beside its final place. Dropped before it is published, it is removed.
pub(crate) struct Part {
    file: Option<File>,
    path: PathBuf,
    target: PathBuf,
}

impl Part {
    /// An empty one, for everybody who may read new files here.
    pub(crate) fn create(target: &Path) -> Result<Self, FileFault> {
        Self::open(target, 0o666)
    }

    /// An empty one, for this user alone until its permissions are set.
    pub(crate) fn private(target: &Path) -> Result<Self, FileFault> {
        Self::open(target, 0o600)
    }

    /// One more name of `source`.
    pub(crate) fn link(source: &Path, target: &Path) -> Result<Self, FileFault> {
        let path = beside(target, LINK_END);
        fs::hard_link(source, &path).map_err(|error| {
            let hint = "a link needs the same file system and access to the node's files; leave --link out to copy";
            FileFault::new("link to", source, &error).hint(hint)
        })?;
        Ok(Self { file: None, path, target: target.into() })
    }

    fn open(target: &Path, mode: u32) -> Result<Self, FileFault> {
        let failed = |error: io::Error| FileFault::new("write to", target, &error);
        left::sweep(folder_of(target));
        for _ in 0..TRIES {
            let path = beside(target, END);
            let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path).map_err(failed)?;
            let part = Self { file: Some(file), path, target: target.into() };
            if left::hold(part.file()?).map_err(failed)? {
                return Ok(part);
            }
        }
        Err(taken_for_left(target))
    }

    /// Where it is as yet.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// To be written to.
    pub(crate) fn file(&self) -> Result<&File, FileFault> {
        self.file.as_ref().ok_or_else(|| FileFault::other("a link is not written"))
    }

    /// Why it cannot be written, by the name that it will have.
    pub(crate) fn failed(&self, error: &io::Error) -> FileFault {
        FileFault::new("write to", &self.target, error)
    }

    /// Makes its bytes durable.
    pub(crate) fn sync(&self) -> Result<(), FileFault> {
        self.file()?.sync_all().map_err(|error| self.failed(&error))
    }

    /// Gives it its name, durably; over what has that name only with `force`.
    pub(crate) fn publish(mut self, force: bool) -> Result<(), Fault> {
        let renamed = if force { fs::rename(&self.path, &self.target) } else { rename_new(&self.path, &self.target) };
        match renamed {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(taken(&self.target)),
            renamed => renamed.map_err(|error| self.failed(&error))?,
        }
        if self.file.is_none() {
            // Renaming one link of a file over another of the same file leaves both.
            let _ = fs::remove_file(&self.path);
        }
        self.path = PathBuf::new();
        sync_folder_of(&self.target)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            // Best effort: the error that led here says more.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes the name durable.
fn sync_folder_of(target: &Path) -> Result<(), Fault> {
    let folder = folder_of(target);
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // Some file systems cannot sync a folder; what is in it is durable.
        Err(error) if error.kind() != io::ErrorKind::InvalidInput => {
            Err(FileFault::new("sync", folder, &error).into())
        }
        _ => Ok(()),
    }
}

/// A name of its own in the folder of `target`.
fn beside(target: &Path, end: &str) -> PathBuf {
    folder_of(target).join(format!("{START}{}{end}", Uuid::now_v7().simple()))
}

/// Somebody is quicker again and again.
fn taken_for_left(target: &Path) -> FileFault {
    FileFault::other(format!("cannot write to {}: others remove what is begun there", target.display()))
}

/// Something is in the way.
pub(crate) fn taken(path: &Path) -> Fault {
    Fault::invalid(format!("{} exists already", path.display()), "choose another path, or replace it with --force")
}

/// Where a path's file lies.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Renames, and never over something.
pub(crate) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some file systems cannot; then look first.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
            if fs::symlink_metadata(to).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(from, to)
        }
        done => Ok(done?),
    }
}
