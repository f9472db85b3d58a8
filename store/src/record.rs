//! The envelope of every durable record: `kind u32 | version u16 | length u32 | crc32c u32 | body`, little-endian.
//!
//! The checksum covers the header before it and the body. The body is bincode with the crate-wide options. One
//! frozen struct per kind and version; a reader that meets an unknown one stops with a clear error and skips nothing.

use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The bytes before the body.
pub const HEADER_BYTES: usize = 14;

/// The longest body, in bytes.
pub const BODY_BYTES_MAX: usize = 64 << 20;

/// What a record is: four letters on disk, and the version of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Four ASCII letters.
    pub tag: [u8; 4],
    /// Raised when the body changes.
    pub version: u16,
}

/// Why bytes are not the record that was expected.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes end before the record does.
    #[error("the record is cut off")]
    Short,
    /// Another kind of record.
    #[error("this is a record of kind {found:?}, not {wanted:?}")]
    Kind {
        /// The tag in the bytes.
        found: String,
        /// The tag that was expected.
        wanted: String,
    },
    /// A version that this build does not know.
    #[error("the record has version {found}, this build reads up to {known}: a newer cairnd wrote it")]
    Version {
        /// The version in the bytes.
        found: u16,
        /// The newest version that is known.
        known: u16,
    },
    /// The record claims to be larger than any record is.
    #[error("the record claims {0} bytes, more than any record has")]
    TooLong(u32),
    /// The bytes are damaged.
    #[error("the record's checksum does not match its bytes")]
    Checksum,
    /// The checksum matches and the body does not decode: a defect, not damage.
    #[error("the record's body cannot be decoded: {0}")]
    Body(String),
}

/// How bodies are encoded: varint integers, no trailing bytes, bounded.
pub fn bincode_options() -> impl Options {
    bincode::DefaultOptions::new().with_limit(BODY_BYTES_MAX as u64)
}

/// The record's bytes.
pub fn encode<T: Serialize>(kind: Kind, body: &T) -> Result<Vec<u8>, RecordError> {
    let body = bincode_options().serialize(body).map_err(|e| RecordError::Body(e.to_string()))?;
    let length = u32::try_from(body.len()).map_err(|_| RecordError::TooLong(u32::MAX))?;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(&kind.tag);
    bytes.extend_from_slice(&kind.version.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes), &body);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// The first record in `bytes`, and what follows it.
pub fn decode<T: DeserializeOwned>(kind: Kind, bytes: &[u8]) -> Result<(T, &[u8]), RecordError> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(RecordError::Short)?;
    let length = body_len(kind, header)?;
    let (body, rest) = rest.split_at_checked(length).ok_or(RecordError::Short)?;
    let (covered, crc) = header.split_at(HEADER_BYTES - 4);
    if crc32c::crc32c_append(crc32c::crc32c(covered), body).to_le_bytes() != crc {
        return Err(RecordError::Checksum);
    }
    let body = bincode_options().deserialize(body).map_err(|e| RecordError::Body(e.to_string()))?;
    Ok((body, rest))
}

/// The length of the body that follows `header`, checked.
pub fn body_len(kind: Kind, header: &[u8; HEADER_BYTES]) -> Result<usize, RecordError> {
    let [t0, t1, t2, t3, v0, v1, l0, l1, l2, l3, ..] = *header;
    let (tag, version, length) =
        ([t0, t1, t2, t3], u16::from_le_bytes([v0, v1]), u32::from_le_bytes([l0, l1, l2, l3]));
    if tag != kind.tag {
        let text = |tag: [u8; 4]| tag.escape_ascii().to_string();
        return Err(RecordError::Kind { found: text(tag), wanted: text(kind.tag) });
    }
    if version != kind.version {
        return Err(RecordError::Version { found: version, known: kind.version });
    }
    if length as usize > BODY_BYTES_MAX {
        return Err(RecordError::TooLong(length));
    }
    Ok(length as usize)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIND: Kind = Kind { tag: *b"TEST", version: 3 };

    proptest! {
        #[test]
        fn what_was_encoded_decodes(number: u64, text: String, tail: Vec<u8>) {
            let mut bytes = encode(KIND, &(number, &text)).unwrap();
            bytes.extend_from_slice(&tail);
            let (body, rest) = decode::<(u64, String)>(KIND, &bytes).unwrap();
            prop_assert_eq!(body, (number, text));
            prop_assert_eq!(rest, &tail[..]);
        }

        #[test]
        fn any_flipped_bit_and_any_cut_is_found(text: String, at in any::<prop::sample::Index>(), bit in 0..8u8) {
            let good = encode(KIND, &text).unwrap();
            let at = at.index(good.len());
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            prop_assert!(decode::<String>(KIND, &bad).is_err());
            prop_assert_eq!(decode::<String>(KIND, &good[..at]), Err(RecordError::Short));
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let _ = decode::<Vec<String>>(KIND, &bytes);
        }
    }

    #[test]
    fn another_kind_or_version_is_named() {
        let bytes = encode(KIND, &1u8).unwrap();
        let other = Kind { tag: *b"ELSE", version: 3 };
        let newer = Kind { tag: *b"TEST", version: 2 };
        let kind = RecordError::Kind { found: "TEST".into(), wanted: "ELSE".into() };
        assert_eq!(decode::<u8>(other, &bytes), Err(kind));
        assert_eq!(decode::<u8>(newer, &bytes), Err(RecordError::Version { found: 3, known: 2 }));
    }
}
