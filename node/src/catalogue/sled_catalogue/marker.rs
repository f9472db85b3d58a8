//! How the last use of the catalogue ended: a record in a file beside sled's.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cairn_store::crash_point;
use cairn_store::record::{self, Kind};
use serde::{Deserialize, Serialize};

use super::sync_dir;

const KIND: Kind = Kind { tag: *b"CMRK", version: 1 };
const NAME: &str = "marker";

/// The body of the record.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    /// Closed, with so many entries; else in use, or its user is gone without a word.
    closed: Option<u64>,
    /// Under which boot of the kernel.
    boot_id: String,
}

/// What the last use left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// It closed the catalogue with so many entries.
    Closed(u64),
    /// It ended without closing, under this boot.
    Open,
    /// Nothing that can be trusted.
    Nothing,
}

/// The marker of one catalogue, for one boot.
#[derive(Clone, Debug)]
pub(super) struct Marker {
    dir: PathBuf,
    boot_id: String,
}

impl Marker {
    pub(super) fn new(dir: &Path, boot_id: &str) -> Self {
        Self { dir: dir.into(), boot_id: boot_id.into() }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether there is a marker, readable or not.
    pub(super) fn exists(&self) -> bool {
        self.dir.join(NAME).exists()
    }

    /// What the last use left. A marker that cannot be read proves nothing.
    pub(super) fn read(&self) -> Left {
        let Ok(bytes) = fs::read(self.dir.join(NAME)) else { return Left::Nothing };
        match record::decode::<Mark>(KIND, &bytes) {
            Ok((Mark { closed: Some(count), .. }, [])) => Left::Closed(count),
            Ok((Mark { closed: None, boot_id }, [])) if boot_id == self.boot_id => Left::Open,
            _ => Left::Nothing,
        }
    }

    /// Durable on return; `closed` with so many entries, or in use.
    pub(super) fn write(&self, closed: Option<u64>) -> io::Result<()> {
        let mark = Mark { closed, boot_id: self.boot_id.clone() };
        let bytes = record::encode(KIND, &mark).map_err(io::Error::other)?;
        crash_point!("sled.mark");
        let beside = self.dir.join("marker.new");
        let mut file = File::create(&beside)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&beside, self.dir.join(NAME))?;
        crash_point!("sled.marked");
        sync_dir(&self.dir)
    }
}
