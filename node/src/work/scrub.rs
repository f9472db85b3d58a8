//! Every copy of this node is read through once in a period, spread over it, so that a bad one is found while there are
//! good ones.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use cairn_store::meta::Usage;
use cairn_store::segment::Standing;

use crate::catalogue::Held;
use crate::core::Core;
use crate::env::PayloadLimits;
use crate::jobs::Meter;
use crate::storage::passes_by;
use crate::work::verify::{Verdict, verify_slowly};

/// How many copies are taken from the catalogue at once.
const PAGE: usize = 64;
/// What a copy costs beside its bytes, in bytes: it is opened, and its table read.
const COPY_COST: u64 = 64 << 10;
/// The longest rest: a node that has little to read looks so often whether there is more.
const REST_MAX: Duration = Duration::from_secs(60);

/// Runs until the node ends.
pub async fn scrub(core: Arc<Core>) {
    while !core.stop.is_set() {
        match round(&core).await {
            Ok(()) => {}
            Err(e) if passes_by(&e) => tracing::warn!(error = %e, "the copies cannot be read through now"),
            Err(e) => {
                core.stop.fault(format!("the catalogue cannot be used: {e}"));
                return;
            }
        }
        // A node without copies rests here.
        core.env.clock.sleep(REST_MAX.min(core.limits.scrub_period)).await;
    }
}

/// From where the last round was broken off to the end of the catalogue.
async fn round(core: &Arc<Core>) -> io::Result<()> {
    let limits = PayloadLimits { rate_max: core.limits.scrub_rate, ..core.limits.payload() };
    let catalogue = core.env.catalogue.clone();
    let mut after: Option<Held> = core.env.blocking(move || catalogue.scrubbed()).await??;
    loop {
        let (catalogue, from) = (core.env.catalogue.clone(), after);
        let page = core.env.blocking(move || catalogue.page(from.as_ref(), PAGE)).await??;
        for held in &page {
            let begun = core.env.clock.now();
            let verdict = verify_slowly(core, held.copy, limits, &Meter::default()).await;
            let counts = core.now().state.standing(held.segment, held.version, held.copy) == Standing::Referenced;
            if counts && verdict != Verdict::Good {
                tracing::warn!(copy = %held.copy, ?verdict, "the scrub found a copy that is not good");
            }
            core.lost(held.copy, verdict).await;
            core.counts.scrubbed.inc_by(held.size);
            // At once: the next life goes on here, and a page may last for days.
            note(core, Some(*held)).await?;
            rest(core, held.size, begun).await;
            if core.stop.is_set() {
                return Ok(());
            }
        }
        after = page.last().copied();
        if after.is_none() {
            return note(core, None).await;
        }
    }
}

async fn note(core: &Core, last: Option<Held>) -> io::Result<()> {
    let catalogue = core.env.catalogue.clone();
    core.env.blocking(move || catalogue.set_scrubbed(last.as_ref())).await?
}

/// Until the copy's part of the period is over. There may be more copies, and so less time for each, before that.
async fn rest(core: &Core, size: u64, begun: Duration) {
    while !core.stop.is_set() {
        let usage = core.now().state.usage_of(core.me());
        let took = core.env.clock.now().saturating_sub(begun);
        let left = share(size, usage, core.limits.scrub_period).saturating_sub(took);
        if left.is_zero() {
            return;
        }
        core.env.clock.sleep(left.min(REST_MAX)).await;
    }
}

/// A copy's part of the period.
fn share(size: u64, all: Usage, period: Duration) -> Duration {
    let cost = |bytes: u64, copies: u64| bytes.saturating_add(copies.saturating_mul(COPY_COST)) as f64;
    let part = cost(size, 1) / cost(all.bytes, all.copies).max(cost(size, 1));
    period.mul_f64(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_copies_together_take_the_whole_period() {
        let period = Duration::from_secs(1000);
        let sizes = [0, 1, 5 << 20, 1 << 30];
        let all = Usage { copies: 4, bytes: sizes.iter().sum() };
        let parts: Duration = sizes.iter().map(|size| share(*size, all, period)).sum();
        assert!(parts.abs_diff(period) < Duration::from_millis(1), "{parts:?}");
        assert!(share(0, all, period) > Duration::ZERO);
        // A stray is not among those that are counted.
        assert_eq!(share(10, Usage::default(), period), period);
    }
}
