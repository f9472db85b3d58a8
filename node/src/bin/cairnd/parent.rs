//! Processes that end with the one that started them.

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use crate::failure::Failure;

/// From now on this process is killed when its parent, `expected`, ends, however that ends.
pub(crate) fn die_with(expected: u32) -> Result<(), Failure> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|e| Failure::new(format!("cannot be tied to the parent process: {e}")))?;
    // It may have ended before the line above.
    let parent = getppid().map(|pid| Pid::as_raw_nonzero(pid).get());
    if parent.and_then(|pid| u32::try_from(pid).ok()) == Some(expected) {
        return Ok(());
    }
    Err(Failure::new(format!("the process {expected} that started this one is gone")))
}
