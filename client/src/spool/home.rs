//! The way back of a file that was given a name in a spool.

use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use crate::fault::{Fault, FileFault};
use crate::part::{Part, rename_new};
use crate::source::SourceFile;

/// Where a file came from, and what it was like there.
#[derive(Debug)]
pub(super) struct Home {
    path: PathBuf,
    was: Metadata,
}

impl Home {
    /// The place of a file that is about to be moved. The way back does not depend on the working directory.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let was = fs::metadata(&path)?;
        Ok(Self { path, was })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether another name could be used to write to the file.
    pub(super) fn has_other_names(&self) -> bool {
        self.was.nlink() > 1
    }

    /// Gives the file back. If a node may refer to it, or made a copy of it that shares its bytes, a copy of it: whoever
    /// writes to the file itself would write to the node's.
    pub(super) fn give_back(&self, from: &Path, referred: bool) -> Result<(), FileFault> {
        let ours = fs::symlink_metadata(from).map_err(|error| FileFault::new("find", from, &error))?;
        let same = |there: Metadata| (there.dev(), there.ino()) == (ours.dev(), ours.ino());
        let in_place = fs::symlink_metadata(&self.path).is_ok_and(same);
        // Its name in the spool, and its own if it is still there: every other is a node's.
        let shared = ours.nlink() > if in_place { 2 } else { 1 };
        match (referred || shared, in_place) {
            (true, _) => self.copy_back(from, in_place),
            (false, true) => {
                self.restore();
                remove(from)
            }
            (false, false) => self.take_back(from),
        }
    }

    /// Moves the file back.
    fn take_back(&self, from: &Path) -> Result<(), FileFault> {
        rename_new(from, &self.path).map_err(|error| {
            let hint = format!("the file is at {}", from.display());
            FileFault::new("move back to", &self.path, &error).hint(hint)
        })?;
        self.restore();
        Ok(())
    }

    /// What was opened for the node is closed again; the file is back either way.
    fn restore(&self) {
        if let Ok(file) = File::open(&self.path) {
            let _ = fchown(&file, None, Some(self.was.gid()));
            let _ = file.set_permissions(self.permissions());
        }
    }

    /// A copy comes in its place: over the file itself, if that is `in_place`, and never over another.
    fn copy_back(&self, from: &Path, in_place: bool) -> Result<(), FileFault> {
        self.copy(from, in_place).map_err(|fault| {
            let hint = format!("the file is at {}", from.display());
            FileFault::other(format!("cannot copy back to {}: {fault}", self.path.display())).hint(hint)
        })?;
        // The bytes are back; of the other name the spool is tidied as well as may be.
        remove(from)
    }

    fn copy(&self, from: &Path, force: bool) -> Result<(), Fault> {
        let source = SourceFile::open(from)?;
        let part = Part::private(&self.path)?;
        source.copy_to(part.file()?, &self.path, &mut |_| Ok(()))?;
        let file = part.file()?;
        // As far as this user may: only root gives files away.
        let _ = fchown(file, None, Some(self.was.gid()));
        let _ = fchown(file, Some(self.was.uid()), None);
        let _ = self.was.modified().and_then(|modified| file.set_modified(modified));
        file.set_permissions(self.permissions()).map_err(|error| part.failed(&error))?;
        part.sync()?;
        part.publish(force)
    }

    fn permissions(&self) -> Permissions {
        Permissions::from_mode(self.was.mode() & 0o7777)
    }
}

fn remove(path: &Path) -> Result<(), FileFault> {
    fs::remove_file(path).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(FileFault::new("remove", path, &error)),
    })
}
