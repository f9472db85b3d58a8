//! A file that was opened once.

use std::io::{self, ErrorKind};

use cairn_store::disk::ReadAt;

use crate::files::File;

/// The name may go; the bytes stay as long as this is held.
pub(super) struct OpenFile {
    file: File,
    seen: (u64, u64),
}

impl OpenFile {
    pub(super) fn new(file: File) -> Self {
        let seen = stamp(&file);
        Self { file, seen }
    }
}

/// The size, and how often it was changed.
fn stamp(file: &File) -> (u64, u64) {
    let contents = file.lock();
    (contents.bytes.len() as u64, contents.changes)
}

impl ReadAt for OpenFile {
    fn size(&self) -> u64 {
        self.seen.0
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let contents = self.file.lock();
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = contents.bytes.get(from..from.saturating_add(buffer.len())).ok_or(ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn unchanged(&self) -> io::Result<bool> {
        Ok(stamp(&self.file) == self.seen)
    }

    fn file(&self) -> Option<&std::fs::File> {
        None
    }
}
