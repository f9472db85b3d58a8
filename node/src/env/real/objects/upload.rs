//! Objects on their way into a store: in one request, in parts, or as a file beside.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};
use tokio::task::JoinSet;

use super::{failed, not_written};
use crate::env::{ObjectError, PART_BYTES, Upload};

/// Parts of one object on their way at once.
const PARTS_AT_ONCE: usize = 4;
/// Parts of one object, all in all: S3 takes 10,000.
const PARTS_MAX: u64 = 10_000;
/// Uploads that were broken off and are remembered, to go on with.
const BROKEN_MAX: usize = 64;

/// Uploads that were broken off, the oldest first.
pub(super) type Broken = VecDeque<(Path, Begun)>;

/// An upload on the store's side.
#[derive(Clone, Debug)]
pub(super) struct Begun {
    id: String,
    size: u64,
    done: BTreeMap<usize, PartId>,
}

/// Begins an upload, or goes on with one that was broken off.
pub(super) async fn begin(
    store: &Arc<dyn ObjectStore>,
    parts: Option<&Arc<dyn MultipartStore>>,
    broken: &Arc<Mutex<Broken>>,
    path: Path,
    size: u64,
) -> Result<Box<dyn Upload>, ObjectError> {
    let part = part_bytes(size);
    let at = At { store: store.clone(), path: path.clone(), size, part, offset: 0 };
    let Some(parts) = parts else {
        let upload = store.put_multipart(&path).await.map_err(not_written)?;
        return Ok(Box::new(Whole { at, upload }));
    };
    if size <= PART_BYTES as u64 {
        return Ok(Box::new(Single { at, bytes: Bytes::new() }));
    }
    let known = take(&mut lock(broken), &path, size);
    let begun = match known {
        Some(begun) => begun,
        None => {
            let id = parts.create_multipart(&path).await.map_err(not_written)?;
            Begun { id, size, done: BTreeMap::new() }
        }
    };
    // Those that arrived in a row; what came after a gap is sent again.
    let whole = (0..).take_while(|nth| begun.done.contains_key(nth)).count();
    let offset = u64::try_from(whole).unwrap_or(0).saturating_mul(part as u64).min(size);
    let done = begun.done.into_iter().filter(|(nth, _)| *nth < whole).collect();
    Ok(Box::new(Parts {
        at: At { offset, ..at },
        parts: parts.clone(),
        begun: Arc::new(Mutex::new(Begun { id: begun.id, size, done })),
        sending: JoinSet::new(),
        next: whole,
        broken: Some(broken.clone()),
    }))
}

/// Larger ones in larger parts: there may be only so many.
pub(super) fn part_bytes(size: u64) -> usize {
    let least = size.div_ceil(PARTS_MAX).next_multiple_of(1 << 20);
    usize::try_from(least).unwrap_or(usize::MAX).max(PART_BYTES)
}

fn lock(broken: &Mutex<Broken>) -> MutexGuard<'_, Broken> {
    broken.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take(broken: &mut Broken, path: &Path, size: u64) -> Option<Begun> {
    let found = broken.iter().position(|(known, begun)| known == path && begun.size == size)?;
    broken.remove(found).map(|(_, begun)| begun)
}

/// Where an upload goes.
struct At {
    store: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
    part: usize,
    offset: u64,
}

impl At {
    /// What the store has in the end.
    async fn confirm(&self) -> Result<(), ObjectError> {
        let found = self.store.head(&self.path).await.map_err(failed)?.size;
        if found == self.size {
            Ok(())
        } else {
            Err(ObjectError::Failed(format!("the store has {found} bytes, and {} were sent", self.size)))
        }
    }
}

/// One request.
struct Single {
    at: At,
    bytes: Bytes,
}

#[async_trait]
impl Upload for Single {
    fn offset(&self) -> u64 {
        self.at.offset
    }

    fn part_bytes(&self) -> usize {
        self.at.part
    }

    async fn part(&mut self, bytes: Bytes) -> Result<(), ObjectError> {
        self.at.offset += bytes.len() as u64;
        self.bytes = bytes;
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<(), ObjectError> {
        let payload = PutPayload::from_bytes(self.bytes.clone());
        self.at.store.put(&self.at.path, payload).await.map_err(not_written)?;
        self.at.confirm().await
    }
}

/// A file beside, which takes its name at the end.
struct Whole {
    at: At,
    upload: Box<dyn MultipartUpload>,
}

#[async_trait]
impl Upload for Whole {
    fn offset(&self) -> u64 {
        self.at.offset
    }

    fn part_bytes(&self) -> usize {
        self.at.part
    }

    async fn part(&mut self, bytes: Bytes) -> Result<(), ObjectError> {
        self.at.offset += bytes.len() as u64;
        self.upload.put_part(PutPayload::from_bytes(bytes)).await.map_err(not_written)
    }

    async fn finish(mut self: Box<Self>) -> Result<(), ObjectError> {
        self.upload.complete().await.map_err(not_written)?;
        self.at.confirm().await
    }
}

/// Several requests, some at once.
struct Parts {
    at: At,
    parts: Arc<dyn MultipartStore>,
    begun: Arc<Mutex<Begun>>,
    sending: JoinSet<Result<(), object_store::Error>>,
    next: usize,
    /// Where it goes if it is broken off; none once it is an object.
    broken: Option<Arc<Mutex<Broken>>>,
}

impl Parts {
    fn begun(&self) -> Begun {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until at most so many are on their way.
    async fn wait_for(&mut self, most: usize) -> Result<(), ObjectError> {
        while self.sending.len() > most {
            match self.sending.join_next().await {
                Some(Ok(Ok(()))) | None => {}
                Some(Ok(Err(error))) => {
                    // An upload that the store has forgotten is begun anew.
                    if matches!(error, object_store::Error::NotFound { .. }) {
                        self.broken = None;
                    }
                    return Err(not_written(error));
                }
                Some(Err(error)) => return Err(ObjectError::Failed(error.to_string())),
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Upload for Parts {
    fn offset(&self) -> u64 {
        self.at.offset
    }

    fn part_bytes(&self) -> usize {
        self.at.part
    }

    async fn part(&mut self, bytes: Bytes) -> Result<(), ObjectError> {
        self.wait_for(PARTS_AT_ONCE - 1).await?;
        let (parts, path, begun, nth) = (self.parts.clone(), self.at.path.clone(), self.begun.clone(), self.next);
        self.next += 1;
        self.at.offset += bytes.len() as u64;
        let id = self.begun().id;
        self.sending.spawn(async move {
            let sent = parts.put_part(&path, &id, nth, PutPayload::from_bytes(bytes)).await?;
            begun.lock().unwrap_or_else(PoisonError::into_inner).done.insert(nth, sent);
            Ok(())
        });
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), ObjectError> {
        self.wait_for(0).await?;
        let Begun { id, done, .. } = self.begun();
        let completed = self.parts.complete_multipart(&self.at.path, &id, done.into_values().collect()).await;
        // Whether it is one now or the store forgot of it: there is nothing to go on with.
        self.broken = None;
        match completed {
            Ok(_) => self.at.confirm().await,
            // The answer to an earlier try may have been lost on its way.
            Err(error) => self.at.confirm().await.map_err(|_| not_written(error)),
        }
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        let Some(broken) = self.broken.take() else { return };
        let (begun, path) = (self.begun(), self.at.path.clone());
        let mut broken = lock(&broken);
        broken.push_back((path, begun));
        if broken.len() > BROKEN_MAX
            && let Some((path, begun)) = broken.pop_front()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            // The store forgets it, or keeps it until its own rule ends it.
            let parts = self.parts.clone();
            runtime.spawn(async move { drop(parts.abort_multipart(&path, &begun.id).await) });
        }
    }
}
