//! One agent a name on each node: a locked file in the node's spool, which goes with its holder, however that ends.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use cairn_store::name::Name;
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

/// How often a file is opened anew that its last holder has just removed.
const TRIES: u32 = 64;
/// How many bytes of the name's hash make the file's name.
const HASH_BYTES: usize = 16;

/// Held until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// The file for a name, in a node's spool. `what` tells kinds of holders apart.
    pub(super) fn path(spool: &Path, what: &str, name: &Name) -> PathBuf {
        let hash = blake3::hash(name.as_str().as_bytes());
        let hash: String = hash.as_bytes().iter().take(HASH_BYTES).map(|byte| format!("{byte:02x}")).collect();
        spool.join(format!(".{what}-{hash}"))
    }

    /// Takes it; none if somebody has it.
    pub(super) fn take(path: &Path) -> io::Result<Option<Self>> {
        for _ in 0..TRIES {
            let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or(0);
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).create(true).mode(0o660).custom_flags(flags).open(path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            // Its last holder may have removed it in between.
            let own = file.metadata()?;
            // An agent of another user may come after this one; if the file is not ours, it has been seen to.
            let _ = file.set_permissions(fs::Permissions::from_mode(0o660));
            if fs::metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == (own.dev(), own.ino())) {
                return Ok(Some(Self { file, path: path.into() }));
            }
        }
        Ok(None)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while it is held, so that nobody holds a file without a name for long. What stays is in nobody's way.
        let _ = fs::remove_file(&self.path);
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_and_it_goes_with_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = Lock::path(dir.path(), "run", &"a/b".parse().unwrap());
        assert_ne!(path, Lock::path(dir.path(), "run", &"a/c".parse().unwrap()));
        let held = Lock::take(&path).unwrap().unwrap();
        assert!(Lock::take(&path).unwrap().is_none());
        drop(held);
        assert!(!path.exists());
        assert!(Lock::take(&path).unwrap().is_some());
    }
}
