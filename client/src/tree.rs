//! Trees: a folder as a tar stream, and back.
//!
//! - `pack`: walks a folder depth first, in the order of the names, and writes its stream;
//! - `unpack`: makes a folder of a stream, and nothing outside it;
//! - `entry`: one entry of a stream as it is read, every part of it checked and bounded;
//! - `extent`: where a sparse file has data;
//! - `time`: times to the nanosecond, as pax writes them.
//!
//! The stream is GNU tar, readable by the usual programs: long names in `L` and `K` entries, bytes as they are; times
//! that GNU's header cannot hold and the map of a sparse file (GNU's format 1.0) in pax records. A folder comes before
//! what is in it, the tree itself first, as `./`.
//!
//! Both ways go by open folders, never by paths, so no link is ever followed. Memory: one folder's names at a time for
//! each level, and a path for each inode with several names whose others are still to come. Not kept: owners
//! (what is unpacked is the user's, so set-user-id and set-group-id of files are dropped), access times, extended
//! attributes.

mod entry;
mod extent;
mod pack;
mod time;
mod unpack;

pub use pack::pack;
pub use unpack::unpack;

/// How deep folders may lie in each other: each level is an open file here.
const DEPTH_MAX: usize = 256;
/// The longest path in a stream, or target of a link, in bytes.
const PATH_BYTES_MAX: u64 = 1 << 16;
/// The most pax records of an entry, in bytes.
const PAX_BYTES_MAX: u64 = 1 << 12;
/// The most pieces of a sparse file that are told apart.
const EXTENTS_MAX: usize = 1 << 16;
/// The unit of a stream, in bytes.
const BLOCK_BYTES: u64 = 512;

/// In pax records: the time of the last change.
const PAX_MTIME: &str = "mtime";
/// In pax records: the version of the sparse map, and the size with the holes.
const PAX_SPARSE_MAJOR: &str = "GNU.sparse.major";
const PAX_SPARSE_MINOR: &str = "GNU.sparse.minor";
const PAX_SPARSE_SIZE: &str = "GNU.sparse.realsize";

/// How many bytes fill the last block of `length`.
fn padding(length: u64) -> u64 {
    (BLOCK_BYTES - length % BLOCK_BYTES) % BLOCK_BYTES
}

#[cfg(test)]
mod tests;
