//! Digests: the BLAKE3 of a version's bytes, and the table of its blocks.
//!
//! The digest of a version is the standard BLAKE3 hash of its bytes, what `b3sum` prints. A block is 1 MiB, a whole
//! subtree of BLAKE3's tree; the table holds the chaining value of each. So one pass over the bytes gives both, a
//! block verifies alone against the table, and the table verifies against the digest.

use std::fmt;
use std::str::FromStr;

use blake3::hazmat::{self, HasherExt, Mode};
use serde::{Deserialize, Serialize};

/// The unit of verification and of resuming, in bytes.
pub const BLOCK_BYTES: usize = 1 << 20;

/// How many blocks `size` bytes have. An empty version has one empty block.
pub fn block_count(size: u64) -> u64 {
    size.div_ceil(BLOCK_BYTES as u64).max(1)
}

/// How many bytes block `index` has in a version of `size` bytes; 0 beyond the end.
pub fn block_len(size: u64, index: u64) -> usize {
    let start = index.saturating_mul(BLOCK_BYTES as u64);
    usize::try_from(size.saturating_sub(start)).unwrap_or(usize::MAX).min(BLOCK_BYTES)
}

/// A BLAKE3 hash. Shown in lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        blake3::Hash::from_bytes(self.0).to_hex().fmt(f)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = blake3::HexError;

    fn from_str(text: &str) -> Result<Self, blake3::HexError> {
        blake3::Hash::from_hex(text).map(|hash| Self(hash.into()))
    }
}

/// The chaining value of each block, in order; of a version with one block, its root hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockTable {
    size: u64,
    blocks: Vec<[u8; 32]>,
}

/// Bytes that do not match the table, or a table that does not match the digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The block's bytes are not those that the table names.
    #[error("block {0} does not match its checksum")]
    Block(u64),
    /// The table is not the one that the digest names.
    #[error("the block table does not match the digest")]
    Table,
}

impl BlockTable {
    /// A table that came from outside, checked against the digest that the cluster agreed on.
    pub fn checked(size: u64, bytes: &[u8], digest: Digest) -> Result<Self, Mismatch> {
        let (blocks, rest) = bytes.as_chunks::<32>();
        if !rest.is_empty() || blocks.len() as u64 != block_count(size) {
            return Err(Mismatch::Table);
        }
        let table = Self { size, blocks: blocks.to_vec() };
        if table.digest() == digest { Ok(table) } else { Err(Mismatch::Table) }
    }

    /// The size of the version, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The digest that this table leads to.
    pub fn digest(&self) -> Digest {
        match self.blocks.as_slice() {
            [root] => Digest(*root),
            blocks => {
                // BLAKE3 splits at the largest power of two below the length; blocks are equal, so it splits here.
                let (left, right) = blocks.split_at(left_blocks(blocks.len()));
                Digest(hazmat::merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash).into())
            }
        }
    }

    /// Whether `bytes` are block `index`.
    pub fn verify(&self, index: u64, bytes: &[u8]) -> Result<(), Mismatch> {
        let known = usize::try_from(index).ok().and_then(|i| self.blocks.get(i));
        let good = bytes.len() == block_len(self.size, index)
            && known == Some(&hash_block(index, bytes, self.blocks.len() == 1));
        if good { Ok(()) } else { Err(Mismatch::Block(index)) }
    }

    /// The table as plain bytes, 32 a block.
    pub fn as_bytes(&self) -> &[u8] {
        self.blocks.as_flattened()
    }
}

fn hash_block(index: u64, bytes: &[u8], alone: bool) -> [u8; 32] {
    if alone {
        return blake3::hash(bytes).into();
    }
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(index.saturating_mul(BLOCK_BYTES as u64));
    hasher.update(bytes).finalize_non_root()
}

/// The largest power of two below `blocks`, at least 1.
fn left_blocks(blocks: usize) -> usize {
    (blocks.max(2) - 1).next_power_of_two() / if (blocks.max(2) - 1).is_power_of_two() { 1 } else { 2 }
}

fn subtree(blocks: &[[u8; 32]]) -> [u8; 32] {
    match blocks {
        [] => [0; 32],
        [one] => *one,
        more => {
            let (left, right) = more.split_at(left_blocks(more.len()));
            hazmat::merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
        }
    }
}

/// Builds table and digest in one pass over a version of known size.
#[derive(Debug)]
pub struct TableBuilder {
    size: u64,
    blocks: Vec<[u8; 32]>,
}

impl TableBuilder {
    /// A builder for `size` bytes.
    pub fn new(size: u64) -> Self {
        Self { size, blocks: Vec::new() }
    }

    /// How many blocks it has.
    pub fn blocks(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// Adds the next block. Every block but the last has [`BLOCK_BYTES`] bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        let index = self.blocks.len() as u64;
        self.blocks.push(hash_block(index, bytes, block_count(self.size) == 1));
    }

    /// The table, once every block is in; `None` before that.
    pub fn finish(mut self) -> Option<BlockTable> {
        if self.size == 0 && self.blocks.is_empty() {
            self.push(&[]);
        }
        (self.blocks.len() as u64 == block_count(self.size))
            .then_some(BlockTable { size: self.size, blocks: self.blocks })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table_of(bytes: &[u8]) -> BlockTable {
        let mut builder = TableBuilder::new(bytes.len() as u64);
        bytes.chunks(BLOCK_BYTES).for_each(|block| builder.push(block));
        builder.finish().expect("every block is in")
    }

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i / 7 + i % 251) as u8).collect()
    }

    #[test]
    fn the_digest_is_plain_blake3() {
        let edge = BLOCK_BYTES;
        for len in
            [0, 1, edge - 1, edge, edge + 1, 2 * edge, 3 * edge, 3 * edge + 5, 4 * edge, 5 * edge, 7 * edge + 1]
        {
            let bytes = bytes(len);
            assert_eq!(table_of(&bytes).digest(), Digest::of(&bytes), "{len} bytes");
        }
    }

    #[test]
    fn the_left_subtree_is_the_largest_power_of_two_below() {
        let cases = [(2, 1), (3, 2), (4, 2), (5, 4), (8, 4), (9, 8)];
        for (blocks, left) in cases {
            assert_eq!(left_blocks(blocks), left, "{blocks} blocks");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn any_flipped_bit_is_found(len in 1..3 * BLOCK_BYTES, at in any::<prop::sample::Index>(), bit in 0..8u8) {
            let good = bytes(len);
            let table = table_of(&good);
            let mut bad = good.clone();
            let at = at.index(len);
            bad[at] ^= 1 << bit;
            for (index, (good, bad)) in good.chunks(BLOCK_BYTES).zip(bad.chunks(BLOCK_BYTES)).enumerate() {
                let index = index as u64;
                prop_assert_eq!(table.verify(index, good), Ok(()));
                prop_assert_eq!(table.verify(index, bad).is_err(), index == (at / BLOCK_BYTES) as u64);
            }
        }

        #[test]
        fn a_table_from_outside_is_checked(len in 0..4 * BLOCK_BYTES, flip in any::<prop::sample::Index>()) {
            let table = table_of(&bytes(len));
            let size = len as u64;
            prop_assert_eq!(BlockTable::checked(size, table.as_bytes(), table.digest()), Ok(table.clone()));
            let mut bad = table.as_bytes().to_vec();
            let at = flip.index(bad.len());
            bad[at] ^= 1;
            prop_assert_eq!(BlockTable::checked(size, &bad, table.digest()), Err(Mismatch::Table));
            prop_assert_eq!(BlockTable::checked(size, &bad[1..], table.digest()), Err(Mismatch::Table));
        }
    }
}
