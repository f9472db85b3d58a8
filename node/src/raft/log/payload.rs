//! What an entry carries, as the log writes it: `length u32 | crc32c of the length u32 | body`, little-endian.
//!
//! raft-log's checksum comes after the body. Without one over the length, a flipped bit there asks for more bytes
//! than the file has, and that looks like a torn write: acknowledged entries would be cut away in silence.
//!
//! The body is bincode: the version, then openraft's payload. The entry's id is raft-log's part of the record.
//! `node/fixtures` holds a body of each version.

use std::io::{self, Read, Write};

use bincode::Options;
use bytes::Bytes;
use cairn_store::record::{BODY_BYTES_MAX, bincode_options};
use codeq::{Decode, Encode};

use super::types::{invalid, read_bytes, unknown_version};
use crate::raft::types::Types;

/// Blank, membership, or an application's entry.
pub(super) type EntryPayload = openraft::type_config::alias::EntryPayloadOf<Types>;

/// Raised when the body changes.
pub(super) const VERSION: u16 = 1;

/// An encoded payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Payload(pub(super) Bytes);

impl Payload {
    /// How much memory it takes, in bytes.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Encodes. An error if it is larger than any record may be.
    pub(super) fn encode_entry(payload: &EntryPayload) -> io::Result<Self> {
        let body = bincode_options().serialize(&(VERSION, payload)).map_err(|e| invalid(e.to_string()))?;
        Ok(Self(body.into()))
    }

    /// Decodes. An error is a defect, not damage: the checksums were right.
    pub(super) fn decode_entry(&self) -> io::Result<EntryPayload> {
        self.check_version()?;
        let (_, payload): (u16, EntryPayload) = bincode_options()
            .deserialize(&self.0)
            .map_err(|e| invalid(format!("a log entry cannot be decoded: {e}")))?;
        Ok(payload)
    }

    fn check_version(&self) -> io::Result<()> {
        let found: u16 = bincode_options()
            .allow_trailing_bytes()
            .deserialize(&self.0)
            .map_err(|e| invalid(format!("a log entry has no version: {e}")))?;
        if found == VERSION { Ok(()) } else { Err(unknown_version("a log entry", found, VERSION)) }
    }
}

impl Encode for Payload {
    fn encode<W: Write>(&self, mut w: W) -> io::Result<usize> {
        let length = u32::try_from(self.0.len()).map_err(|_| invalid("a log entry is too long"))?.to_le_bytes();
        w.write_all(&length)?;
        w.write_all(&crc32c::crc32c(&length).to_le_bytes())?;
        w.write_all(&self.0)?;
        Ok(8 + self.0.len())
    }
}

impl Decode for Payload {
    fn decode<R: Read>(mut r: R) -> io::Result<Self> {
        let length: [u8; 4] = read_bytes(&mut r)?;
        let check: [u8; 4] = read_bytes(&mut r)?;
        if crc32c::crc32c(&length).to_le_bytes() != check {
            return Err(invalid("the length of a log entry does not match its checksum"));
        }
        let length = u32::from_le_bytes(length) as usize;
        if length > BODY_BYTES_MAX {
            return Err(invalid(format!("a log entry claims {length} bytes, more than any has")));
        }
        let mut body = vec![0; length];
        r.read_exact(&mut body)?;
        let payload = Self(body.into());
        // At open rather than when the entry is applied.
        payload.check_version()?;
        Ok(payload)
    }
}
