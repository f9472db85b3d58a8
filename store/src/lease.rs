//! Leases: an ownership that nobody else takes over before its time is over (R5).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::LogTime;

/// The shortest lease. The holder needs some of it to end its application.
pub const LEASE_MIN: Duration = Duration::from_secs(1);
/// The longest lease: so long a name cannot be taken over from a node that is lost.
pub const LEASE_MAX: Duration = Duration::from_secs(3600);

/// The owner's lease on a segment. The holder counts from before it asked, by its own clock: its time is over sooner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// From this log time on others may take over.
    pub until: LogTime,
    /// How long it lasts from when it was given or renewed.
    pub span: Duration,
}

impl Lease {
    /// A lease that is given at this time.
    pub fn given(at: LogTime, span: Duration) -> Self {
        Self { until: at.after(span), span }
    }

    /// Whether it keeps others off at this time.
    pub fn is_live(&self, at: LogTime) -> bool {
        at < self.until
    }

    /// How long it will last from this time on, if nobody renews it.
    pub fn remaining(&self, at: LogTime) -> Duration {
        Duration::from_millis(self.until.0.saturating_sub(at.0))
    }
}
