//! Waiting for an event.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;

/// How long anything may take on two busy cores before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Set when somebody asks a soak to end: whatever waits gives up, and everything is tidied on its way out.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

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

/// The same, for so long, and until somebody interrupts.
///
/// # Errors
/// The time is over, it was interrupted, or `look` itself says that it is in vain.
pub fn within<T>(
    limit: Duration,
    what: &str,
    mut look: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        pause(LOOK)?;
        if start.elapsed() >= limit {
            bail!("gave up waiting until {what}");
        }
    }
}

/// Lets time pass, for a fault that lasts, or the work between two faults.
///
/// # Errors
/// It was interrupted.
pub fn pause(span: Duration) -> anyhow::Result<()> {
    let end = Instant::now() + span;
    loop {
        if INTERRUPTED.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(LOOK));
    }
}

/// Ends whatever waits.
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::Relaxed);
}
