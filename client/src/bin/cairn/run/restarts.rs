//! Whether and when a command that failed is started again.

use std::time::Duration;

/// The pause before the first restart; each is twice the one before.
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Who ran for so long did not fail at once: it counts from the beginning.
const STEADY: Duration = Duration::from_secs(60);

/// The restarts of one ownership.
#[derive(Clone, Copy, Debug)]
pub(super) struct Restarts {
    limit: u32,
    count: u32,
}

impl Restarts {
    /// At most so many in a row.
    pub(super) fn new(limit: u32) -> Self {
        Self { limit, count: 0 }
    }

    /// How long to wait before the next start of what ran for `lived`; none if it failed too often.
    pub(super) fn after(&mut self, lived: Duration) -> Option<Duration> {
        if lived >= STEADY {
            self.count = 0;
        }
        if self.count >= self.limit {
            return None;
        }
        let pause = PAUSE_MIN.saturating_mul(1 << self.count.min(16)).min(PAUSE_MAX);
        self.count += 1;
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_then_it_is_given_up() {
        let mut restarts = Restarts::new(8);
        let pauses: Vec<u128> =
            std::iter::from_fn(|| restarts.after(Duration::ZERO)).map(|pause| pause.as_millis()).collect();
        assert_eq!(pauses, [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(restarts.after(STEADY), Some(PAUSE_MIN), "what ran for long begins anew");
        assert_eq!(Restarts::new(0).after(STEADY), None);
    }
}
