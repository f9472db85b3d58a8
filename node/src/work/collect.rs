//! The one collector: compares what lies on disk with what this node has applied, and does all deletion.

use std::sync::Arc;
use std::time::Duration;

use cairn_store::meta::{Command, Finding};
use cairn_store::plan::collect::{Found, collectable};
use cairn_store::segment::CopyState;

use crate::catalogue::Held;
use crate::core::Core;

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
        if passes.is_multiple_of(REPORT_PASSES) {
            report_missing(&core).await;
        }
        passes = passes.wrapping_add(1);
        if let Err(e) = pass(&core).await {
            core.stop.fault(format!("local storage cannot be tidied: {e}"));
            return;
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
            let found = Found {
                cluster: core.identity.cluster,
                standing: view.state.standing(held.segment, held.version, held.copy),
                until: held.until,
            };
            if collectable(found, core.identity.cluster, view.state.time) {
                tracing::info!(copy = %held.copy, standing = ?found.standing, "a copy goes");
                let (disk, catalogue) = (core.env.disk.clone(), core.env.catalogue.clone());
                core.env
                    .blocking(move || {
                        disk.unlink(held.copy)?;
                        catalogue.remove(&held)
                    })
                    .await??;
            }
        }
    }
}

/// Copies that the cluster counts on this node and that do not lie here: it must not count on them.
async fn report_missing(core: &Core) {
    let state = core.now().state;
    for segment in state.segments.values() {
        for (version, record) in &segment.versions {
            let mine = record.copies.iter().filter(|c| c.node == core.me() && c.state == CopyState::Durable);
            for copy in mine {
                let (catalogue, segment, version) = (core.env.catalogue.clone(), segment.id, *version);
                let found = core.env.blocking(move || catalogue.find(segment, version)).await;
                let Ok(Ok(found)) = found else { continue };
                if found.iter().all(|held| held.copy != copy.id) {
                    tracing::error!(copy = %copy.id, "a copy is missing from this node");
                    let command = Command::Lose { segment, version, copy: copy.id, finding: Finding::Missing };
                    let deadline = core.env.clock.now() + core.limits.idle;
                    let _ = core.propose(command, deadline).await;
                }
            }
        }
    }
}
