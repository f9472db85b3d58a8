//! What the tier itself says of a version: enough to have it back when every node is gone.
//!
//! Two lines of JSON, for people and for programs: what is said, and the BLAKE3 of that line. Written once, never changed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Policy;
use super::key::Stem;
use crate::digest::Digest;
use crate::id::{ClusterId, CopyId, NodeId, RequestId, SegmentId};
use crate::name::Name;
use crate::segment::{Epoch, Kind, Segment, Version, VersionRecord};
use crate::time::WallTime;

/// The largest manifest, in bytes: one with as many labels as a segment may have takes a third of it.
pub const MANIFEST_BYTES_MAX: usize = 64 << 10;

/// The format that is written, and the newest that is read.
pub const FORMAT: u16 = 1;

/// A version, as it was committed. What may change later (pins, holders, who owns it now) is not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The cluster that put it there.
    pub cluster: ClusterId,
    /// The segment.
    pub segment: SegmentId,
    /// Its name.
    pub name: Name,
    /// What the bytes are.
    pub kind: Kind,
    /// The version.
    pub version: Version,
    /// In which epoch it was committed.
    pub epoch: Epoch,
    /// The segment's epoch when this was written: what follows begins above it, and above its generation (R12).
    pub segment_epoch: Epoch,
    /// By which node of that cluster.
    pub owner: NodeId,
    /// By which request.
    pub request: RequestId,
    /// When, in milliseconds since 1970.
    pub created_ms: u64,
    /// In bytes.
    pub size: u64,
    /// BLAKE3 of the bytes.
    #[serde(with = "hex")]
    pub digest: Digest,
    /// The object that holds them.
    pub object: CopyId,
    /// Copies on other nodes that are wanted.
    pub replicas: u8,
    /// Versions that the segment keeps.
    pub keep: u32,
    /// Which versions of it go into the tier; none: as nodes are told.
    pub archive: Option<Policy>,
    /// Free words of the user.
    pub labels: BTreeMap<String, String>,
}

/// Why bytes are no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// They end early, go on too long, or do not match their checksum.
    #[error("the manifest is damaged: {0}")]
    Damaged(String),
    /// A newer program wrote it.
    #[error("the manifest has format {0}, and this program reads up to {FORMAT}: a newer one wrote it")]
    Newer(u16),
}

#[derive(Serialize)]
struct Said<'a> {
    format: u16,
    #[serde(flatten)]
    manifest: &'a Manifest,
}

#[derive(Deserialize)]
struct Format {
    format: u16,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Check {
    #[serde(with = "hex")]
    blake3: Digest,
}

impl Manifest {
    /// Of a version of a segment, whose bytes are this object.
    pub fn of(
        segment: &Segment,
        version: Version,
        record: &VersionRecord,
        stem: &Stem,
        archive: Option<Policy>,
    ) -> Self {
        Self {
            cluster: stem.cluster,
            segment: segment.id,
            name: segment.name.clone(),
            kind: segment.kind,
            version,
            epoch: record.epoch,
            segment_epoch: segment.epoch,
            owner: record.owner,
            request: record.request,
            created_ms: record.created.0,
            size: record.size,
            digest: record.digest,
            object: stem.object,
            replicas: record.wanted,
            keep: segment.keep,
            archive,
            labels: segment.labels.clone(),
        }
    }

    /// Where the object lies.
    pub fn stem(&self) -> Stem {
        let Self { cluster, segment, version, digest, object, .. } = *self;
        Stem { cluster, segment, version, digest, object }
    }

    /// The version, without holders.
    pub fn record(&self) -> VersionRecord {
        VersionRecord {
            size: self.size,
            digest: self.digest,
            created: WallTime(self.created_ms),
            epoch: self.epoch,
            owner: self.owner,
            request: self.request,
            wanted: self.replicas,
            copies: Vec::new(),
            ended: Vec::new(),
            pinned: false,
        }
    }

    /// As it is written.
    ///
    /// # Errors
    /// It is larger than any may be.
    pub fn encode(&self) -> Result<Vec<u8>, ManifestError> {
        let said = serde_json::to_string(&Said { format: FORMAT, manifest: self }).map_err(damaged)?;
        let check = serde_json::to_string(&Check { blake3: Digest::of(said.as_bytes()) }).map_err(damaged)?;
        let text = format!("{said}\n{check}\n");
        if text.len() > MANIFEST_BYTES_MAX { Err(damaged("it is too long")) } else { Ok(text.into_bytes()) }
    }

    /// Reads one.
    ///
    /// # Errors
    /// As [`ManifestError`] says.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(damaged("it is too long"));
        }
        let text = std::str::from_utf8(bytes).map_err(damaged)?;
        let (said, check) = text.split_once('\n').ok_or_else(|| damaged("it has no second line"))?;
        let check = check.strip_suffix('\n').ok_or_else(|| damaged("it ends early"))?;
        let Check { blake3 } = serde_json::from_str(check).map_err(damaged)?;
        if blake3 != Digest::of(said.as_bytes()) {
            return Err(damaged("its checksum does not match"));
        }
        let mut said: serde_json::Value = serde_json::from_str(said).map_err(damaged)?;
        let Format { format } = Format::deserialize(&said).map_err(damaged)?;
        if format > FORMAT {
            return Err(ManifestError::Newer(format));
        }
        if let Some(fields) = said.as_object_mut() {
            fields.remove("format");
        }
        serde_json::from_value(said).map_err(damaged)
    }
}

fn damaged(why: impl ToString) -> ManifestError {
    ManifestError::Damaged(why.to_string())
}

/// Digests as people write them.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::digest::Digest;

    pub(super) fn serialize<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(digest)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use uuid::Uuid;

    use super::*;

    fn manifest() -> Manifest {
        let uuid = Uuid::from_u128;
        Manifest {
            cluster: ClusterId(uuid(1)),
            segment: SegmentId(uuid(2)),
            name: "db/main".parse().unwrap(),
            kind: Kind::Tree,
            version: Version(7),
            epoch: Epoch(3),
            segment_epoch: Epoch(9),
            owner: NodeId(4),
            request: RequestId(uuid(5)),
            created_ms: 1_700_000_000_000,
            size: 70_000,
            digest: Digest::of(b"bytes"),
            object: CopyId(uuid(6)),
            replicas: 2,
            keep: 300,
            archive: Some(Policy::Every(5)),
            labels: [("app".to_owned(), "postgres".to_owned())].into(),
        }
    }

    /// `UPDATE_FIXTURE=1` writes it again: only for what a release has never written.
    #[test]
    fn the_manifest_of_format_1_is_written_and_read() {
        let written = manifest().encode().unwrap();
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/manifest-v1.json");
        if std::env::var_os("UPDATE_FIXTURE").is_some() {
            std::fs::write(&path, &written).unwrap();
        }
        let kept = std::fs::read(&path).unwrap();
        assert_eq!(Manifest::decode(&kept).unwrap(), manifest());
        assert!(kept == written, "the same manifest is written as other bytes");
    }

    #[test]
    fn what_is_damaged_is_refused() {
        let good = manifest().encode().unwrap();
        for place in 0..good.len() {
            assert!(Manifest::decode(&good[..place]).is_err(), "cut at {place}");
            let mut flipped = good.clone();
            flipped[place] ^= 1;
            assert!(Manifest::decode(&flipped).is_err(), "byte {place}");
        }
        assert!(Manifest::decode(&[&good[..], b" "].concat()).is_err());
        assert!(Manifest::decode(&vec![b'{'; MANIFEST_BYTES_MAX + 1]).is_err());
        let said = r#"{"format":2,"what":"ever"}"#;
        let newer = format!("{said}\n{{\"blake3\":\"{}\"}}\n", Digest::of(said.as_bytes()));
        assert!(matches!(Manifest::decode(newer.as_bytes()), Err(ManifestError::Newer(2))));
    }

    #[test]
    fn the_largest_manifest_fits() {
        let long = |nth: usize| format!("{nth:0255}");
        let labels = (0..crate::segment::LABELS_MAX).map(|nth| (long(nth), "\"".repeat(255))).collect();
        let name = "a".repeat(Name::MAX_BYTES).parse().unwrap();
        let manifest = Manifest { labels, name, size: u64::MAX, ..manifest() };
        assert_eq!(Manifest::decode(&manifest.encode().unwrap()).unwrap(), manifest);
    }
}
