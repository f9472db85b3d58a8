//! The one collector: compares what lies on disk with what this node has applied, and does all deletion.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use cairn_store::crash_point;
use cairn_store::plan::collect::{Found, collectable};
use cairn_store::segment::{Copy, CopyState};

use crate::catalogue::Held;
use crate::core::Core;
use crate::storage::passes_by;
use crate::work::verify::verify;

/// How many copies are looked at in one step.
const PAGE: usize = 256;
/// The pause after a pass over all copies, beside the one after each change of the state.
const PASS_PAUSE: Duration = Duration::from_secs(2);

/// After so many passes, what the cluster counts on here is compared with what lies here.
const REPORT_PASSES: u32 = 15;

/// Runs until the node ends.
pub async fn collect(core: Arc<Core>) {
    // Only a state that has caught up says what should lie here.
    while !core.stop.is_set() && core.read(core.env.clock.now() + core.limits.idle).await.is_err() {}
    let mut passes: u32 = 0;
    while !core.stop.is_set() {
        // Again and again: a report that found no leader must not be lost.
        let due = passes.is_multiple_of(REPORT_PASSES);
        passes = passes.wrapping_add(1);
        let passed = async {
            if due {
                compare(&core).await?;
            }
            pass(&core).await
        };
        match passed.await {
            Ok(()) => {}
            Err(e) if passes_by(&e) => tracing::warn!(error = %e, "local storage cannot be tidied now"),
            Err(e) => {
                core.stop.fault(format!("local storage cannot be tidied: {e}"));
                return;
            }
        }
        core.env.clock.sleep(PASS_PAUSE).await;
    }
}

/// One pass over the copies on this node.
async fn pass(core: &Arc<Core>) -> std::io::Result<()> {
    let mut after: Option<Held> = None;
    loop {
        let catalogue = core.env.catalogue.clone();
        let page = core.env.blocking(move || catalogue.page(after.as_ref(), PAGE)).await??;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(*last);
        for held in page {
            // One applied prefix of this node's own, taken after the copy was seen to exist (R1).
            let view = core.now();
            // What nothing refers to may be what is missing elsewhere, or was not told of yet (R12).
            let may_be_told = view.state.origin.is_some() && core.heritage.is_unfinished();
            if view.state.is_recovering() || may_be_told {
                return Ok(());
            }
            if view.state.removed.contains_key(&core.me()) {
                // What was given up with this node may be the last resort of somebody.
                return Ok(());
            }
            let found = Found {
                // The catalogue lists no others.
                cluster: core.identity.cluster,
                standing: view.state.standing(held.segment, held.version, held.copy),
                until: held.until,
            };
            if collectable(found, core.identity.cluster, view.state.time) {
                // Its word may have been renewed since the catalogue was read.
                let _alone = core.storage.deleting.lock().await;
                if !core.may_go(held).await? {
                    continue;
                }
                tracing::info!(copy = %held.copy, standing = ?found.standing, "a copy goes");
                crash_point!("retire.decided");
                let (disk, catalogue) = (core.env.disk.clone(), core.env.catalogue.clone());
                core.env
                    .blocking(move || {
                        disk.unlink(held.copy)?;
                        crash_point!("retire.removed");
                        catalogue.remove(&held)?;
                        crash_point!("retire.unlisted");
                        Ok::<_, std::io::Error>(())
                    })
                    .await??;
            }
        }
    }
}

/// What the cluster counts on here and what lies here, compared: it must not count on copies that are gone, and what
/// lies in quarantine is kept only as long as the cluster lists it.
async fn compare(core: &Core) -> std::io::Result<()> {
    let disk = core.env.disk.clone();
    let aside = core.env.blocking(move || disk.quarantined()).await??;
    let state = core.now().state;
    for segment in state.segments.values() {
        for record in segment.versions.values() {
            let mine = record.copies.iter().filter(|c| c.node == core.me() && c.state == CopyState::Durable);
            for &Copy { id: copy, .. } in mine {
                // Put aside while the cluster could not be told, or deleted by somebody else's hand.
                let disk = core.env.disk.clone();
                let open = core.env.blocking(move || disk.open(copy).map(drop)).await?;
                if open.is_err_and(|e| e.kind() == ErrorKind::NotFound) {
                    // Again at the next comparison, if it does not get through.
                    let verdict = verify(core, copy, Arc::default()).await;
                    core.lost(copy, verdict).await;
                }
            }
        }
    }
    // What was damaged in a former cluster may be all that is left of a version, and no state lists it.
    let disk = core.env.disk.clone();
    if aside.is_empty() || core.env.blocking(move || disk.has_former()).await?? {
        return Ok(());
    }
    let listed = core.now().state.copies_on(core.me());
    for copy in aside.into_iter().filter(|copy| !listed.contains(copy)) {
        tracing::info!(%copy, "a copy leaves quarantine for good");
        let disk = core.env.disk.clone();
        core.env.blocking(move || disk.forget(copy)).await??;
    }
    Ok(())
}

impl Core {
    /// Whether a copy may still go: by what its `.toc` says now, and as far as no load is after it.
    async fn may_go(&self, held: Held) -> std::io::Result<bool> {
        if self.storage.is_kept(held.segment, held.version) {
            return Ok(false);
        }
        let disk = self.env.disk.clone();
        let (cluster, until) = match self.env.blocking(move || disk.read_toc(held.copy)).await? {
            Ok(toc) => (toc.cluster, toc.until),
            // Without one it is no copy any more; a damaged one cannot have been renewed.
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::InvalidData) => {
                (self.identity.cluster, held.until)
            }
            Err(e) => return Err(e),
        };
        let state = self.now().state;
        let standing = state.standing(held.segment, held.version, held.copy);
        Ok(collectable(Found { cluster, standing, until }, self.identity.cluster, state.time))
    }
}
