//! Virtual time.

use std::time::Duration;

use cairn_node::env::Clock;
use cairn_store::time::WallTime;
use futures::future::BoxFuture;
use tokio::time::Instant;

/// The wall time at which every simulation begins: 2026-01-01, in milliseconds.
const BEGINNING_MS: u64 = 1_767_225_600_000;

/// The clock of one machine since it was switched on. Made on the machine.
#[derive(Debug)]
pub struct SimClock {
    started: Instant,
    /// How long the world had run by then.
    before: Duration,
}

impl Default for SimClock {
    fn default() -> Self {
        Self { started: Instant::now(), before: turmoil::sim_elapsed().unwrap_or_default() }
    }
}

impl Clock for SimClock {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn wall(&self) -> WallTime {
        let since = u64::try_from((self.before + self.now()).as_millis()).unwrap_or(u64::MAX);
        WallTime(BEGINNING_MS.saturating_add(since))
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(span))
    }
}
