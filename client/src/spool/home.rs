//! The way back of a file that was moved into a spool.

use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use crate::fault::{Fault, FileFault};
use crate::part::{Part, rename_new};
use crate::source::SourceFile;

/// Where a file was moved from, and what it was like there.
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
        let shared = fs::symlink_metadata(from).is_ok_and(|metadata| metadata.nlink() > 1);
        if referred || shared { self.copy_back(from) } else { self.take_back(from) }
    }

    /// Moves the file back.
    fn take_back(&self, from: &Path) -> Result<(), FileFault> {
        rename_new(from, &self.path).map_err(|error| {
            let hint = format!("the file is at {}", from.display());
            FileFault::new("move back to", &self.path, &error).hint(hint)
        })?;
        // What was opened for the node is closed again; the file is back either way.
        if let Ok(file) = File::open(&self.path) {
            let _ = fchown(&file, None, Some(self.was.gid()));
            let _ = file.set_permissions(self.permissions());
        }
        Ok(())
    }

    fn copy_back(&self, from: &Path) -> Result<(), FileFault> {
        self.copy(from).map_err(|fault| {
            let hint = format!("the file is at {}", from.display());
            FileFault::other(format!("cannot copy back to {}: {fault}", self.path.display())).hint(hint)
        })?;
        // The bytes are back; of the other name the spool is tidied as well as may be.
        fs::remove_file(from).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(FileFault::new("remove", from, &error)),
        })
    }

    fn copy(&self, from: &Path) -> Result<(), Fault> {
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
        part.publish(false)
    }

    fn permissions(&self) -> Permissions {
        Permissions::from_mode(self.was.mode() & 0o7777)
    }
}
