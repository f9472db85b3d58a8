//! The holder's side of a lease (R5): by which clock it counts, and until when its work must have ended.
//!
//! The cluster counts from when it applied the claim or the renewal, by log time. The holder counts from before it asked,
//! by a clock of its own that goes on while the machine sleeps: so its time is over first, whatever the network does.
//!
//! ```text
//! asked  renew               stop (SIGTERM)      kill        span
//!   |──────|──────────────────────|────────────────|───────────|──► others may own it
//!   0     1/6                    2/3             9/10          1
//! ```

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
    timerfd_settime,
};
use serde::{Deserialize, Serialize};
use tokio::net::unix::pipe::Receiver;

/// A moment of this machine since its start, sleep included (`CLOCK_BOOTTIME`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Moment(Duration);

impl Moment {
    /// Now.
    pub fn now() -> Self {
        let now = clock_gettime(ClockId::Boottime);
        let (seconds, nanos) = (u64::try_from(now.tv_sec), u32::try_from(now.tv_nsec));
        Self(Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0)))
    }

    /// So much later; saturates.
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }

    /// How long it is until then; zero if it has been.
    pub fn left(self) -> Duration {
        self.0.saturating_sub(Self::now().0)
    }
}

/// A lease, as its holder counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Term {
    asked: Moment,
    span: Duration,
}

impl Term {
    /// A lease of `span` that was asked for at `asked`, or later.
    pub fn new(asked: Moment, span: Duration) -> Self {
        Self { asked, span }
    }

    /// When to renew it.
    pub fn renew_at(&self) -> Moment {
        self.asked.after(self.span / RENEWALS)
    }

    /// When the work has to be asked to end, if it was not renewed.
    pub fn stop_at(&self) -> Moment {
        self.asked.after(self.span / 3 * 2)
    }

    /// When the work has to be killed: what is left of the span, a tenth and 100 ms at least, is for that to be done.
    pub fn kill_at(&self) -> Moment {
        self.asked.after(self.span.saturating_sub((self.span / 10).max(KILL_MIN)))
    }

    /// How long it lasts in all.
    pub fn span(&self) -> Duration {
        self.span
    }
}

/// How often a lease is renewed in its span: half of the span is left for the cluster to find a new leader before the work has to
/// end.
pub const RENEWALS: u32 = 6;
/// The least time that is left for killing (R5).
const KILL_MIN: Duration = Duration::from_millis(100);

/// Wakes up at moments.
#[derive(Debug)]
pub struct Alarm(Receiver);

impl Alarm {
    /// One that never wakes anybody. Must be called within a runtime.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Boottime, flags)?;
        // It is read like a pipe; tokio's own way for any descriptor is not safe.
        Ok(Self(Receiver::from_file_unchecked(File::from(timer))?))
    }

    /// From now on it wakes up at this moment, or at once if that has been; not at any one before.
    ///
    /// # Errors
    /// The kernel knows no such moment.
    pub fn set(&self, at: Moment) -> io::Result<()> {
        // Zero would switch it off.
        let at = at.0.max(Duration::from_nanos(1));
        let timespec = |span: Duration| Timespec {
            tv_sec: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: span.subsec_nanos().into(),
        };
        let spec = Itimerspec { it_interval: timespec(Duration::ZERO), it_value: timespec(at) };
        timerfd_settime(self.0.as_fd(), TimerfdTimerFlags::ABSTIME, &spec)?;
        Ok(())
    }

    /// Waits for the moment that is set. May be dropped at any point.
    ///
    /// # Errors
    /// The runtime is ending.
    pub async fn ring(&self) -> io::Result<()> {
        loop {
            self.0.readable().await?;
            match self.0.try_read(&mut [0; 8]) {
                Ok(_) => return Ok(()),
                // It was set anew meanwhile.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn work_ends_before_the_span_does(asked in 0_u64..1 << 40, millis in 1000_u64..3_600_000) {
            let (asked, span) = (Moment(Duration::from_millis(asked)), Duration::from_millis(millis));
            let term = Term::new(asked, span);
            prop_assert!(asked < term.renew_at());
            prop_assert!(term.renew_at() < term.stop_at());
            prop_assert!(term.stop_at() < term.kill_at());
            prop_assert!(term.kill_at().after(span / 10).0 <= asked.after(span).0 + Duration::from_nanos(1));
            prop_assert!(term.kill_at().after(KILL_MIN) <= asked.after(span));
        }
    }

    #[tokio::test]
    async fn an_alarm_rings_at_the_moment_that_was_set_last() {
        let (alarm, start) = (Alarm::new().unwrap(), Moment::now());
        alarm.set(start.after(Duration::from_secs(3600))).unwrap();
        alarm.set(start.after(Duration::from_millis(30))).unwrap();
        alarm.ring().await.unwrap();
        assert!(Moment::now() >= start.after(Duration::from_millis(30)));
        alarm.set(start).unwrap();
        alarm.ring().await.unwrap();
    }
}
