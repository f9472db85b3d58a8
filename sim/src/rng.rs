//! Randomness from a seed.

use std::sync::atomic::{AtomicU64, Ordering};

use cairn_node::env::Rng;

/// SplitMix64 (Steele, Lea, Flood 2014): small, and good enough to choose faults with.
#[derive(Debug)]
pub struct SplitMix(AtomicU64);

/// The golden ratio's fraction: the step of the sequence.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

impl SplitMix {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// A sequence of its own for a part of the world.
    pub fn of(seed: u64, part: &str, number: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes()).update(part.as_bytes()).update(&number.to_le_bytes());
        let mut bytes = [0; 8];
        hasher.finalize_xof().fill(&mut bytes);
        Self::new(u64::from_le_bytes(bytes))
    }

    /// A number below `bound`; 0 if that is 0.
    pub fn below(&self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }

    /// An index or a length below `bound`.
    pub fn index(&self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap_or(0)
    }

    /// One of them.
    #[expect(clippy::indexing_slicing, reason = "there is one, and the index is within")]
    pub fn one_of<T: Copy, const N: usize>(&self, choices: [T; N]) -> T {
        const { assert!(N > 0) };
        choices[self.index(N)]
    }

    /// So many bytes.
    pub fn bytes(&self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        for chunk in bytes.chunks_mut(8) {
            for (to, from) in chunk.iter_mut().zip(self.next().to_le_bytes()) {
                *to = from;
            }
        }
        bytes
    }
}

impl Rng for SplitMix {
    fn next(&self) -> u64 {
        let state = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
