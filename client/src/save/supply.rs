//! Bytes that are a file only in the spool: they are read once.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use cairn_store::segment::{Kind, SIZE_MAX};

use crate::fault::{Fault, FileFault};
use crate::source::{BUFFER_BYTES, Report};
use crate::tree;

/// What is written into the spool by this client.
pub(super) enum Supply {
    /// All that comes, to its end.
    Stream(Box<dyn Read + Send>),
    /// A folder, as a tar stream.
    Tree(PathBuf),
}

impl Supply {
    /// What the bytes are.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Stream(_) => Kind::File,
            Self::Tree(_) => Kind::Tree,
        }
    }

    /// Writes all of it to `file`, a new one at `path`.
    pub(super) fn write_to(self, file: &File, path: &Path, report: &mut Report<'_>) -> Result<(), Fault> {
        match self {
            Self::Stream(stream) => drain(stream, file, path, report),
            Self::Tree(root) => tree::pack(&root, file, path, report),
        }
    }
}

fn drain(mut stream: impl Read, mut file: &File, path: &Path, report: &mut Report<'_>) -> Result<(), Fault> {
    let failed = |error: &io::Error| FileFault::new("read", Path::new("the input"), error);
    let (mut buffer, mut done) = (vec![0; BUFFER_BYTES], 0_u64);
    loop {
        let length = match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(&error).into()),
        };
        file.write_all(buffer.get(..length).unwrap_or_default())
            .map_err(|error| FileFault::new("write to", path, &error))?;
        done = done.saturating_add(length as u64);
        if done > SIZE_MAX {
            let message = format!("the input has more than {SIZE_MAX} bytes, the most of a segment");
            return Err(Fault::invalid(message, "save it in parts, under several names"));
        }
        report(done).map_err(|error| failed(&error))?;
    }
}
