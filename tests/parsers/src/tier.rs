//! What lies in the global tier: keys as text, and manifests.

use cairn_store::archive::key::{KEY_BYTES_MAX, Key, Part, Stem};
use cairn_store::archive::manifest::{MANIFEST_BYTES_MAX, Manifest};
use cairn_store::digest::Digest;
use cairn_store::id::{ClusterId, CopyId, SegmentId};
use cairn_store::segment::Version;
use uuid::Uuid;

use crate::named;

const MANIFEST_V1: &[u8] = include_bytes!("../../../store/fixtures/manifest-v1.json");

/// Bytes that may be either; a manifest's checksum is mended, so that what it says is reached too.
pub fn run(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(key) = text.parse::<Key>() {
            assert_eq!(key.to_string(), text, "a key is written in one way");
            assert!(text.len() <= KEY_BYTES_MAX);
        }
        let said = text.lines().next().unwrap_or_default();
        manifest(format!("{said}\n{{\"blake3\":\"{}\"}}\n", Digest::of(said.as_bytes())).as_bytes());
    }
    manifest(bytes);
}

fn manifest(bytes: &[u8]) {
    let Ok(manifest) = Manifest::decode(bytes) else { return };
    assert!(bytes.len() <= MANIFEST_BYTES_MAX);
    // It may be written shorter than it was read; what it says is the same.
    if let Ok(written) = manifest.encode() {
        assert_eq!(Manifest::decode(&written).expect("what was written is read"), manifest);
    }
    let key = manifest.stem().key(Part::Bytes).to_string();
    assert_eq!(key.parse(), Ok(manifest.stem().key(Part::Bytes)));
}

/// A manifest, and a key of each kind.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let uuid = Uuid::from_u128;
    let (cluster, segment, object) = (ClusterId(uuid(1)), SegmentId(uuid(2)), CopyId(uuid(3)));
    let stem = Stem { cluster, segment, version: Version(7), digest: Digest::of(b"bytes"), object };
    let key = |key: Key| key.to_string().into_bytes();
    named([
        ("manifest", MANIFEST_V1.to_vec()),
        ("bytes", key(stem.key(Part::Bytes))),
        ("table", key(stem.key(Part::Table))),
        ("manifest-key", key(stem.key(Part::Manifest))),
        ("backup", key(Key::Backup(cluster, 90))),
        ("mark", key(Key::Mark)),
    ])
}
