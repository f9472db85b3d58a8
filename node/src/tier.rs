//! The global tier, as this node has it.
//!
//! - [`mark`]: which tier lies there;
//! - [`deposit`]: a copy that lies here, put there;
//! - [`archive`]: a version that the cluster knows, put there, with what the tier says of it;
//! - [`salvage`]: what a former cluster left there, for a new one.
//!
//! Bytes first, then their table, then the manifest, and only then the cluster is told. Nothing of it is ever waited for by whom
//! did not ask.

pub mod archive;
pub mod deposit;
pub mod mark;
pub mod salvage;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cairn_client::api::{Code, Error};
use cairn_store::archive::ObjectReceipt;
use cairn_store::id::{CopyId, NodeId, SegmentId, TierId};
use cairn_store::meta::{Rejection, State};
use cairn_store::node::Role;
use cairn_store::segment::Version;
use cairn_store::time::LogTime;
use tokio::sync::{Notify, Semaphore, watch};

use crate::core::Core;
use crate::env::{Env, ObjectError, Objects};
use crate::storage::RENEW_BEFORE;

/// Each transfer has some parts of [`crate::env::PART_BYTES`] in memory: so many that somebody waits for, in and out.
const AT_ONCE_MAX: usize = 4;
/// How long a node that has only just started is given to find its tier.
const FIRST_LOOK: Duration = Duration::from_secs(5);
/// The most attempts that are remembered.
const ATTEMPTS_MAX: usize = 1024;
/// A version that could not be put there is not tried again for so long.
const FAILED_FOR: Duration = Duration::from_secs(30);
/// The most of those that are remembered.
const FAILED_MAX: usize = 4096;
/// How long one request to the store may take, its own tries included.
const CALL_MAX: Duration = Duration::from_secs(90);

/// Why something did not get into the tier, or out of it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TierError {
    /// This node has none, or does not reach it.
    #[error("{0}")]
    Unreached(String),
    /// The store did not do it.
    #[error("{0}")]
    Store(#[from] ObjectError),
    /// It did not answer.
    #[error("it did not answer in time")]
    Silent,
    /// The copy here is damaged, or gone.
    #[error("the copy on this node is not good: {0}")]
    Copy(String),
    /// What is there is not what was put there.
    #[error("it has other bytes than were put there")]
    Differs,
    /// The store is not there any more, or is another one.
    #[error("the store that was there is gone, or another one is in its place")]
    Changed,
    /// This node has none.
    #[error("this node has no global tier")]
    Absent,
    /// The cluster does not take it.
    #[error("the cluster does not count it: {0}")]
    Rejected(Rejection),
    /// The cluster could not be asked.
    #[error("{}", .0.message)]
    Cluster(Error),
}

/// What was found where the tier should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nobody has looked.
    Nothing,
    /// This tier.
    Tier(TierId),
    /// Why it is none.
    Failure(String),
}

/// The tier of one node.
pub struct Tier {
    objects: Option<Arc<dyn Objects>>,
    found: watch::Sender<Found>,
    inner: Mutex<Inner>,
    /// Versions that are put there at once, in the background.
    pub turns: Arc<Semaphore>,
    /// Copies that are put there at once because somebody waits for it.
    pub waited: Semaphore,
    /// Versions that are brought from there at once.
    pub recalls: Semaphore,
    /// One that was put there in the background has ended.
    pub ended: Notify,
    /// Something has failed there: it is to be looked at.
    pub doubted: Notify,
}

#[derive(Default)]
struct Inner {
    attempts: BTreeMap<CopyId, Attempt>,
    busy: BTreeSet<(SegmentId, Version)>,
    failed: BTreeMap<(SegmentId, Version), Duration>,
    last_failure: Option<String>,
    /// Whether the last thing that was put there failed.
    unwritten: bool,
}

/// One attempt to put a copy there.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    object: CopyId,
    tier: TierId,
    begun: LogTime,
    /// Until when it may be referred to, from before it could be seen: whoever puts it there again has no more time (R1).
    until: Option<LogTime>,
    /// Once it is there.
    receipt: Option<ObjectReceipt>,
}

impl Tier {
    /// Nothing was looked at yet.
    pub fn new(objects: Option<Arc<dyn Objects>>, transfers: usize) -> Self {
        let (found, inner) = (watch::channel(Found::Nothing).0, Mutex::default());
        Self {
            waited: Semaphore::new(AT_ONCE_MAX),
            recalls: Semaphore::new(AT_ONCE_MAX),
            objects,
            found,
            inner,
            turns: Arc::new(Semaphore::new(transfers)),
            ended: Notify::new(),
            doubted: Notify::new(),
        }
    }

    /// Where it is said to lie; none if this node has none.
    pub fn objects(&self) -> Option<Arc<dyn Objects>> {
        self.objects.clone()
    }

    /// What was found there last.
    pub fn found(&self) -> Found {
        self.found.borrow().clone()
    }

    /// Waits until it was looked for, if this node has one.
    pub async fn looked_for(&self, env: &Env) {
        let mut found = self.found.subscribe();
        if self.objects.is_some() {
            // Then it is not found.
            let _ = env.timeout(FIRST_LOOK, found.wait_for(|found| *found != Found::Nothing)).await;
        }
    }

    /// Notes what was found there.
    pub fn set(&self, found: Found) {
        if matches!(found, Found::Tier(_)) {
            // What failed without it is tried at once.
            self.lock().failed.clear();
            self.ended.notify_one();
        }
        self.found.send_replace(found);
    }

    /// The tier that this node reaches.
    ///
    /// # Errors
    /// It reaches none.
    pub fn reached(&self) -> Result<(Arc<dyn Objects>, TierId), TierError> {
        let Some(objects) = self.objects() else {
            return Err(TierError::Absent);
        };
        match self.found() {
            Found::Tier(tier) => Ok((objects, tier)),
            Found::Nothing => Err(TierError::Unreached("this node has not found its global tier yet".into())),
            Found::Failure(why) => {
                Err(TierError::Unreached(format!("this node does not reach its global tier: {why}")))
            }
        }
    }

    /// Why the last thing failed that did; none if nothing has since.
    pub fn last_failure(&self) -> Option<String> {
        match self.found() {
            Found::Failure(why) => Some(why),
            Found::Nothing | Found::Tier(_) => self.lock().last_failure.clone(),
        }
    }

    /// What is being put there, or failed a while ago.
    pub fn busy(&self, now: Duration) -> BTreeSet<(SegmentId, Version)> {
        let mut inner = self.lock();
        inner.failed.retain(|_, until| *until > now);
        inner.busy.iter().chain(inner.failed.keys()).copied().collect()
    }

    /// Begins a version; none if it was begun.
    pub fn begin(self: &Arc<Self>, segment: SegmentId, version: Version) -> Option<Begun> {
        let new = self.lock().busy.insert((segment, version));
        new.then(|| Begun { tier: self.clone(), key: (segment, version) })
    }

    /// Notes how it ended.
    pub fn note(&self, segment: SegmentId, version: Version, ended: Result<(), &TierError>, now: Duration) {
        let mut inner = self.lock();
        inner.unwritten = ended.is_err();
        inner.last_failure = ended.err().map(ToString::to_string);
        if ended.is_err() {
            self.doubted.notify_one();
        }
        if ended.is_err() && inner.failed.len() < FAILED_MAX {
            inner.failed.insert((segment, version), now + FAILED_FOR);
        }
    }

    /// Notes what failed while somebody waited for it.
    pub fn note_failure(&self, error: &TierError) {
        let mut inner = self.lock();
        inner.unwritten = true;
        inner.last_failure = Some(error.to_string());
        drop(inner);
        self.doubted.notify_one();
    }

    /// Whether something failed there that wrote, and nothing has been written since.
    pub fn is_unwritten(&self) -> bool {
        self.lock().unwritten
    }

    /// It can be written to.
    pub fn wrote(&self) {
        self.lock().unwritten = false;
    }

    /// The attempt at a copy that goes on, or a new one: an object that lies there for long may be taken for a stray.
    fn attempt(&self, core: &Core, copy: CopyId, tier: TierId) -> Attempt {
        let time = core.now().state.time;
        let mut inner = self.lock();
        // Nobody sees it before it is whole.
        let lasts = |attempt: &Attempt| attempt.until.is_none_or(|until| until > time.after(RENEW_BEFORE));
        inner.attempts.retain(|_, attempt| lasts(attempt));
        if let Some(attempt) = inner.attempts.get(&copy).filter(|attempt| attempt.tier == tier) {
            return *attempt;
        }
        if inner.attempts.len() >= ATTEMPTS_MAX
            && let Some(oldest) = inner.attempts.iter().min_by_key(|(_, attempt)| attempt.begun).map(|(id, _)| *id)
        {
            inner.attempts.remove(&oldest);
        }
        let attempt = Attempt { object: core.env.copy_id(), tier, begun: time, until: None, receipt: None };
        inner.attempts.insert(copy, attempt);
        attempt
    }

    /// An object is about to be seen: until when it may be referred to.
    fn appears(&self, copy: CopyId, until: LogTime) -> LogTime {
        match self.lock().attempts.get_mut(&copy) {
            Some(attempt) => *attempt.until.get_or_insert(until),
            None => until,
        }
    }

    fn arrived(&self, copy: CopyId, receipt: ObjectReceipt) {
        if let Some(attempt) = self.lock().attempts.get_mut(&copy) {
            attempt.receipt = Some(receipt);
        }
    }

    /// What was put there is spent: the next time it is another object.
    fn spent(&self, object: CopyId) {
        self.lock().attempts.retain(|_, attempt| attempt.object != object);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A version that is being put there; it ends when this is dropped.
pub struct Begun {
    tier: Arc<Tier>,
    key: (SegmentId, Version),
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.tier.lock().busy.remove(&self.key);
    }
}

/// Whether the store is there, and is this tier.
pub(crate) async fn is_there(core: &Core, objects: &dyn Objects, tier: TierId) -> bool {
    mark::find(core, objects).await.is_ok_and(|found| found == tier)
}

/// Whether an object is missing while the store is there: asked so that a store which comes and goes is not taken for it.
pub(crate) async fn is_missing(core: &Core, objects: &dyn Objects, tier: TierId, key: &str) -> bool {
    // The mark before and after: in between it was there.
    is_there(core, objects, tier).await
        && matches!(call(core, objects.size(key)).await, Err(TierError::Store(ObjectError::Missing)))
        && is_there(core, objects, tier).await
}

/// A request to the store, within a bound.
pub(crate) async fn call<T>(
    core: &Core,
    asked: impl Future<Output = Result<T, ObjectError>>,
) -> Result<T, TierError> {
    core.env.timeout(CALL_MAX, asked).await.ok_or(TierError::Silent)?.map_err(TierError::Store)
}

impl Core {
    /// Whether a member reaches the tier that the cluster uses.
    pub(crate) fn reaches_tier(&self, state: &State, node: NodeId) -> bool {
        let reached = match node == self.me() {
            true => self.tier.reached().ok().map(|(_, tier)| tier),
            false => state.tiers.get(&node).and_then(|reach| reach.tier()),
        };
        reached.is_some() && (reached == state.tier() || state.tier().is_none())
    }

    /// Whether it falls to this node to tidy the tier and to put backups there: one of those that reach it, of those that only
    /// store the first. Two at once do no harm.
    pub(crate) fn is_keeper(&self) -> bool {
        let state = self.now().state;
        let tier = state.tier();
        if tier.is_none() || self.tier.reached().ok().map(|(_, tier)| tier) != tier {
            return false;
        }
        let reaches = |id| state.tiers.get(&id).is_some_and(|reach| reach.tier() == tier);
        let able = state.members.values().filter(|member| member.up && reaches(member.id));
        let first = able.min_by_key(|member| (member.profile.role == Role::Executor, member.id));
        first.is_some_and(|member| member.id == self.me())
    }
}

impl TierError {
    /// For whoever waited for the tier: nothing was committed.
    pub fn not_reached(&self, name: &cairn_store::name::Name) -> Error {
        let message =
            format!("durability not reached: {name} did not get into the global tier: {self}; nothing was committed");
        let hint = "see `cairn global status`; or save without --ack global";
        Error::new(Code::Durability, message).hint(hint)
    }
}
