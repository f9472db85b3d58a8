//! Waiting for an event.

use std::time::{Duration, Instant};

/// How long anything may take on two busy cores before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Looks again and again until `look` finds something.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "gave up waiting until {what}");
        std::thread::sleep(LOOK);
    }
}
