//! An output that only hashes.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use cairn_store::digest::Digest;

/// Hashes what it is given.
#[derive(Clone, Default)]
pub(crate) struct Sink(Arc<Mutex<blake3::Hasher>>);

impl Sink {
    /// Of all that it was given.
    pub(crate) fn digest(&self) -> Digest {
        Digest(*self.0.lock().unwrap_or_else(PoisonError::into_inner).finalize().as_bytes())
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
