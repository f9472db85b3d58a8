//! What a node's folder says of it.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cairn_node::env::real::{SystemClock, SystemRng};
use cairn_node::env::{Clock, Rng};
use cairn_node::identity::{Identity, IdentityError};
use cairn_store::disk::{Disk, FileDisk, SPOOL_MARK};
use cairn_store::id::Incarnation;
use uuid::Uuid;

use crate::durable;
use crate::failure::{CONFLICT, Failure};

/// How often, and how long, to wait for the lock of a daemon that was just killed.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// A node's folder, kept from others.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) disk: FileDisk,
    /// None only for whoever reads where nobody can write.
    _lock: Option<File>,
}

impl Folder {
    /// Makes what is missing of a folder that has no identity yet. `mark` is the life that it begins with.
    pub(crate) fn make(dir: &Path, mark: Incarnation) -> Result<Self, Failure> {
        Self::lock(FileDisk::create(dir, mark)?, |disk| disk.lock().map(Some))
    }

    /// Opens a node's folder, and what it says.
    pub(crate) fn open(dir: &Path, config: &Path) -> Result<(Self, Identity), Failure> {
        let file = config.display();
        let nobody = || {
            Failure::new(format!("{} holds no node yet", dir.display())).hint(format!(
                "for the first node of a new cluster: cairnd init --config {file}; for one more node of a cluster: \
                 cairnd join --config {file} --seed HOST:PORT"
            ))
        };
        let identity = identity(dir)?.ok_or_else(nobody)?;
        let folder = Self::lock(FileDisk::open(dir).map_err(spoilt)?, |disk| disk.lock().map(Some))?;
        // Applications can write there; without the right mark they would not find their node's spool.
        let mark = durable::read(&folder.disk.spool().join(SPOOL_MARK)).ok().flatten().unwrap_or_default();
        if mark.trim() != identity.incarnation.to_string() {
            tracing::warn!("the mark in the spool was not this node's; it is written anew");
            FileDisk::create(dir, identity.incarnation).map_err(spoilt)?;
        }
        Ok((folder, identity))
    }

    /// Keeps the folder of a node that does not run, whatever is wrong with it. All that this can add to the folder is
    /// an empty `lock` where somebody took it away.
    pub(crate) fn stopped(dir: &Path) -> Result<Self, Failure> {
        let hint = "give the folder that node.dir of its configuration names; `cairnd config print` shows it";
        if !dir.is_dir() {
            return Err(Failure::new(format!("{}: there is no such folder", dir.display())).hint(hint));
        }
        let gone = |name: &str| matches!(dir.join(name).try_exists(), Ok(false));
        if gone("node.toml") && !has_log(dir) {
            return Err(Failure::new(format!("{} holds no node", dir.display())).hint(hint));
        }
        Self::lock(FileDisk::unchecked(dir), FileDisk::lock_to_read)
    }

    fn lock(disk: FileDisk, take: impl Fn(&FileDisk) -> io::Result<Option<File>>) -> Result<Self, Failure> {
        let mut tries = LOCK_TRIES;
        loop {
            match take(&disk) {
                Ok(lock) => return Ok(Self { disk, _lock: lock }),
                Err(e) if e.kind() == ErrorKind::WouldBlock && tries > 0 => tries -= 1,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    return Err(Failure::new(e.to_string())
                        .exit(CONFLICT)
                        .hint("end that one first, or give this node a node.dir of its own"));
                }
                Err(e) => return Err(spoilt(e)),
            }
            std::thread::sleep(LOCK_PAUSE);
        }
    }

    /// Gives the node its identity, for ever.
    pub(crate) fn identify(&self, identity: &Identity) -> Result<(), Failure> {
        let text = identity.to_toml().map_err(|e| Failure::new(e.to_string()))?;
        Ok(self.disk.write_identity(&text)?)
    }
}

/// The folder is not as we left it.
fn spoilt(error: io::Error) -> Failure {
    let hint = advice(error.kind()).unwrap_or(
        "nothing was changed. Put back what belongs there; or let this machine join as a new node, in an empty folder",
    );
    Failure::from(error).hint(hint)
}

/// What to do about a disk that cannot be written to.
pub(crate) fn advice(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::ReadOnlyFilesystem => {
            Some("nothing was changed. Make the file system writable: a node keeps its log there")
        }
        ErrorKind::StorageFull => Some("make room: a node needs some for its log"),
        _ => None,
    }
}

/// Who the node in `dir` is; none if nobody is there.
pub(crate) fn identity(dir: &Path) -> Result<Option<Identity>, Failure> {
    let Some(text) = durable::read(&dir.join("node.toml")).map_err(spoilt)? else { return Ok(None) };
    Identity::from_toml(&text).map(Some).map_err(|e| {
        // One line of it: what follows shows the place, as if somebody were to mend it.
        let why = e.to_string();
        Failure::new(format!("{}: {}", dir.display(), why.lines().next().unwrap_or_default())).hint(match e {
            IdentityError::Version(_) => {
                "nothing was changed; start it with the cairnd that wrote it, or a newer one"
            }
            _ => "nothing was changed; restore node.toml as it was, or begin anew in an empty folder",
        })
    })
}

/// Whether the node in `dir` was removed from its cluster, and has heard of it.
pub(crate) fn is_removed(dir: &Path) -> Result<bool, Failure> {
    let Some(identity) = identity(dir)? else { return Ok(false) };
    FileDisk::unchecked(dir).was_removed(identity.incarnation).map_err(spoilt)
}

/// A folder without an identity that has a log nevertheless has lost it.
pub(crate) fn check_unused(dir: &Path) -> Result<(), Failure> {
    if has_log(dir) {
        let message = format!("{} has a node's data, but its node.toml is gone", dir.display());
        return Err(Failure::new(message).exit(CONFLICT).hint("restore node.toml, or use an empty folder"));
    }
    Ok(())
}

fn has_log(dir: &Path) -> bool {
    fs::read_dir(dir.join("log")).is_ok_and(|mut entries| entries.next().is_some())
}

/// A join that began: the life of the folder, which must be the same when the join is repeated.
pub(crate) struct Joining(PathBuf);

impl Joining {
    pub(crate) fn of(dir: &Path) -> Self {
        Self(dir.join("joining"))
    }

    pub(crate) fn read(&self) -> Result<Option<Incarnation>, Failure> {
        let path = self.0.display();
        let Some(text) = durable::read(&self.0).map_err(spoilt)? else { return Ok(None) };
        let damaged = |_| Failure::new(format!("{path} is damaged")).hint("begin anew in an empty folder");
        text.trim().parse().map(Some).map_err(damaged)
    }

    pub(crate) fn write(&self, incarnation: Incarnation) -> Result<(), Failure> {
        Ok(durable::write(&self.0, &format!("{incarnation}\n"))?)
    }

    pub(crate) fn remove(&self) -> Result<(), Failure> {
        Ok(durable::remove(&self.0)?)
    }
}

/// A new id, ordered by wall time.
pub(crate) fn new_id() -> Uuid {
    let (rng, millis) = (SystemRng::default(), SystemClock::default().wall().0);
    let mut random = [0; 10];
    let drawn = rng.next().to_le_bytes().into_iter().chain(rng.next().to_le_bytes());
    random.iter_mut().zip(drawn).for_each(|(to, from)| *to = from);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}
