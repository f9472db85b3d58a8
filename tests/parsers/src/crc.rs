//! Checksums mended: a fuzzer does not guess them, and whoever means harm knows how they are made.

use cairn_client::wire;
use cairn_store::record;
use codeq::config::{CodeqConfig, Crc32fast};

/// Durable records, one after the other: the checksum of each. A length beyond the end becomes what is left.
pub(crate) fn records(bytes: &[u8]) -> Vec<u8> {
    let mut mended = bytes.to_vec();
    let mut rest = mended.as_mut_slice();
    while let Some((header, after)) = rest.split_first_chunk_mut::<{ record::HEADER_BYTES }>() {
        let length = u32::from_le_bytes([header[6], header[7], header[8], header[9]]) as usize;
        let length = length.min(after.len());
        header[6..10].copy_from_slice(&(length as u32).to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..10]), &after[..length]);
        header[10..].copy_from_slice(&crc.to_le_bytes());
        rest = &mut after[length..];
    }
    mended
}

/// Frames of the data plane, likewise.
pub(crate) fn frames(bytes: &[u8]) -> Vec<u8> {
    let mut mended = bytes.to_vec();
    let mut rest = mended.as_mut_slice();
    while let Some((header, after)) = rest.split_first_chunk_mut::<{ wire::HEADER_BYTES }>() {
        let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
        let length = length.min(after.len());
        header[8..12].copy_from_slice(&(length as u32).to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..12]), &after[..length]);
        header[12..].copy_from_slice(&crc.to_le_bytes());
        rest = &mut after[length..];
    }
    mended
}

/// A file of the Raft log: raft-log's records `kind u32 | content | crc32 as u64`, big-endian, and our own checksum of an
/// entry's length in it. Whatever is of no known kind, or cut off, stays as it is.
pub(crate) fn log(bytes: &[u8]) -> Vec<u8> {
    let mut mended = bytes.to_vec();
    let mut at = 0;
    while let Some(content) = log_content(&mut mended, at + KIND_BYTES, at) {
        let end = at + KIND_BYTES + content;
        let Some((record, rest)) = mended.split_at_mut_checked(end) else { break };
        let Some(place) = rest.first_chunk_mut::<CRC_BYTES>() else { break };
        *place = Crc32fast::hash(&record[at..]).to_be_bytes();
        at = end + CRC_BYTES;
    }
    mended
}

const KIND_BYTES: usize = 4;
const CRC_BYTES: usize = 8;
const ID_BYTES: usize = 18;
const VOTE_BYTES: usize = 26;

/// How long the content of the record at `at` is, which begins at `start`.
fn log_content(bytes: &mut [u8], start: usize, at: usize) -> Option<usize> {
    let [0, 0, 0, kind] = *bytes.get(at..start)? else { return None };
    Some(match kind {
        0 => VOTE_BYTES,
        1 => ID_BYTES + payload(bytes, start + ID_BYTES)?,
        2 | 4 => ID_BYTES,
        3 => optional(bytes, start, ID_BYTES)?,
        // A checkpoint: its version, then what the log holds, each if there is any.
        5 => {
            let mut end = start + 1;
            for part in [VOTE_BYTES, ID_BYTES, ID_BYTES, ID_BYTES, 0] {
                end += optional(bytes, end, part)?;
            }
            end - start
        }
        _ => return None,
    })
}

fn optional(bytes: &[u8], at: usize, length: usize) -> Option<usize> {
    Some(if *bytes.get(at)? == 0 { 1 } else { 1 + length })
}

/// `length u32 | crc32c of it | body`, little-endian.
fn payload(bytes: &mut [u8], at: usize) -> Option<usize> {
    let rest = bytes.get_mut(at..)?;
    let (head, body) = rest.split_first_chunk_mut::<8>()?;
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let length = length.min(body.len().saturating_sub(CRC_BYTES));
    head[..4].copy_from_slice(&(length as u32).to_le_bytes());
    let crc = crc32c::crc32c(&head[..4]);
    head[4..].copy_from_slice(&crc.to_le_bytes());
    Some(8 + length)
}

/// A tar stream: the checksum of each header. A size that is no octal number counts as none.
pub(crate) fn tar(bytes: &[u8]) -> Vec<u8> {
    let mut mended = bytes.to_vec();
    let mut rest = mended.as_mut_slice();
    while let Some((header, after)) = rest.split_first_chunk_mut::<TAR_BLOCK>() {
        if header.iter().any(|byte| *byte != 0) {
            header[148..156].copy_from_slice(b"        ");
            let sum: u32 = header.iter().copied().map(u32::from).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        let size = std::str::from_utf8(&header[124..135]).ok().and_then(|text| usize::from_str_radix(text, 8).ok());
        let blocks = size.unwrap_or(0).div_ceil(TAR_BLOCK);
        let skipped = blocks.saturating_mul(TAR_BLOCK).min(after.len());
        rest = &mut after[skipped..];
    }
    mended
}

const TAR_BLOCK: usize = 512;
