//! Looks at the disk's free space, so that commands, health and probes need not: they get the newest look, and how old
//! it is. A disk that hangs holds up this one task, and not a thread for each who asks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::core::Core;

/// How often it looks.
const LOOK: Duration = Duration::from_secs(1);

/// What the disk said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Bytes that are free; none before it was asked.
    pub free: Option<u64>,
    /// Whether that is less than the reserve.
    pub low: bool,
    /// When it answered, by the env's clock.
    pub at: Duration,
}

/// The newest look at the disk.
#[derive(Debug)]
pub struct Space(Mutex<Seen>);

impl Space {
    /// Nothing is known at first, and nothing is wrong.
    pub fn new(now: Duration) -> Self {
        Self(Mutex::new(Seen { free: None, low: false, at: now }))
    }

    /// What the disk said last.
    pub fn seen(&self) -> Seen {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs until the node ends.
pub async fn watch_space(core: Arc<Core>) {
    while !core.stop.is_set() {
        if let Some(free) = core.free().await {
            let low = free < core.limits.reserve;
            let now = Seen { free: Some(free), low, at: core.env.clock.now() };
            let before = std::mem::replace(&mut *core.space.lock(), now);
            if before.low != low {
                tracing::warn!(low, free, reserve = core.limits.reserve, "the disk's reserve");
            }
        }
        core.env.clock.sleep(LOOK).await;
    }
}

impl Core {
    /// Whether the disk is below its reserve: then only what frees space or keeps order is taken (R17).
    pub fn nearly_full(&self) -> bool {
        self.space.seen().low
    }
}
