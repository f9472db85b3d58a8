//! What stays of a former cluster in a node's folder that goes on in another one: its copies where they are, the rest aside.
//!
//! ```text
//! <dir>/former/<cluster>/     node.toml, log, snapshots, … as they were
//!                metadata     the backup that `cairnd recover` made of them
//! ```

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use cairn_client::backup::read_backup;
use cairn_node::identity::Identity;
use cairn_store::meta::Backup;

use crate::failure::Failure;
use crate::folder::{Folder, has_log, identity};

/// The backup of a node that an earlier attempt laid aside, before it could found the new cluster.
pub(crate) fn left_behind(dir: &Path) -> Option<PathBuf> {
    let places = fs::read_dir(dir.join("former")).ok()?.flatten();
    let mut backups: Vec<PathBuf> =
        places.map(|place| place.path().join("metadata")).filter(|path| path.exists()).collect();
    backups.sort_by_key(|path| fs::metadata(path).and_then(|about| about.modified()).ok());
    backups.pop()
}

/// What goes aside, in this order. The identity is the last: until it is gone, the same command goes on where it ended.
const PARTS: [&str; 6] = ["log", "snapshots", "catalogue", "quarantine", "log-begun", "node.toml"];

/// A folder of a former cluster's node, kept from others.
pub(crate) struct Former {
    dir: PathBuf,
    /// Who the node was.
    pub(crate) identity: Identity,
    /// Held until all is done.
    folder: Folder,
}

impl Former {
    /// The node that a folder holds, which must not run; none if nobody is there.
    pub(crate) fn of(dir: &Path) -> Result<Option<Self>, Failure> {
        let Some(identity) = identity(dir)? else { return Ok(None) };
        Ok(Some(Self { dir: dir.to_path_buf(), identity, folder: Folder::stopped(dir)? }))
    }

    /// The folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where it goes.
    pub(crate) fn place(&self) -> PathBuf {
        self.dir.join("former").join(self.identity.cluster.to_string())
    }

    /// The backup of what it knew.
    pub(crate) fn backup(&self) -> PathBuf {
        self.place().join("metadata")
    }

    /// What an earlier attempt wrote down before it set the log aside; none if the log is still in its place.
    pub(crate) fn earlier_backup(&self) -> Result<Option<Backup>, Failure> {
        if has_log(&self.dir) || !self.backup().exists() {
            return Ok(None);
        }
        Ok(Some(read_backup(&self.backup())?))
    }

    /// Writes down what it knew, durably.
    pub(crate) fn write_backup(&self, backup: &Backup) -> Result<(), Failure> {
        let (path, draft) = (self.backup(), self.place().join("metadata.tmp"));
        let written = || {
            self.make_place()?;
            let mut file = File::create(&draft)?;
            for record in backup.records() {
                file.write_all(&record.map_err(io::Error::other)?)?;
            }
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            File::open(self.place())?.sync_all()
        };
        written().map_err(Failure::io(path.display()))
    }

    /// Moves everything but the copies and the spool aside, durably. What was moved before stays where it is.
    pub(crate) fn set_aside(&self) -> Result<PathBuf, Failure> {
        let place = self.place();
        let moved = || {
            self.make_place()?;
            for part in PARTS {
                match fs::rename(self.dir.join(part), place.join(part)) {
                    Err(e) if e.kind() == ErrorKind::NotFound => {}
                    done => done?,
                }
                File::open(&place)?.sync_all()?;
                File::open(self.folder.disk.dir())?.sync_all()?;
            }
            Ok(())
        };
        moved().map_err(Failure::io(format!("cannot set {} aside", self.dir.display())))?;
        Ok(place)
    }

    fn make_place(&self) -> io::Result<()> {
        fs::create_dir_all(self.place())?;
        File::open(self.dir.join("former"))?.sync_all()?;
        File::open(&self.dir)?.sync_all()
    }
}
