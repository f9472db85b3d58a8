//! Raft's own randomness (election time-outs) comes from a seed that every task carries.

use openraft_rt::deterministic_rng::DeterministicRng;
use openraft_rt_tokio::TokioRuntime;

/// Runs `task` with this seed.
pub fn seeded<F: Future>(seed: u64, task: F) -> impl Future<Output = F::Output> {
    DeterministicRng::<TokioRuntime>::scope(seed, task)
}
