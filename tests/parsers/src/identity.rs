//! Who a node is: its `node.toml`.

use cairn_node::identity::Identity;
use cairn_store::id::{ClusterId, Incarnation, NodeId};
use uuid::Uuid;

use crate::named;

/// The file's text; and an identity made of the bytes, whose text is changed in one place.
pub fn run(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(identity) = Identity::from_toml(text)
    {
        let written = identity.to_toml().expect("it can be written");
        assert_eq!(Identity::from_toml(&written).expect("and read"), identity);
    }
    let Some((seed, rest)) = bytes.split_first_chunk::<41>() else { return };
    let number = |at: usize| u128::from_le_bytes(seed[at..at + 16].try_into().unwrap());
    let identity = Identity {
        cluster: ClusterId(Uuid::from_u128(number(0))),
        node: NodeId(u64::from_le_bytes(seed[32..40].try_into().unwrap())),
        incarnation: Incarnation(Uuid::from_u128(number(16))),
        founder: seed[40] % 2 == 1,
    };
    // TOML has no larger numbers; ids are counted from 1.
    let Ok(text) = identity.to_toml() else {
        assert!(i64::try_from(identity.node.0).is_err());
        return;
    };
    assert_eq!(Identity::from_toml(&text).unwrap(), identity);
    let [at, byte, ..] = *rest else { return };
    let mut edited = text.into_bytes();
    let at = usize::from(at) % edited.len();
    edited[at] = byte;
    if let Ok(other) = std::str::from_utf8(&edited)
        && let Ok(other) = Identity::from_toml(other)
    {
        assert_eq!(other, identity, "an edit is not taken for another identity");
    }
}

/// The v1 fixture, and one that was edited.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let text = include_str!("../../../node/fixtures/node-v1.toml");
    named([
        ("v1", text.as_bytes().to_vec()),
        ("edited", text.replace("node = 3", "node = 4").into_bytes()),
        ("newer", text.replace("version = 1", "version = 2").into_bytes()),
        ("made-of", (0..48).collect()),
    ])
}
