//! Takes over the copies that a node brought along from a former cluster, into one that began with what that knew (R12).
//!
//! Each is read through first, then its `.toc` is written anew, as one of this cluster and with a new word, and only then the
//! cluster is told: as of any new copy. Whatever is not a copy of a version that the cluster knows stays where it is.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_client::api::{Adopted, LEFTOVERS_MAX, Leftover};
use cairn_store::crash_point;
use cairn_store::disk::Toc;
use cairn_store::id::{ClusterId, CopyId};
use cairn_store::meta::{Command, Phase, Rejection};
use cairn_store::plan::adopt::{Fate, Found, Lineage, fate};
use cairn_store::segment::Standing;

use crate::catalogue::Held;
use crate::core::Core;
use crate::storage::{passes_by, unreadable};
use crate::work::verify::{Verdict, verify};

/// How many copies of the catalogue are looked at in one step.
const PAGE: usize = 256;

/// The copies of former clusters on this node.
#[derive(Debug, Default)]
pub struct Heritage(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<CopyId>,
    /// Those of them that an earlier start wrote anew, and did not live to tell of.
    unfinished: BTreeSet<CopyId>,
    /// Whether there are such was looked for.
    looked: bool,
    told: Adopted,
}

impl Heritage {
    /// What lay here at the start.
    pub fn new(foreign: Vec<CopyId>) -> Self {
        Self(Mutex::new(Inner { waiting: foreign.into(), ..Inner::default() }))
    }

    /// What became of them.
    pub fn tell(&self) -> Adopted {
        let inner = self.lock();
        Adopted { waiting: u64::try_from(inner.waiting.len()).unwrap_or(u64::MAX), ..inner.told.clone() }
    }

    /// Whether copies may lie here that are this cluster's own by their `.toc`, and were never told: they look like strays.
    pub fn is_unfinished(&self) -> bool {
        let inner = self.lock();
        !inner.looked || !inner.unfinished.is_empty()
    }

    /// Its `.toc` is about to be written anew: until the cluster was told, it looks like a stray.
    fn begin(&self, copy: CopyId) {
        self.lock().unfinished.insert(copy);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Told while it is still counted as waiting, so that nothing seems to be lost meanwhile.
    fn next(&self) -> Option<CopyId> {
        self.lock().waiting.front().copied()
    }

    fn settle(&self, done: Done) {
        let mut inner = self.lock();
        let copy = inner.waiting.pop_front();
        match done {
            Done::Later => {
                inner.waiting.extend(copy);
                return;
            }
            Done::Adopted => inner.told.adopted += 1,
            Done::Spare => inner.told.spare += 1,
            Done::Gone => {}
            Done::Left(leftover) => {
                let Leftover { path, why, .. } = &leftover;
                tracing::warn!(path = %path.display(), %why, "a copy of a former cluster was not taken over");
                inner.told.left += 1;
                if inner.told.leftovers.len() < LEFTOVERS_MAX {
                    inner.told.leftovers.push(leftover);
                }
            }
        }
        copy.map(|copy| inner.unfinished.remove(&copy));
    }
}

/// What became of a copy.
enum Done {
    /// It could not be looked at, or the cluster could not be told.
    Later,
    Adopted,
    Spare,
    Gone,
    Left(Leftover),
}

/// Runs until the node ends.
pub async fn adopt(core: Arc<Core>) {
    while !core.stop.is_set() {
        // Also when the recovery is over: a node may come late, and may be the last one with a copy.
        if core.now().state.phase().is_some_and(|phase| phase != Phase::Loading) {
            if !core.heritage.lock().looked
                && let Err(e) = queue_unfinished(&core).await
            {
                tracing::warn!(error = %e, "what was begun to be taken over cannot be looked for now");
            }
            for _ in 0..core.heritage.waiting() {
                let Some(copy) = core.heritage.next() else { break };
                let done = take_over(&core, copy).await;
                core.heritage.settle(done);
                if core.stop.is_set() {
                    return;
                }
            }
        }
        core.env.clock.sleep(core.limits.work).await;
    }
}

/// Copies of this cluster that nothing refers to, and that are of a version which has none here.
async fn queue_unfinished(core: &Core) -> io::Result<()> {
    let (mut after, mut unfinished): (Option<Held>, BTreeSet<CopyId>) = (None, BTreeSet::new());
    loop {
        let catalogue = core.env.catalogue.clone();
        let page = core.env.blocking(move || catalogue.page(after.as_ref(), PAGE)).await??;
        let Some(last) = page.last() else { break };
        after = Some(*last);
        let state = core.now().state;
        let fits = |held: &&Held| {
            state.standing(held.segment, held.version, held.copy) == Standing::Open
                && fate_of(core, core.identity.cluster, held) == Fate::Adopt
        };
        unfinished.extend(page.iter().filter(fits).map(|held| held.copy));
    }
    let mut inner = core.heritage.lock();
    inner.waiting.extend(&unfinished);
    inner.unfinished = unfinished;
    inner.looked = true;
    Ok(())
}

/// What a copy that was made in `cluster` is to this one now.
fn fate_of(core: &Core, cluster: ClusterId, held: &Held) -> Fate {
    let state = core.now().state;
    // Only a cluster that began with a backup has ancestors, and looks.
    let Some(origin) = &state.origin else { return Fate::Stranger };
    let record = state.segments.get(&held.segment).and_then(|segment| segment.versions.get(&held.version));
    let Held { copy, size, digest, .. } = *held;
    let lineage = Lineage { cluster: core.identity.cluster, ancestors: &origin.ancestors };
    fate(&Found { cluster, copy, size, digest }, core.me(), lineage, record.map(Arc::as_ref))
}

async fn take_over(core: &Core, copy: CopyId) -> Done {
    let disk = core.env.disk.clone();
    let path = core.env.disk.path(copy);
    let toc = match core.env.blocking(move || disk.read_toc(copy)).await.and_then(|read| read) {
        Ok(toc) => toc,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Done::Gone,
        Err(e) if e.kind() == io::ErrorKind::InvalidData || unreadable(&e) => {
            let why = format!("its table cannot be read: {e}");
            return Done::Left(Leftover { path, name: None, version: None, size: None, why });
        }
        Err(e) => {
            tracing::warn!(%copy, error = %e, "a copy of a former cluster cannot be looked at now");
            return Done::Later;
        }
    };
    let left = |why: &str| {
        let (name, version, size) = (Some(toc.name.clone()), Some(toc.version), Some(toc.table.size()));
        Done::Left(Leftover { path: path.clone(), name, version, size, why: why.into() })
    };
    match fate_of(core, toc.cluster, &Held::from(&toc)) {
        // The answer of an earlier try may have been lost on its way.
        Fate::Known => return Done::Adopted,
        Fate::Spare => return Done::Spare,
        Fate::Unmatched => {
            return left("the cluster knows no such version with these bytes (which were not looked at)");
        }
        Fate::Stranger => return left("it is of another cluster (its bytes were not looked at)"),
        Fate::Adopt => {}
    }
    match verify(core, copy, Arc::default()).await {
        Verdict::Good => {}
        Verdict::Unknown => return Done::Later,
        Verdict::Missing => return Done::Gone,
        Verdict::Corrupt => return left("its bytes are damaged"),
    }
    core.heritage.begin(copy);
    crash_point!("adopt.verified");
    match make_ours(core, &toc).await {
        Ok(done) => done,
        Err(rejection) => left(&format!("the cluster does not take it: {rejection}")),
    }
}

/// Writes the table of a good copy anew, and tells the cluster, as of any new copy.
///
/// # Errors
/// Why the cluster does not take it, for good.
async fn make_ours(core: &Core, toc: &Toc) -> Result<Done, Rejection> {
    let Toc { copy, segment, version, digest, .. } = *toc;
    let ours = Toc { cluster: core.identity.cluster, node: core.me(), until: core.commit_window(), ..toc.clone() };
    let receipt = match core.publish(ours).await {
        Ok(receipt) => receipt,
        Err(e) if passes_by(&e) || e.kind() == io::ErrorKind::StorageFull => {
            tracing::warn!(%copy, error = %e, "a copy of a former cluster cannot be taken over now");
            return Ok(Done::Later);
        }
        Err(e) => {
            core.stop.fault(format!("a copy could not be taken over: {e}"));
            return Ok(Done::Later);
        }
    };
    crash_point!("adopt.published");
    let command = Command::Confirm { segment, version, digest, receipt };
    match core.propose(command, core.env.clock.now() + core.limits.idle).await {
        Ok(Ok(_)) => {
            tracing::info!(name = %toc.name, %version, %copy, "a copy of a former cluster was taken over");
            Ok(Done::Adopted)
        }
        // Another copy of it came to this node meanwhile.
        Ok(Err(Rejection::Redundant)) => Ok(Done::Spare),
        Ok(Err(Rejection::ReceiptExpired)) | Err(_) => Ok(Done::Later),
        Ok(Err(rejection)) => Err(rejection),
    }
}
