//! A file system in memory that forgets, when the power goes, what was not fsynced.
//!
//! A file's bytes are durable after its own fsync, a name after the fsync of its folder; an fsync of one promises
//! nothing about the other. What was changed and not fsynced survives a crash in part: of names, the earliest
//! changes; of bytes, any of the sectors that were written.
//!
//! - `inode`: a file, whatever its names.

mod inode;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, ErrorKind};
use std::ops::Bound;

use inode::Fate;
pub use inode::File;

use crate::rng::SplitMix;

/// So many changes of names wait for an fsync at most: a real file system commits its journal by itself in time.
const PENDING_MAX: usize = 512;

/// What a crash took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Changes of names, and files' bytes, that are gone.
    pub lost: u32,
    /// Files of which some bytes are gone.
    pub torn: u32,
}

/// A change of names that no fsync covers yet.
#[derive(Clone, Debug)]
enum Change {
    Link { path: String, file: File },
    Unlink { path: String },
    Rename { from: String, to: String, file: File },
}

impl Change {
    /// The one or two names that it changes.
    fn paths(&self) -> (&str, Option<&str>) {
        match self {
            Self::Link { path, .. } | Self::Unlink { path } => (path, None),
            Self::Rename { from, to, .. } => (from, Some(to)),
        }
    }

    fn touches(&self, is: impl Fn(&str) -> bool) -> bool {
        let (one, other) = self.paths();
        is(one) || other.is_some_and(is)
    }

    /// What `path` stands for afterwards; none if this leaves it as it was.
    fn outcome(&self, path: &str) -> Option<Option<&File>> {
        match self {
            Self::Link { path: to, file } | Self::Rename { to, file, .. } if to == path => Some(Some(file)),
            Self::Unlink { path: from } | Self::Rename { from, .. } if from == path => Some(None),
            _ => None,
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
    capacity: u64,
    used: u64,
    /// Whether something did not fit since the last crash.
    ran_full: bool,
    names: BTreeMap<String, File>,
    durable: BTreeMap<String, File>,
    pending: VecDeque<Change>,
}

impl Files {
    /// No files yet, and room for so many bytes.
    pub fn new(capacity: u64) -> Self {
        Self { capacity, ..Self::default() }
    }

    /// How many bytes fit.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Changes how many bytes fit. What lies here stays, even if it is more.
    pub fn set_capacity(&mut self, bytes: u64) {
        self.capacity = bytes;
    }

    /// How many more bytes fit.
    pub fn free(&self) -> u64 {
        self.capacity.saturating_sub(self.used)
    }

    /// Whether something did not fit since the last crash.
    pub fn ran_full(&self) -> bool {
        self.ran_full
    }

    /// Opens a file; `NotFound` if there is none.
    pub fn open(&self, path: &str) -> io::Result<File> {
        self.names.get(path).cloned().ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// Whether there is a file.
    pub fn exists(&self, path: &str) -> bool {
        self.names.contains_key(path)
    }

    /// Makes an empty file and takes the space that it will need; `AlreadyExists` if there is one, `StorageFull` if it
    /// will not fit.
    pub fn create(&mut self, path: &str, bytes: u64) -> io::Result<File> {
        if self.exists(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let file = File::reserving(usize::try_from(self.fitting(bytes)?).map_err(|_| ErrorKind::StorageFull)?);
        self.link(path, &file)?;
        Ok(file)
    }

    /// Adds bytes at the end of a file; `StorageFull` if they do not fit.
    pub fn append(&mut self, file: &File, bytes: &[u8]) -> io::Result<()> {
        self.fitting(file.growth(bytes.len()))?;
        self.force(file, bytes);
        Ok(())
    }

    /// Adds bytes at the end of a file, whether they fit or not.
    pub fn force(&mut self, file: &File, bytes: &[u8]) {
        if file.is_named() {
            self.used += file.growth(bytes.len());
        }
        file.append(bytes);
    }

    /// Gives a file one more name; `AlreadyExists` if the name is taken.
    pub fn link(&mut self, path: &str, file: &File) -> io::Result<()> {
        if self.exists(path) {
            return Err(ErrorKind::AlreadyExists.into());
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
        let mut covered: BTreeSet<&str> = BTreeSet::new();
        let mut ready = vec![false; self.pending.len()];
        for (change, ready) in self.pending.iter().zip(&mut ready).rev() {
            *ready = change.touches(|path| folder_of(path) == folder || covered.contains(path));
            if *ready {
                let (one, other) = change.paths();
                covered.insert(one);
                covered.extend(other);
            }
        }
        for (change, ready) in std::mem::take(&mut self.pending).into_iter().zip(ready) {
            match ready {
                true => change.apply(&mut self.durable),
                false => self.pending.push_back(change),
            }
        }
    }

    /// The names in a folder.
    pub fn list(&self, folder: &str) -> Vec<String> {
        let prefix = format!("{folder}/");
        let below = self.under(&prefix).filter_map(|path| path.get(prefix.len()..));
        below.filter(|name| !name.contains('/')).map(str::to_owned).collect()
    }

    /// The paths that begin with this.
    pub fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        let from =
            self.names.range::<str, _>((Bound::Included(prefix), Bound::Unbounded)).map(|(path, _)| path.as_str());
        from.take_while(move |path| path.starts_with(prefix))
    }

    /// Every file that a crash at this moment may leave under a name; none of them if it may leave no file, or bytes
    /// that are not durable.
    pub fn after_crash(&self, path: &str) -> Vec<File> {
        let mut now = self.durable.get(path);
        let mut found: Vec<Option<&File>> = vec![now];
        for change in &self.pending {
            if let Some(changed) = change.outcome(path) {
                now = changed;
                found.push(now);
            }
        }
        let certain = |file: &Option<&File>| file.is_some_and(File::is_durable);
        if found.iter().all(certain) { found.into_iter().flatten().cloned().collect() } else { Vec::new() }
    }

    /// The power goes and comes again.
    pub fn crash(&mut self, rng: &SplitMix) -> Loss {
        self.ran_full = false;
        let mut loss = Loss::default();
        // A journal that was just written has all of them, one that was not has none.
        let kept = match rng.below(3) {
            0 => 0,
            1 => self.pending.len(),
            _ => rng.index(self.pending.len() + 1),
        };
        for (number, change) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            match number < kept {
                true => change.apply(&mut self.durable),
                false => loss.lost += 1,
            }
        }
        for file in self.durable.values() {
            match file.crash(rng) {
                Fate::Whole => {}
                Fate::Lost => loss.lost += 1,
                Fate::Torn => loss.torn += 1,
            }
        }
        while let Some((_, file)) = self.names.pop_first() {
            file.unnamed();
        }
        self.names = self.durable.clone();
        self.used = self.names.values().filter(|file| file.named()).map(File::space).sum();
        loss
    }

    /// Everything goes, as if the disk was replaced by a new one.
    pub fn wipe(&mut self) {
        *self = Self::new(self.capacity);
    }

    fn fitting(&mut self, bytes: u64) -> io::Result<u64> {
        if bytes <= self.free() {
            return Ok(bytes);
        }
        self.ran_full = true;
        Err(ErrorKind::StorageFull.into())
    }

    fn change(&mut self, change: Change) {
        match &change {
            Change::Link { path, file } => self.put(path, file),
            Change::Unlink { path } => self.take(path),
            Change::Rename { from, to, file } => {
                self.take(to);
                self.put(to, file);
                self.take(from);
            }
        }
        self.pending.push_back(change);
        if self.pending.len() > PENDING_MAX
            && let Some(oldest) = self.pending.pop_front()
        {
            oldest.apply(&mut self.durable);
        }
    }

    fn put(&mut self, path: &str, file: &File) {
        if file.named() {
            self.used += file.space();
        }
        self.names.insert(path.to_owned(), file.clone());
    }

    fn take(&mut self, path: &str) {
        if let Some(file) = self.names.remove(path)
            && file.unnamed()
        {
            self.used = self.used.saturating_sub(file.space());
        }
    }
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}
