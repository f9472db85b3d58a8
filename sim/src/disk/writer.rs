//! The one writer of a new copy.

use std::io::{self, ErrorKind};

use cairn_store::disk::SegmentWriter;

use super::MemDisk;
use crate::files::File;

pub(super) struct MemWriter {
    disk: MemDisk,
    path: String,
    file: File,
    size: u64,
    written: u64,
}

impl MemWriter {
    pub(super) fn new(disk: MemDisk, path: String, file: File, size: u64) -> Self {
        Self { disk, path, file, size, written: 0 }
    }
}

impl SegmentWriter for MemWriter {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let end = self.written.saturating_add(bytes.len() as u64);
        if end > self.size {
            return Err(io::Error::new(ErrorKind::InvalidInput, "more bytes than were announced"));
        }
        self.file.append(bytes);
        self.written = end;
        Ok(())
    }

    fn sync(self: Box<Self>) -> io::Result<()> {
        if self.written != self.size {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "fewer bytes than were announced"));
        }
        self.file.sync();
        self.disk.note("sync", &self.path);
        Ok(())
    }
}
