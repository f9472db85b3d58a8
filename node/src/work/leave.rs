//! A node that was removed from the cluster ends: nobody speaks with it any more.

use std::sync::Arc;
use std::time::Duration;

use crate::core::Core;

/// So long it goes on once it knows: whoever asked it for its own removal is still to be answered.
const LINGER: Duration = Duration::from_secs(3);

/// What the node ends with.
pub const REMOVED: &str = "it was removed from the cluster";

/// Runs until the node ends.
pub async fn leave(core: Arc<Core>) {
    while !core.stop.is_set() {
        let applied = core.view.borrow().state.removed.contains_key(&core.me());
        if applied {
            core.env.clock.sleep(LINGER).await;
        }
        // Who was away when it happened is told by others.
        if applied || core.links.was_removed() {
            core.stop.fault(REMOVED);
            return;
        }
        core.env.clock.sleep(core.limits.work).await;
    }
}
