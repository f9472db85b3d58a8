//! How many files and connections this process may have open at once.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// With fewer, a busy node may run out: it has up to `limits.connections` on each port, and files besides.
const WANTED: u64 = 4096;

/// Takes as many as the system allows. Only what is still too few is told.
pub(crate) fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let now = if raised.is_ok() { maximum } else { current };
    // None: as many as it likes.
    if let Some(now) = now.filter(|now| *now < WANTED) {
        tracing::warn!(
            "only {now} files and connections can be open at once, {WANTED} are wanted: raise the limit \
             (LimitNOFILE of a systemd unit, `ulimit -Hn` of a shell)"
        );
    }
}
