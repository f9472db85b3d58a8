//! Whether a payload moves fast enough. Without a least rate a peer that sends a byte now and then would hold its
//! place, and a thread, for ever.

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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trickle_is_given_up_and_a_slow_but_steady_payload_is_not() {
        let secs = Duration::from_secs;
        let limits = PayloadLimits { idle: secs(15), rate_min: 1000 };
        let mut trickle = Pace::new(limits, secs(100));
        trickle.moved(1, secs(110)).unwrap();
        assert_eq!(trickle.moved(1, secs(116)).unwrap_err().kind(), io::ErrorKind::TimedOut);
        let mut steady = Pace::new(limits, secs(100));
        for second in 1..600 {
            steady.moved(1000, secs(100 + second)).unwrap();
        }
    }
}
