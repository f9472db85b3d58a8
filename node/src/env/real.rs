//! The real seams: the kernel's clock and randomness, tokio's tasks and sockets.

// The one place where the direct ways are used; everything else asks `Env`.
#![allow(clippy::disallowed_methods)]

mod net;
mod objects;
mod payload;

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use cairn_store::time::WallTime;
use futures::future::BoxFuture;

pub use net::SocketNet;
pub use objects::StoredObjects;
pub use payload::sendfile_bytes;

use super::{Clock, Rng, Spawn};

/// Tokio's clock, and the system's for people.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall(&self) -> WallTime {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(span))
    }
}

/// The kernel's randomness, a batch at a time: every task is given a seed.
#[derive(Debug, Default)]
pub struct SystemRng(Mutex<Vec<u64>>);

/// Numbers in a batch: 256 bytes are what the kernel always gives at once.
const BATCH: usize = 32;

impl Rng for SystemRng {
    fn next(&self) -> u64 {
        let mut batch = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if batch.is_empty() {
            let mut bytes = [[0; 8]; BATCH];
            let drawn = rustix::rand::getrandom(bytes.as_flattened_mut(), rustix::rand::GetRandomFlags::empty());
            if drawn == Ok(BATCH * 8) {
                batch.extend(bytes.map(u64::from_le_bytes));
            }
        }
        // The standard library's hash keys are random too; only a kernel without the call gets there.
        batch.pop().unwrap_or_else(|| RandomState::new().hash_one(Instant::now()))
    }
}

/// Tokio's tasks, and its pool of blocking threads.
#[derive(Debug, Default)]
pub struct TokioSpawn;

impl Spawn for TokioSpawn {
    fn task(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) {
        tokio::task::spawn_blocking(work);
    }
}
