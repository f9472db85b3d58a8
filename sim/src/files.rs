//! A file system in memory that forgets, when the power goes, what was not fsynced.
//!
//! A file's bytes are durable after its own fsync, a name after the fsync of its folder; an fsync of one promises
//! nothing about the other. What was changed and not fsynced survives a crash in part: of names, the earliest
//! changes; of bytes, any of the sectors that were written.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::rng::SplitMix;

/// The unit in which a write is torn, in bytes.
const SECTOR_BYTES: usize = 512;

/// A file, whatever its names. Stays as long as somebody has it open.
#[derive(Clone, Debug, Default)]
pub struct File(Arc<Mutex<Contents>>);

/// What is in a file.
#[derive(Debug, Default)]
pub struct Contents {
    /// As everybody reads it.
    pub bytes: Vec<u8>,
    /// How often it was changed.
    pub changes: u64,
    durable: Vec<u8>,
}

impl File {
    /// Its contents.
    pub fn lock(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds bytes at the end.
    pub fn append(&self, bytes: &[u8]) {
        let mut contents = self.lock();
        contents.bytes.extend_from_slice(bytes);
        contents.changes += 1;
    }

    /// Makes the bytes durable.
    pub fn sync(&self) {
        let mut contents = self.lock();
        contents.durable = contents.bytes.clone();
    }

    fn crash(&self, rng: &SplitMix) {
        let mut contents = self.lock();
        let Contents { bytes, durable, .. } = &mut *contents;
        if bytes == durable {
            return;
        }
        *durable = match rng.below(3) {
            0 => std::mem::take(durable),
            1 => std::mem::take(bytes),
            _ => torn(durable, bytes, rng),
        };
        contents.bytes = contents.durable.clone();
    }
}

/// Each sector is the old or the new one; the file ends where it did, where it was to end, or at a sector between.
fn torn(old: &[u8], new: &[u8], rng: &SplitMix) -> Vec<u8> {
    let (short, long) = (old.len().min(new.len()), old.len().max(new.len()));
    let length = (short + rng.index(1 + (long - short) / SECTOR_BYTES) * SECTOR_BYTES).min(long);
    let mut bytes = vec![0; length];
    for (number, sector) in bytes.chunks_mut(SECTOR_BYTES).enumerate() {
        let from = if rng.below(2) == 0 { old } else { new };
        for (to, from) in sector.iter_mut().zip(from.iter().skip(number * SECTOR_BYTES)) {
            *to = *from;
        }
    }
    bytes
}

/// A change of names that no fsync covers yet.
#[derive(Clone, Debug)]
enum Change {
    Link { path: String, file: File },
    Unlink { path: String },
    Rename { from: String, to: String, file: File },
}

impl Change {
    fn paths(&self) -> Vec<&String> {
        match self {
            Self::Link { path, .. } | Self::Unlink { path } => vec![path],
            Self::Rename { from, to, .. } => vec![from, to],
        }
    }

    fn apply(self, names: &mut BTreeMap<String, File>) {
        match self {
            Self::Link { path, file } => drop(names.insert(path, file)),
            Self::Unlink { path } => drop(names.remove(&path)),
            Self::Rename { from, to, file } => {
                names.remove(&from);
                names.insert(to, file);
            }
        }
    }
}

/// The files of one machine. A path is `FOLDER/…/NAME`; folders need no making.
#[derive(Debug, Default)]
pub struct Files {
    names: BTreeMap<String, File>,
    durable: BTreeMap<String, File>,
    pending: Vec<Change>,
}

impl Files {
    /// Opens a file; `NotFound` if there is none.
    pub fn open(&self, path: &str) -> io::Result<File> {
        self.names.get(path).cloned().ok_or_else(|| at(ErrorKind::NotFound, path))
    }

    /// Whether there is a file.
    pub fn exists(&self, path: &str) -> bool {
        self.names.contains_key(path)
    }

    /// Makes an empty file; `AlreadyExists` if there is one.
    pub fn create(&mut self, path: &str) -> io::Result<File> {
        let file = File::default();
        self.link(path, &file)?;
        Ok(file)
    }

    /// Gives a file one more name; `AlreadyExists` if the name is taken.
    pub fn link(&mut self, path: &str, file: &File) -> io::Result<()> {
        if self.exists(path) {
            return Err(at(ErrorKind::AlreadyExists, path));
        }
        self.change(Change::Link { path: path.to_owned(), file: file.clone() });
        Ok(())
    }

    /// Takes a name away; tells whether there was one.
    pub fn remove(&mut self, path: &str) -> bool {
        let there = self.exists(path);
        if there {
            self.change(Change::Unlink { path: path.to_owned() });
        }
        there
    }

    /// Gives a file another name, in place of what had it.
    pub fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let file = self.open(from)?;
        self.change(Change::Rename { from: from.to_owned(), to: to.to_owned(), file });
        Ok(())
    }

    /// Makes the names in a folder durable.
    pub fn sync_folder(&mut self, folder: &str) {
        // A change is durable only with the earlier ones of the same names.
        let mut covered: BTreeSet<String> = BTreeSet::new();
        let mut ready = Vec::new();
        for change in std::mem::take(&mut self.pending).into_iter().rev() {
            let paths = change.paths();
            if paths.iter().any(|path| folder_of(path) == folder || covered.contains(*path)) {
                covered.extend(paths.into_iter().cloned());
                ready.push(change);
            } else {
                self.pending.push(change);
            }
        }
        self.pending.reverse();
        for change in ready.into_iter().rev() {
            change.apply(&mut self.durable);
        }
    }

    /// The paths that begin with this.
    pub fn under(&self, prefix: &str) -> Vec<String> {
        self.names.keys().filter(|path| path.starts_with(prefix)).cloned().collect()
    }

    /// The bytes of all files.
    pub fn used(&self) -> u64 {
        self.names.values().map(|file| file.lock().bytes.len() as u64).sum()
    }

    /// The power goes and comes again.
    pub fn crash(&mut self, rng: &SplitMix) {
        let kept = rng.index(self.pending.len() + 1);
        for change in std::mem::take(&mut self.pending).into_iter().take(kept) {
            change.apply(&mut self.durable);
        }
        self.durable.values().for_each(|file| file.crash(rng));
        self.names = self.durable.clone();
    }

    fn change(&mut self, change: Change) {
        change.clone().apply(&mut self.names);
        self.pending.push(change);
    }
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn at(kind: ErrorKind, path: &str) -> io::Error {
    io::Error::new(kind, format!("{path}: {kind}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rename_into_place(files: &mut Files, bytes: &[u8]) -> File {
        let draft = files.create("a/draft").unwrap();
        draft.append(bytes);
        draft.sync();
        files.rename("a/draft", "a/file").unwrap();
        draft
    }

    #[test]
    fn what_was_fsynced_survives() {
        for seed in 0..64 {
            let mut files = Files::default();
            rename_into_place(&mut files, b"old");
            files.sync_folder("a");
            rename_into_place(&mut files, b"new");
            files.crash(&SplitMix::new(seed));
            let found = files.open("a/file").unwrap().lock().bytes.clone();
            assert!(found == b"old" || found == b"new", "{found:?}");
        }
    }

    #[test]
    fn what_was_not_may_be_lost_or_torn() {
        let outcomes: BTreeSet<Option<usize>> = (0..256)
            .map(|seed| {
                let mut files = Files::default();
                let file = files.create("a/file").unwrap();
                file.append(&[1; 4 * SECTOR_BYTES]);
                files.crash(&SplitMix::new(seed));
                files.open("a/file").ok().map(|file| file.lock().bytes.iter().filter(|b| **b == 1).count())
            })
            .collect();
        assert!(outcomes.contains(&None), "the name");
        assert!(outcomes.contains(&Some(0)), "the bytes");
        assert!(outcomes.contains(&Some(4 * SECTOR_BYTES)), "nothing");
        assert!(outcomes.iter().any(|n| n.is_some_and(|n| n % (4 * SECTOR_BYTES) != 0)), "some sectors");
    }

    #[test]
    fn a_rename_to_a_synced_folder_leaves_no_ghost() {
        let mut files = Files::default();
        files.create("a/file").unwrap();
        files.rename("a/file", "b/file").unwrap();
        files.sync_folder("b");
        for seed in 0..16 {
            files.crash(&SplitMix::new(seed));
            assert_eq!(files.under(""), ["b/file"]);
        }
    }
}
