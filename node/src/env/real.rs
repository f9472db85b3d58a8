//! The real seams: the kernel's clock and randomness, tokio's tasks and sockets.

// The one place where the direct ways are used; everything else asks `Env`.
#![allow(clippy::disallowed_methods)]

mod net;
mod payload;

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant, SystemTime};

use cairn_store::time::WallTime;
use futures::future::BoxFuture;

pub use net::SocketNet;

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

/// The kernel's randomness.
#[derive(Debug, Default)]
pub struct SystemRng;

impl Rng for SystemRng {
    fn next(&self) -> u64 {
        let mut bytes = [0; 8];
        match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
            Ok(8) => u64::from_le_bytes(bytes),
            // The standard library's hash keys are random too; only a kernel without the call gets here.
            _ => RandomState::new().hash_one(Instant::now()),
        }
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
