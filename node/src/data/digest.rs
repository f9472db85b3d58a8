//! Table and digest of a source, in one pass over it.

use std::io;
use std::sync::Arc;

use cairn_store::digest::{BLOCK_BYTES, BlockTable, TableBuilder, block_count, block_len};

use crate::env::{Env, ReadAt};
use crate::jobs::Meter;

/// Reads `source` once; each block is a step on the meter.
///
/// # Errors
/// The source cannot be read, or changed meanwhile: `InvalidData`.
pub async fn table_of(env: &Env, source: Arc<dyn ReadAt>, meter: Arc<Meter>) -> io::Result<BlockTable> {
    env.blocking(move || read(source.as_ref(), &meter)).await?
}

fn read(source: &dyn ReadAt, meter: &Meter) -> io::Result<BlockTable> {
    let changed = || io::Error::new(io::ErrorKind::InvalidData, "the file changed while it was read");
    let size = source.size();
    let mut builder = TableBuilder::new(size);
    let mut buffer = vec![0; BLOCK_BYTES.min(usize::try_from(size).unwrap_or(BLOCK_BYTES))];
    for index in 0..block_count(size) {
        let block = buffer.get_mut(..block_len(size, index)).unwrap_or_default();
        source.read_exact_at(block, index * BLOCK_BYTES as u64).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => changed(),
            _ => e,
        })?;
        builder.push(block);
        meter.tick(1);
    }
    if !source.unchanged()? {
        return Err(changed());
    }
    builder.finish().ok_or_else(changed)
}
