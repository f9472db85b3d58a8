//! Tasks without threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cairn_node::env::Spawn;
use futures::future::BoxFuture;

use crate::rng::SplitMix;

/// What work that blocks usually takes at most, in milliseconds. The world moves in steps of one.
const USUAL_MS_MAX: u64 = 2;
/// What it takes at most when something is in its way.
const LONG_MS_MAX: u64 = 30;
/// One work of so many takes long.
const LONG_EVERY: u64 = 64;

/// Tasks of the machine's own runtime. Work that blocks is one of them, a little later: messages and crashes come
/// between, and two works may end in another order than they began, as on threads.
#[derive(Debug)]
pub struct SimSpawn {
    rng: SplitMix,
    slowness: Slowness,
}

impl SimSpawn {
    /// The tasks of one boot of a machine, with randomness of their own.
    pub fn new(rng: SplitMix, slowness: Slowness) -> Self {
        Self { rng, slowness }
    }

    fn delay(&self) -> Duration {
        let longest = if self.rng.below(LONG_EVERY) == 0 { LONG_MS_MAX } else { USUAL_MS_MAX };
        Duration::from_millis(self.rng.below(longest + 1)) * self.slowness.get()
    }
}

impl Spawn for SimSpawn {
    fn task(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) {
        let delay = self.delay();
        tokio::spawn(async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            work();
        });
    }
}

/// How many times longer than usual it takes. Clones are the same.
#[derive(Clone, Debug)]
pub struct Slowness(Arc<AtomicU32>);

impl Default for Slowness {
    fn default() -> Self {
        Self(Arc::new(AtomicU32::new(1)))
    }
}

impl Slowness {
    /// From now on; 0 is 1.
    pub fn set(&self, factor: u32) {
        self.0.store(factor.max(1), Ordering::Relaxed);
    }

    fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}
