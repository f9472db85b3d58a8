//! Whether a payload moves fast enough, and not too fast. Without a least rate a peer that sends a byte now and then would
//! hold its place, and a thread, for ever.

use std::io;
use std::time::Duration;

use super::PayloadLimits;

/// One payload's pace.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    limits: PayloadLimits,
    start: Duration,
    moved: u64,
}

impl Pace {
    /// A payload that begins `now`.
    pub fn new(limits: PayloadLimits, now: Duration) -> Self {
        Self { limits, start: now, moved: 0 }
    }

    /// So many more bytes went through. `TimedOut` if all of them together took too long.
    pub fn moved(&mut self, bytes: u64, now: Duration) -> io::Result<()> {
        self.moved = self.moved.saturating_add(bytes);
        let allowed = self.limits.idle.saturating_add(Duration::from_secs(self.moved / self.limits.rate_min.max(1)));
        if now.saturating_sub(self.start) <= allowed {
            return Ok(());
        }
        let text = format!("the transfer is slower than {} bytes a second", self.limits.rate_min);
        Err(io::Error::new(io::ErrorKind::TimedOut, text))
    }

    /// How long to wait before more is taken, so that what moved stays within the highest rate.
    pub fn early(&self, now: Duration) -> Duration {
        if self.limits.rate_max == 0 {
            return Duration::ZERO;
        }
        let due = Duration::from_secs_f64(self.moved as f64 / self.limits.rate_max as f64);
        due.saturating_sub(now.saturating_sub(self.start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trickle_is_given_up_and_a_slow_but_steady_payload_is_not() {
        let secs = Duration::from_secs;
        let limits = PayloadLimits { idle: secs(15), rate_min: 1000, rate_max: 0 };
        let mut trickle = Pace::new(limits, secs(100));
        trickle.moved(1, secs(110)).unwrap();
        assert_eq!(trickle.moved(1, secs(116)).unwrap_err().kind(), io::ErrorKind::TimedOut);
        let mut steady = Pace::new(limits, secs(100));
        for second in 1..600 {
            steady.moved(1000, secs(100 + second)).unwrap();
        }
    }

    #[test]
    fn whoever_is_early_waits() {
        let secs = Duration::from_secs;
        let limits = PayloadLimits { idle: secs(15), rate_min: 1, rate_max: 1000 };
        let mut pace = Pace::new(limits, secs(100));
        assert_eq!(pace.early(secs(100)), Duration::ZERO);
        pace.moved(5000, secs(102)).unwrap();
        assert_eq!((pace.early(secs(102)), pace.early(secs(110))), (secs(3), Duration::ZERO));
        let free = PayloadLimits { rate_max: 0, ..limits };
        let mut pace = Pace::new(free, secs(100));
        pace.moved(u64::MAX, secs(100)).unwrap();
        assert_eq!(pace.early(secs(100)), Duration::ZERO);
    }
}
