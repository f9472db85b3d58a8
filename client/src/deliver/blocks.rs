//! Blocks on their way to an output, between whoever reads them and whoever writes.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::PoisonError;

use cairn_store::segment::Kind;
use tokio::sync::mpsc;

use super::Output;
use crate::fault::{Fault, FileFault};
use crate::part::{Part, PartFolder};
use crate::tree;

/// Writes the blocks that come, and publishes what they make after the empty one that ends them.
pub(super) fn write(output: Output, kind: Kind, mut blocks: mpsc::Receiver<Vec<u8>>) -> Result<(), Fault> {
    let mut drain = |sink: &mut dyn Write, path: &Path| -> Result<bool, FileFault> {
        while let Some(block) = blocks.blocking_recv() {
            if block.is_empty() {
                return Ok(true);
            }
            sink.write_all(&block).map_err(|error| FileFault::new("write to", path, &error))?;
        }
        Ok(false)
    };
    match output {
        Output::File { path, force, .. } if kind == Kind::Tree => {
            let part = PartFolder::create(&path)?;
            let mut incoming = Incoming { blocks, block: Vec::new(), at: 0, whole: false };
            let folder = part.open()?;
            tree::unpack(&mut incoming, &folder, &path)?;
            // A whole stream may have more zeros at its end than were read.
            io::copy(&mut incoming, &mut io::sink()).map_err(|error| FileFault::new("read", &path, &error))?;
            part.publish(&folder, force)?;
        }
        Output::File { path, force, .. } => {
            let part = Part::create(&path)?;
            if drain(&mut part.file()?, part.path())? {
                part.sync()?;
                part.publish(force)?;
            }
        }
        Output::Stream(stream) => {
            let (path, mut stream) = (Path::new("the output"), stream.lock().unwrap_or_else(PoisonError::into_inner));
            drain(&mut *stream, path)?;
            stream.flush().map_err(|error| FileFault::new("write to", path, &error))?;
        }
    }
    Ok(())
}

/// Bytes on their way to whoever unpacks them. If that has ended, it says why; here all is verified to the end.
pub(super) struct Blocks<'a>(pub(super) &'a mpsc::Sender<Vec<u8>>);

impl Write for Blocks<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // An empty one would be the end.
        if !bytes.is_empty() {
            let _ = self.0.blocking_send(bytes.to_vec());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The blocks that come, as a stream. Without the empty one that ends them it is cut off.
struct Incoming {
    blocks: mpsc::Receiver<Vec<u8>>,
    block: Vec<u8>,
    at: usize,
    whole: bool,
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.block.len() && !self.whole {
            self.block = self.blocks.blocking_recv().ok_or(io::ErrorKind::UnexpectedEof)?;
            (self.at, self.whole) = (0, self.block.is_empty());
        }
        let length = self.block.get(self.at..).unwrap_or_default().read(buffer)?;
        self.at += length;
        Ok(length)
    }
}
