//! A folder that appears whole or not at all: filled beside its final place, and renamed.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with, syncfs};

use super::{END, TRIES, beside, folder_of, left, rename_new, sync_folder_of, taken, taken_for_left};
use crate::fault::{Fault, FileFault};

/// A folder beside its final place, for this user alone until it is published. Dropped before, it is removed.
pub(crate) struct PartFolder {
    path: PathBuf,
    target: PathBuf,
    /// Open as long as this is: that is its lock.
    held: File,
}

impl PartFolder {
    /// An empty one.
    pub(crate) fn create(target: &Path) -> Result<Self, FileFault> {
        let failed = |error: io::Error| FileFault::new("write to", target, &error);
        left::sweep(folder_of(target));
        for _ in 0..TRIES {
            let path = beside(target, END);
            fs::DirBuilder::new().mode(0o700).create(&path).map_err(failed)?;
            let held = match File::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened.map_err(failed)?,
            };
            let part = Self { path, target: target.into(), held };
            if left::hold(&part.held).map_err(failed)? {
                return Ok(part);
            }
        }
        Err(taken_for_left(target))
    }

    /// Where it is as yet.
    #[cfg(test)]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Open, to be filled.
    pub(crate) fn open(&self) -> Result<OwnedFd, FileFault> {
        let flags = i32::try_from((OFlags::DIRECTORY | OFlags::NOFOLLOW).bits()).unwrap_or(0);
        let opened = File::options().read(true).custom_flags(flags).open(&self.path);
        Ok(opened.map_err(|error| self.failed(&error))?.into())
    }

    /// Gives it its name, durably; in exchange for what has that name only with `force`.
    pub(crate) fn publish(mut self, filled: &OwnedFd, force: bool) -> Result<(), Fault> {
        // One call for all that is in it, however many files that is.
        syncfs(filled).map_err(|error| self.failed(&error.into()))?;
        match rename_new(&self.path, &self.target) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && force => self.exchange()?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(taken(&self.target)),
            renamed => {
                renamed.map_err(|error| self.failed(&error))?;
                self.path = PathBuf::new();
            }
        }
        sync_folder_of(&self.target)
    }

    /// What had the name is here afterwards, and goes away with this.
    fn exchange(&self) -> Result<(), FileFault> {
        renameat_with(CWD, &self.path, CWD, &self.target, RenameFlags::EXCHANGE).map_err(|error| {
            let hint = "remove what is there first, or choose another path";
            FileFault::new("replace", &self.target, &error.into()).hint(hint)
        })
    }

    fn failed(&self, error: &io::Error) -> FileFault {
        FileFault::new("write to", &self.target, error)
    }
}

impl Drop for PartFolder {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty()
            && let Err(error) = remove(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("{}", FileFault::new("remove", &self.path, &error));
        }
    }
}

/// Removes a file, a link or a folder with all that is in it; of folders also those that may not be written to.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.is_dir() {
        return fs::remove_file(path);
    }
    // Nothing else is found out here: what cannot be opened up cannot be removed either, and that is said.
    let _ = open_up(path);
    fs::remove_dir_all(path)
}

fn open_up(folder: &Path) -> io::Result<()> {
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        fs::set_permissions(&folder, Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    Ok(())
}
