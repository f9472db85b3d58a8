//! An object on its way: nothing of it can be seen before its end.

use std::sync::{MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use cairn_node::env::{ObjectError, Upload};
use cairn_store::digest::BLOCK_BYTES;

use super::shelf::Write;
use super::{Fault, MemObjects, failed};

/// How much is sent at once: less than a real store takes, so that small objects have several parts.
const PART: usize = BLOCK_BYTES;

/// An object on its way.
pub(super) struct MemUpload {
    objects: MemObjects,
    key: String,
    size: u64,
    /// What has arrived of it.
    bytes: Vec<u8>,
    /// Whether a later one may go on with it.
    open: bool,
}

impl MemUpload {
    /// Begins it, or goes on with one that was broken off.
    pub(super) fn begin(objects: MemObjects, key: &str, size: u64) -> Self {
        let bytes = lock(&objects).remove(&(key.to_owned(), size)).unwrap_or_default();
        Self { objects, key: key.to_owned(), size, bytes, open: true }
    }

    /// How many bytes the next part must have.
    fn due(&self) -> usize {
        usize::try_from(self.size.saturating_sub(self.offset())).unwrap_or(usize::MAX).min(PART)
    }
}

type Held<'a> = MutexGuard<'a, std::collections::BTreeMap<(String, u64), Vec<u8>>>;

fn lock(objects: &MemObjects) -> Held<'_> {
    objects.broken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Upload for MemUpload {
    fn offset(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn part_bytes(&self) -> usize {
        PART
    }

    async fn part(&mut self, bytes: Bytes) -> Result<(), ObjectError> {
        if bytes.len() != self.due() {
            return Err(failed("a part has another length than it must have"));
        }
        match self.objects.arrive("part", &self.key).await? {
            Some(Fault::Silent) => self.objects.until_heard().await,
            Some(Fault::Gone) => return Err(failed("the bucket is gone")),
            Some(Fault::Broken) if self.objects.rng().below(2) == 0 => return Err(failed("the upload broke off")),
            _ => {}
        }
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), ObjectError> {
        if self.offset() != self.size {
            return Err(failed("the object is not whole"));
        }
        // Whatever comes of it: there is nothing to go on with.
        self.open = false;
        let bytes = Bytes::from(std::mem::take(&mut self.bytes));
        self.objects.write(Write::Put(self.key.clone(), bytes)).await.map(drop)
    }
}

impl Drop for MemUpload {
    fn drop(&mut self) {
        if self.open && self.objects.store.0.resumes {
            let (key, bytes) = (std::mem::take(&mut self.key), std::mem::take(&mut self.bytes));
            lock(&self.objects).insert((key, self.size), bytes);
        }
    }
}
