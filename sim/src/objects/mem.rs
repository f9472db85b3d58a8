//! The store, as one node has it: each call on its way, and what comes of it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cairn_node::env::{Listed, ObjectError, Objects, Upload};
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use tokio::time::sleep;

use super::shelf::Write;
use super::upload::MemUpload;
use super::{Fault, PAGE, Store, failed};
use crate::rng::SplitMix;

/// The longest that a call is on its way, in milliseconds.
const WAY_MS_MAX: u64 = 6;
/// How often a call that is not answered looks whether it is.
const GLANCE: Duration = Duration::from_millis(20);

/// Uploads that were broken off, by their keys and sizes, with what of them is there. A node that starts anew knows nothing of
/// them.
pub(super) type Broken = Arc<Mutex<BTreeMap<(String, u64), Vec<u8>>>>;

/// The store, as one node has it.
#[derive(Clone)]
pub struct MemObjects {
    machine: Arc<str>,
    pub(super) store: Store,
    pub(super) broken: Broken,
}

impl MemObjects {
    pub(super) fn new(machine: &str, store: Store) -> Self {
        Self { machine: machine.into(), store, broken: Arc::default() }
    }

    /// A call arrives, or does not. Tells what is wrong with its further way, if something is.
    pub(super) async fn arrive(&self, what: &str, key: &str) -> Result<Option<Fault>, ObjectError> {
        sleep(Duration::from_millis(self.rng().below(WAY_MS_MAX + 1))).await;
        let met = self.store.lock().faults.meet(&self.machine);
        tracing::trace!(target: "cairn_sim::objects", what, key, ?met, "a call");
        match met {
            Some(Fault::Down) => Err(failed("the store is not reached")),
            Some(Fault::Flaky(_)) => Err(failed("the store has too much to do (503)")),
            Some(Fault::Denied) => Err(ObjectError::Denied("nobody is let in (403)".to_owned())),
            Some(Fault::Slow(span)) => {
                sleep(span).await;
                Ok(None)
            }
            met => Ok(met),
        }
    }

    /// A question arrives. False if it is as if nothing lay there.
    async fn ask(&self, what: &str, key: &str) -> Result<bool, ObjectError> {
        match self.arrive(what, key).await? {
            Some(Fault::Silent) => {
                self.until_heard().await;
                Ok(true)
            }
            Some(Fault::Gone) => Ok(false),
            _ => Ok(true),
        }
    }

    /// A change arrives; tells what came of it.
    pub(super) async fn write(&self, write: Write) -> Result<bool, ObjectError> {
        let put = matches!(write, Write::Put(..));
        match self.arrive(write.what(), write.key()).await? {
            Some(Fault::Gone) => return Err(failed("the bucket is gone")),
            Some(Fault::Silent) => {
                // It may have got there before the silence.
                let done = if self.rng().below(2) == 0 { Some(self.store.carry_out(write.clone())) } else { None };
                self.until_heard().await;
                return Ok(done.unwrap_or_else(|| self.store.carry_out(write)));
            }
            Some(Fault::Lost) if self.rng().below(2) == 0 => {
                self.store.carry_out_unheard(write);
                return Err(failed("the connection ended before the answer came"));
            }
            Some(Fault::Broken) if put && self.rng().below(2) == 0 => return Err(failed("the upload broke off")),
            Some(Fault::Garbled) if self.rng().below(2) == 0 => return self.garble(write),
            _ => {}
        }
        Ok(self.store.carry_out(write))
    }

    fn garble(&self, write: Write) -> Result<bool, ObjectError> {
        match write.altered(self.rng()) {
            Some(_) if self.store.compares() => Err(failed("the checksum of what arrived is another one")),
            Some(altered) => Ok(self.store.carry_out(altered)),
            None => Ok(self.store.carry_out(write)),
        }
    }

    /// Waits until calls are answered again.
    pub(super) async fn until_heard(&self) {
        while self.is_silent() {
            sleep(GLANCE).await;
        }
    }

    fn is_silent(&self) -> bool {
        self.store.lock().faults.of(&self.machine) == Some(Fault::Silent)
    }

    pub(super) fn rng(&self) -> &SplitMix {
        &self.store.0.rng
    }
}

#[async_trait]
impl Objects for MemObjects {
    fn address(&self) -> String {
        "memory://tier".to_owned()
    }

    fn compares(&self) -> bool {
        self.store.compares()
    }

    async fn create(&self, key: &str, bytes: Bytes) -> Result<bool, ObjectError> {
        self.write(Write::Create(key.to_owned(), bytes)).await
    }

    async fn upload(&self, key: &str, size: u64) -> Result<Box<dyn Upload>, ObjectError> {
        match self.arrive("upload", key).await? {
            Some(Fault::Silent) => self.until_heard().await,
            Some(Fault::Gone) => return Err(failed("the bucket is gone")),
            _ => {}
        }
        Ok(Box::new(MemUpload::begin(self.clone(), key, size)))
    }

    async fn size(&self, key: &str) -> Result<u64, ObjectError> {
        let there = self.ask("size", key).await?;
        let bytes = self.store.bytes(key).filter(|_| there).ok_or(ObjectError::Missing)?;
        Ok(bytes.len() as u64)
    }

    async fn read(&self, key: &str, range: Range<u64>) -> Result<Bytes, ObjectError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let there = self.ask("read", key).await?;
        let bytes = self.store.bytes(key).filter(|_| there).ok_or(ObjectError::Missing)?;
        let place = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        let (start, end) = (place(range.start), place(range.end));
        let whole = start <= end && end <= bytes.len();
        whole.then(|| bytes.slice(start..end)).ok_or_else(|| failed("the object ended early"))
    }

    fn list(&self, folder: &str) -> BoxStream<'static, Result<Listed, ObjectError>> {
        let (objects, prefix) = (self.clone(), format!("{folder}/"));
        let pages = stream::try_unfold(Some(String::new()), move |after| {
            let (objects, prefix) = (objects.clone(), prefix.clone());
            async move {
                let Some(after) = after else { return Ok::<_, ObjectError>(None) };
                let there = objects.ask("list", &prefix).await?;
                let mut page = if there { objects.store.page(&prefix, &after) } else { Vec::new() };
                let more = page.len() == PAGE;
                let next = page.last().filter(|_| more).map(|last| last.key.clone());
                if objects.rng().below(2) == 0 {
                    page.reverse();
                }
                Ok(Some((stream::iter(page.into_iter().map(Ok::<_, ObjectError>)), next)))
            }
        });
        pages.try_flatten().boxed()
    }

    async fn folders(&self) -> Result<Vec<String>, ObjectError> {
        let there = self.ask("folders", "").await?;
        let mut folders: Vec<String> = Vec::new();
        for key in self.store.keys().into_iter().filter(|_| there) {
            if let Some((folder, _)) = key.split_once('/')
                && folders.last().is_none_or(|last| last != folder)
            {
                folders.push(folder.to_owned());
            }
        }
        Ok(folders)
    }

    async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        self.write(Write::Delete(key.to_owned())).await.map(drop)
    }
}
