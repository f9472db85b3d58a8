//! Names and ids, as text.

use std::fmt::{Debug, Display};
use std::path::{Component, Path};
use std::str::FromStr;

use cairn_client::request;
use cairn_store::digest::Digest;
use cairn_store::id::{ClusterId, CopyId, Incarnation, RequestId, SegmentId};
use cairn_store::name::Name;
use cairn_store::node::NodeName;

use crate::named;

/// A text that may be any of them.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(name) = text.parse::<Name>() {
        assert_eq!(name.as_str(), text, "a name prints as it was written");
        assert!(text.len() <= Name::MAX_BYTES);
        let down = |part| matches!(part, Component::Normal(part) if !part.as_encoded_bytes().starts_with(b"."));
        assert!(Path::new(text).components().all(down), "a name leads nowhere");
        (0..=text.len()).for_each(|end| assert_eq!(Name::check_prefix(&text[..end]), Ok(())));
    }
    // What can be the beginning of a name can be gone on with.
    if Name::check_prefix(text).is_ok() && text.len() < Name::MAX_BYTES {
        assert!(format!("{text}x").parse::<Name>().is_ok(), "{text:?}");
    }
    if let Ok(name) = text.parse::<NodeName>() {
        assert_eq!(name.as_str(), text);
        assert_eq!(Path::new(text).components().count(), 1, "a node's name is one part of a path");
    }
    same::<ClusterId>(text);
    same::<Incarnation>(text);
    same::<SegmentId>(text);
    same::<CopyId>(text);
    same::<RequestId>(text);
    same::<Digest>(text);
    let id = request::id_of(text);
    assert_eq!(id.is_ok(), (1..=request::TEXT_BYTES_MAX).contains(&text.len()));
    assert_eq!(id, request::id_of(text));
}

/// It prints as a text that means the same.
fn same<T: FromStr + Display + Debug + PartialEq>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string().parse::<T>().ok(), Some(value));
    }
}

/// One of each, and some that are refused.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    named([
        ("name", b"jobs/a-1/b_2.c".to_vec()),
        ("prefix", b"jobs/".to_vec()),
        ("node", b"n1.example-7".to_vec()),
        ("id", b"0198c0de-0000-7000-8000-000000000001".to_vec()),
        ("simple-id", b"{0198c0de000070008000000000000001}".to_vec()),
        ("urn", b"urn:uuid:0198c0de-0000-7000-8000-000000000001".to_vec()),
        ("digest", Digest::of(b"bytes").to_string().into_bytes()),
        ("long", "n".repeat(Name::MAX_BYTES).into_bytes()),
        ("too-long", "n/".repeat(128).into_bytes()),
        ("parent", b"a/../b".to_vec()),
        ("hidden", b".a/b".to_vec()),
        ("letters", "naïve".as_bytes().to_vec()),
    ])
}
