//! What stays of a former cluster in a node's folder that goes on in another one: its copies where they are, the rest aside.
//!
//! ```text
//! <dir>/former/<cluster>/     node.toml, log, snapshots, … as they were
//!                metadata     the backup that was made of them
//! ```

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use cairn_client::backup::read_backup;
use cairn_node::env::Clock;
use cairn_node::env::real::SystemClock;
use cairn_node::fsck::{Finding, newest_state};
use cairn_node::identity::Identity;
use cairn_store::disk::{Disk, FORMER, Found};
use cairn_store::id::ClusterId;
use cairn_store::meta::{Backup, State};

use crate::failure::{CORRUPT, Failure};
use crate::folder::{Folder, identity};
use crate::output;

/// The backup of a node that an earlier attempt laid aside, before it could found the new cluster.
pub(crate) fn left_behind(dir: &Path) -> Option<PathBuf> {
    let places = fs::read_dir(dir.join(FORMER)).ok()?.flatten();
    let mut backups: Vec<PathBuf> =
        places.map(|place| place.path().join("metadata")).filter(|path| path.exists()).collect();
    backups.sort_by_key(|path| fs::metadata(path).and_then(|about| about.modified()).ok());
    backups.pop()
}

/// The clusters whose nodes were laid aside in a folder.
pub(crate) fn clusters(dir: &Path) -> Vec<ClusterId> {
    let places = fs::read_dir(dir.join(FORMER)).into_iter().flatten().flatten();
    places.filter_map(|place| place.file_name().to_str()?.parse().ok()).collect()
}

/// What goes aside, in this order. The identity is the last: until it is gone, the same command goes on where it ended.
const PARTS: [&str; 8] =
    ["log", "snapshots", "catalogue", "quarantine", "log-begun", "joining", "removed", "node.toml"];
/// How often a part may have been made anew, by a start in between.
const AGAIN_MAX: u32 = 16;

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

    /// Whether it found a cluster and never ran: there is nothing in it that could be laid aside.
    pub(crate) fn is_new(&self) -> Result<bool, Failure> {
        let begun = self.place().join("log").exists() || self.folder.disk.log_was_begun(self.identity.incarnation)?;
        Ok(self.identity.founder && !begun)
    }

    /// Copies that lie here, and of which this state knows no version.
    pub(crate) fn unknown_copies(&self, state: &State) -> Result<u64, Failure> {
        let mut unknown = 0;
        self.folder.disk.survey(&mut |found| {
            if let Found::Copy(toc) = found {
                let known = state.segments.get(&toc.segment).is_some_and(|segment| toc.version <= segment.head);
                unknown += u64::from(!known && !state.gone.contains_key(&toc.segment));
            }
            Ok(())
        })?;
        Ok(unknown)
    }

    /// Where it goes.
    pub(crate) fn place(&self) -> PathBuf {
        self.dir.join(FORMER).join(self.identity.cluster.to_string())
    }

    /// The backup of what it knew.
    pub(crate) fn backup(&self) -> PathBuf {
        self.place().join("metadata")
    }

    /// What the node knows, and the term of the last entry that it has. If an earlier attempt laid the log aside, what that wrote
    /// down, and no term.
    pub(crate) fn knowledge(&self) -> Result<(Backup, Option<u64>), Failure> {
        if self.place().join("log").exists() && self.backup().exists() {
            return Ok((read_backup(&self.backup())?, None));
        }
        let mut bad: Option<Finding> = None;
        let newest = newest_state(&self.dir, &mut |finding| {
            if finding.bad && bad.is_none() {
                bad = Some(finding);
            }
        })?;
        if let Some(Finding { path, problem, .. }) = bad {
            return Err(Failure::new(format!("{path}: {problem}"))
                .exit(CORRUPT)
                .hint("recover on another node; nothing was changed. `cairnd fsck` tells all that is wrong here"));
        }
        let known = newest.filter(|(state, _)| state.cluster.is_some()).ok_or_else(|| {
            Failure::new(format!("{} knows of no segments: its node never ran", self.dir.display()))
                .hint("recover on another node; nothing was changed")
        });
        let (state, term) = known?;
        Ok((Backup { taken: SystemClock::default().wall(), state }, Some(term)))
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
                let from = self.dir.join(part);
                if !from.exists() {
                    continue;
                }
                // What a start has made anew since an earlier attempt does not take the place of what was there.
                let names = std::iter::once(part.to_owned()).chain((1..AGAIN_MAX).map(|n| format!("{part}.{n}")));
                let free = names.map(|name| place.join(name)).find(|to| !to.exists());
                fs::rename(from, free.ok_or(ErrorKind::AlreadyExists)?)?;
                File::open(&place)?.sync_all()?;
                File::open(self.folder.disk.dir())?.sync_all()?;
            }
            Ok(())
        };
        moved().map_err(Failure::io(format!("cannot set {} aside", self.dir.display())))?;
        Ok(place)
    }

    /// The same, and says where.
    pub(crate) fn set_aside_and_say(&self) -> Result<(), Failure> {
        let (place, cluster) = (self.set_aside()?, self.identity.cluster);
        output::line(&format!("what {cluster} knew lies in {}; its copies stay", place.display()));
        Ok(())
    }

    fn make_place(&self) -> io::Result<()> {
        fs::create_dir_all(self.place())?;
        File::open(self.dir.join(FORMER))?.sync_all()?;
        File::open(&self.dir)?.sync_all()
    }
}
