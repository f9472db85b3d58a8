//! A file, whatever its names.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::rng::SplitMix;

/// The unit in which a write is torn, in bytes.
pub(super) const SECTOR_BYTES: usize = 512;

/// A file. Stays as long as somebody has it open. Files only grow: nothing here writes to one twice.
#[derive(Clone, Debug, Default)]
pub struct File(Arc<Mutex<Contents>>);

/// What is in a file.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// As everybody reads it.
    bytes: Vec<u8>,
    /// So many of them are durable.
    durable: usize,
    /// Space that was taken in advance, in bytes.
    reserved: usize,
    /// How many names it has.
    links: usize,
}

/// What a crash made of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is as it was.
    Whole,
    /// All that was not fsynced is gone.
    Lost,
    /// Some of it is.
    Torn,
}

impl File {
    /// An empty file with this much space of its own.
    pub(super) fn reserving(bytes: usize) -> Self {
        Self(Arc::new(Mutex::new(Contents { reserved: bytes, ..Contents::default() })))
    }

    /// The size, in bytes.
    pub fn len(&self) -> u64 {
        self.lock().bytes.len() as u64
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shows the bytes, without copying them.
    pub fn with<T>(&self, look: impl FnOnce(&[u8]) -> T) -> T {
        look(&self.lock().bytes)
    }

    /// Whether a crash would leave all of it.
    pub fn is_durable(&self) -> bool {
        let contents = self.lock();
        contents.durable == contents.bytes.len()
    }

    /// Makes the bytes durable.
    pub fn sync(&self) {
        let mut contents = self.lock();
        contents.durable = contents.bytes.len();
    }

    /// Flips every bit of one byte where it lies: no fsync is needed for rot.
    pub fn flip(&self, offset: usize) -> io::Result<()> {
        let mut contents = self.lock();
        let byte = contents.bytes.get_mut(offset).ok_or(ErrorKind::UnexpectedEof)?;
        *byte = !*byte;
        Ok(())
    }

    /// The space that it takes while it has a name, in bytes.
    pub(super) fn space(&self) -> u64 {
        let contents = self.lock();
        contents.bytes.len().max(contents.reserved) as u64
    }

    /// How much more space it takes with so many more bytes.
    pub(super) fn growth(&self, bytes: usize) -> u64 {
        let contents = self.lock();
        let had = contents.bytes.len().max(contents.reserved);
        (contents.bytes.len() + bytes).saturating_sub(had) as u64
    }

    /// Adds bytes at the end.
    pub(super) fn append(&self, bytes: &[u8]) {
        let mut contents = self.lock();
        if contents.bytes.is_empty() {
            let announced = contents.reserved;
            contents.bytes.reserve_exact(announced.max(bytes.len()));
        }
        contents.bytes.extend_from_slice(bytes);
    }

    /// One name more; tells whether it is the first.
    pub(super) fn named(&self) -> bool {
        let mut contents = self.lock();
        contents.links += 1;
        contents.links == 1
    }

    /// One name fewer; tells whether it was the last.
    pub(super) fn unnamed(&self) -> bool {
        let mut contents = self.lock();
        contents.links = contents.links.saturating_sub(1);
        contents.links == 0
    }

    pub(super) fn is_named(&self) -> bool {
        self.lock().links > 0
    }

    /// The power goes: what was not fsynced survives as a whole, not at all, or some sectors of it.
    pub(super) fn crash(&self, rng: &SplitMix) -> Fate {
        let mut contents = self.lock();
        contents.reserved = 0;
        let (durable, length) = (contents.durable, contents.bytes.len());
        if durable == length {
            return Fate::Whole;
        }
        let fate = match rng.below(3) {
            0 => {
                contents.bytes.truncate(durable);
                Fate::Lost
            }
            1 => Fate::Whole,
            _ => contents.tear(rng),
        };
        contents.durable = contents.bytes.len();
        fate
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents {
    /// The file ends where it did, where it was to end, or at a sector between; sectors before that came or did not.
    fn tear(&mut self, rng: &SplitMix) -> Fate {
        let (durable, whole) = (self.durable, self.bytes.len());
        let length = (durable + rng.index(1 + (whole - durable) / SECTOR_BYTES) * SECTOR_BYTES).min(whole);
        self.bytes.truncate(length);
        let mut torn = length < whole;
        let mut from = durable;
        while from < length {
            let to = (from / SECTOR_BYTES + 1).saturating_mul(SECTOR_BYTES).min(length);
            if rng.below(2) == 0 {
                self.bytes.get_mut(from..to).unwrap_or_default().fill(0);
                torn = true;
            }
            from = to;
        }
        if length == durable {
            return Fate::Lost;
        }
        if torn { Fate::Torn } else { Fate::Whole }
    }
}
