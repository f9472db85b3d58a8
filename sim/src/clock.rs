//! Virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use cairn_node::env::Clock;
use cairn_store::time::WallTime;
use futures::future::BoxFuture;
use tokio::time::Instant;

/// The wall time at which every simulation begins: 2026-01-01, in milliseconds.
const BEGINNING_MS: u64 = 1_767_225_600_000;

/// What is wrong with the clocks of one machine. Clones are the same machine's.
#[derive(Clone, Debug, Default)]
pub struct Skew(Arc<Skewed>);

#[derive(Debug, Default)]
struct Skewed {
    wall_ms: AtomicI64,
    leap_ms: AtomicU64,
}

impl Skew {
    /// The wall clock is off by so much from now on, in milliseconds: somebody set it.
    pub fn set_wall(&self, ms: i64) {
        self.0.wall_ms.store(ms, Ordering::Relaxed);
    }

    /// By how much the monotonic clock went on at once, all in all.
    pub fn leapt(&self) -> Duration {
        Duration::from_millis(self.0.leap_ms.load(Ordering::Relaxed))
    }

    /// The monotonic clock goes on by so much at once: the machine slept, and does not know it.
    pub fn leap(&self, span: Duration) {
        self.0.leap_ms.fetch_add(u64::try_from(span.as_millis()).unwrap_or(0), Ordering::Relaxed);
    }
}

/// The clock of one machine since it was switched on. Made on the machine.
#[derive(Debug)]
pub struct SimClock {
    started: Instant,
    /// How long the world had run by then.
    before: Duration,
    skew: Skew,
}

impl SimClock {
    /// Starts now.
    pub fn new(skew: Skew) -> Self {
        Self { started: Instant::now(), before: turmoil::sim_elapsed().unwrap_or_default(), skew }
    }
}

impl Clock for SimClock {
    fn now(&self) -> Duration {
        self.started.elapsed() + Duration::from_millis(self.skew.0.leap_ms.load(Ordering::Relaxed))
    }

    fn wall(&self) -> WallTime {
        let since = u64::try_from((self.before + self.started.elapsed()).as_millis()).unwrap_or(u64::MAX);
        let off = self.skew.0.wall_ms.load(Ordering::Relaxed);
        WallTime(BEGINNING_MS.saturating_add(since).saturating_add_signed(off))
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(span))
    }
}
