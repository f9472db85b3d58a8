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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::time::Instant;

    use super::*;

    /// When each of a hundred works ended, in the order in which they did.
    async fn ends(seed: u64, factor: u32) -> Vec<(u32, Duration)> {
        let slowness = Slowness::default();
        slowness.set(factor);
        let spawn = SimSpawn::new(SplitMix::new(seed), slowness);
        let (begun, ended) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
        for number in 0..100 {
            let ended = ended.clone();
            spawn.blocking(Box::new(move || ended.lock().unwrap().push((number, begun.elapsed()))));
        }
        assert!(ended.lock().unwrap().is_empty(), "nothing runs in place");
        tokio::time::sleep(Duration::from_secs(3600)).await;
        std::mem::take(&mut *ended.lock().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn work_ends_later_and_in_another_order_and_a_seed_tells_when() {
        let first = ends(1, 1).await;
        assert_eq!(first.len(), 100);
        assert!(!first.is_sorted() && first.iter().any(|(_, at)| !at.is_zero()));
        assert_eq!(first, ends(1, 1).await);
        assert_ne!(first, ends(2, 1).await);
        let last = |ends: Vec<(u32, Duration)>| ends.last().map(|(_, at)| *at);
        assert_eq!(last(ends(1, 50).await), last(first).map(|at| at * 50));
    }
}
