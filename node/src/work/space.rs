//! Looks at the disk's free space, so that commands and health need not.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::core::Core;

/// How often it looks.
const LOOK: Duration = Duration::from_secs(1);

/// Runs until the node ends.
pub async fn watch_space(core: Arc<Core>) {
    while !core.stop.is_set() {
        if let Some(free) = core.free().await {
            let low = free < core.limits.reserve;
            if core.low_space.swap(low, Ordering::Relaxed) != low {
                tracing::warn!(low, free, reserve = core.limits.reserve, "the disk's reserve");
            }
        }
        core.env.clock.sleep(LOOK).await;
    }
}

impl Core {
    /// Whether the disk is below its reserve: then only what frees space or keeps order is taken (R17).
    pub fn nearly_full(&self) -> bool {
        self.low_space.load(Ordering::Relaxed)
    }
}
