//! Where in the tier something lies: keys, all below one cluster's, and parsed as strictly as they are written.
//!
//! ```text
//! cairn.json                                                   which tier it is
//! <cluster>/objects/<segment>/<version>-<digest>-<object>      the plain bytes of a version
//! <cluster>/tables/<segment>/<version>-<digest>-<object>       the chaining values of their blocks
//! <cluster>/manifests/<segment>/<version>-<digest>-<object>    says that it is a version, and of what
//! <cluster>/backups/<revision>                                 the cluster's metadata at that revision
//! <cluster>/probes/<node>                                      for a moment: whether a node can write there
//! ```
//!
//! Versions and revisions have twenty digits, so that keys sort as they do.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;
use crate::id::{ClusterId, CopyId, SegmentId};
use crate::segment::Version;

/// What says which tier it is.
pub const MARK: &str = "cairn.json";

/// The longest key, in bytes: S3 takes 1,024, a prefix included.
pub const KEY_BYTES_MAX: usize = 512;

/// What an object of a version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The bytes.
    Bytes,
    /// Their block table.
    Table,
    /// What the tier says of the version.
    Manifest,
}

impl Part {
    /// Each of them, in the order in which they go: nothing says that bytes are there which are not.
    pub const ALL: [Self; 3] = [Self::Manifest, Self::Bytes, Self::Table];

    fn folder(self) -> &'static str {
        match self {
            Self::Bytes => "objects",
            Self::Table => "tables",
            Self::Manifest => "manifests",
        }
    }

    fn of(folder: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.folder() == folder)
    }
}

/// An object of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stem {
    /// Who put it there.
    pub cluster: ClusterId,
    /// The segment.
    pub segment: SegmentId,
    /// The version.
    pub version: Version,
    /// Of the bytes.
    pub digest: Digest,
    /// This attempt at it.
    pub object: CopyId,
}

impl Stem {
    /// The key of one of its parts.
    pub fn key(&self, part: Part) -> Key {
        Key::Object(*self, part)
    }
}

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// [`MARK`].
    Mark,
    /// Of a version.
    Object(Stem, Part),
    /// A backup of the metadata at a revision.
    Backup(ClusterId, u64),
}

/// The folder in which a cluster has all versions' parts of one kind.
pub fn folder(cluster: ClusterId, part: Part) -> String {
    format!("{cluster}/{}", part.folder())
}

/// The folder in which a cluster's nodes try whether they can write.
pub fn probes(cluster: ClusterId) -> String {
    format!("{cluster}/probes")
}

/// The folder in which a cluster has its backups.
pub fn backups(cluster: ClusterId) -> String {
    format!("{cluster}/backups")
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mark => f.write_str(MARK),
            Self::Object(stem, part) => {
                let Stem { cluster, segment, version, digest, object } = stem;
                let folder = part.folder();
                write!(f, "{cluster}/{folder}/{segment}/{:020}-{digest}-{}", version.0, object.0.simple())
            }
            Self::Backup(cluster, revision) => write!(f, "{cluster}/backups/{revision:020}"),
        }
    }
}

/// No key of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a key of this program")]
pub struct KeyError;

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let key = parse(text).ok_or(KeyError)?;
        // Ids and numbers can be written in several ways; a key in only one.
        if text.len() <= KEY_BYTES_MAX && key.to_string() == text { Ok(key) } else { Err(KeyError) }
    }
}

fn parse(text: &str) -> Option<Key> {
    if text == MARK {
        return Some(Key::Mark);
    }
    let (cluster, rest) = text.split_once('/')?;
    let cluster = cluster.parse().ok()?;
    let (folder, rest) = rest.split_once('/')?;
    if folder == "backups" {
        return Some(Key::Backup(cluster, rest.parse().ok()?));
    }
    let part = Part::of(folder)?;
    let (segment, name) = rest.split_once('/')?;
    let mut words = name.split('-');
    let (version, digest, object) = (words.next()?, words.next()?, words.next()?);
    let stem = Stem {
        cluster,
        segment: segment.parse().ok()?,
        version: Version(version.parse().ok()?),
        digest: digest.parse().ok()?,
        object: object.parse().ok()?,
    };
    words.next().is_none().then_some(Key::Object(stem, part))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn key() -> impl Strategy<Value = Key> {
        let ids = (any::<u128>(), any::<u128>(), any::<u128>());
        (ids, any::<u64>(), any::<[u8; 32]>(), 0..5usize).prop_map(|((a, b, c), number, digest, kind)| {
            let cluster = ClusterId(Uuid::from_u128(a));
            let (segment, object) = (SegmentId(Uuid::from_u128(b)), CopyId(Uuid::from_u128(c)));
            let stem = Stem { cluster, segment, version: Version(number), digest: Digest(digest), object };
            match Part::ALL.get(kind) {
                Some(part) => stem.key(*part),
                None if kind == 3 => Key::Backup(cluster, number),
                None => Key::Mark,
            }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn keys_are_read_as_they_were_written(key in key()) {
            let text = key.to_string();
            prop_assert!(text.len() <= KEY_BYTES_MAX);
            prop_assert_eq!(text.parse(), Ok(key));
            prop_assert_eq!(text.to_uppercase().parse::<Key>(), Err(KeyError));
            prop_assert_eq!(format!("{text}x").parse::<Key>(), Err(KeyError));
        }

        #[test]
        fn versions_sort_as_their_keys(stem in key(), a: u64, b: u64) {
            if let Key::Object(stem, part) = stem {
                let of = |version| Stem { version: Version(version), ..stem }.key(part).to_string();
                prop_assert_eq!(of(a).cmp(&of(b)), a.cmp(&b));
            }
        }

        #[test]
        fn what_is_no_key_is_refused(text in "[a-f0-9/-]{0,200}") {
            prop_assert_eq!(text.parse::<Key>(), Err(KeyError));
        }
    }

    #[test]
    fn a_key_is_as_documented() {
        let uuid = |number| Uuid::from_u128(number);
        let (cluster, segment) = (ClusterId(uuid(1)), SegmentId(uuid(2)));
        let (version, digest, object) = (Version(7), Digest::of(b""), CopyId(uuid(3)));
        let key = Stem { cluster, segment, version, digest, object }.key(Part::Bytes).to_string();
        let expected = "00000000-0000-0000-0000-000000000001/objects/00000000-0000-0000-0000-000000000002/\
            00000000000000000007-af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262-\
            00000000000000000000000000000003";
        assert_eq!(key, expected);
        assert!(key.starts_with(&format!("{}/", folder(cluster, Part::Bytes))));
        assert!(Key::Backup(cluster, 9).to_string().starts_with(&format!("{}/", backups(cluster))));
    }
}
