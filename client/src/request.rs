//! Request ids: the same id gets the same result.

use cairn_store::id::RequestId;
use uuid::Uuid;

/// The longest text that an id is made of, in bytes.
pub const TEXT_BYTES_MAX: usize = 255;

/// A text that no request id is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a request id is a UUID or a text of 1 to {TEXT_BYTES_MAX} bytes")]
pub struct InvalidRequestId;

/// A new id, never used before.
pub fn new_id() -> RequestId {
    RequestId(Uuid::now_v7())
}

/// The id that a user's text stands for: a UUID is taken as it is, any other text is hashed.
pub fn id_of(text: &str) -> Result<RequestId, InvalidRequestId> {
    if text.is_empty() || text.len() > TEXT_BYTES_MAX {
        return Err(InvalidRequestId);
    }
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let mut hasher = blake3::Hasher::new_derive_key("cairn 2026 request id text");
    let mut bytes = [0; 16];
    hasher.update(text.as_bytes()).finalize_xof().fill(&mut bytes);
    Ok(RequestId(uuid::Builder::from_custom_bytes(bytes).into_uuid()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_taken_as_it_is() {
        let text = "0198c0de-0000-7000-8000-000000000001";
        assert_eq!(id_of(text).map(|id| id.to_string()), Ok(text.to_owned()));
    }

    #[test]
    fn a_text_is_hashed_the_same_way_for_ever() {
        assert_eq!(id_of("nightly-2026-01-01"), id_of("nightly-2026-01-01"));
        assert_ne!(id_of("a"), id_of("b"));
        assert_ne!(id_of("a"), id_of("a "));
        assert_eq!(id_of(""), Err(InvalidRequestId));
        assert_eq!(id_of(&"x".repeat(256)), Err(InvalidRequestId));
        assert!(id_of(&"x".repeat(255)).is_ok());
    }
}
