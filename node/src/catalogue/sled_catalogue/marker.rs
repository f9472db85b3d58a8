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

#[cfg(test)]
mod tests {
    use super::*;

    /// Closed, and in use. `UPDATE_FIXTURE=1` writes them again: only for what a release has never written.
    #[test]
    fn the_marker_has_the_bytes_of_its_version() {
        let dir = tempfile::tempdir().unwrap();
        let marker = Marker::new(dir.path(), "0198c0de-0000-7000-8000-000000000001");
        for (closed, left, fixture) in
            [(Some(300), Left::Closed(300), "marker-closed-v1.bin"), (None, Left::Open, "marker-open-v1.bin")]
        {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(fixture);
            marker.write(closed).unwrap();
            let written = fs::read(dir.path().join(NAME)).unwrap();
            if std::env::var_os("UPDATE_FIXTURE").is_some() {
                fs::write(&path, &written).unwrap();
            }
            let kept = fs::read(&path).unwrap();
            assert!(kept == written, "bytes on disk changed: that needs a new version");
            fs::write(dir.path().join(NAME), kept).unwrap();
            assert_eq!(marker.read(), left);
        }
    }
}
