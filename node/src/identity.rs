//! Who a node is: `node.toml` in its folder, written once, when it founds or joins a cluster.

use cairn_store::id::{ClusterId, Incarnation, NodeId};
use serde::{Deserialize, Serialize};

/// The newest version of the file that this build reads.
const VERSION: u32 = 1;

/// Who a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its id there.
    pub node: NodeId,
    /// The life of its folder.
    pub incarnation: Incarnation,
    /// Whether it founded the cluster.
    pub founder: bool,
}

/// A `node.toml` that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Not TOML, or not these keys.
    #[error("node.toml cannot be read: {0}")]
    Damaged(String),
    /// Written by a newer program.
    #[error("node.toml has version {0}, this build reads up to {VERSION}: a newer cairnd wrote it")]
    Version(u32),
    /// The bytes were changed.
    #[error("node.toml does not match its checksum: it was edited or damaged")]
    Checksum,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    cluster: ClusterId,
    node: u64,
    incarnation: Incarnation,
    founder: bool,
    crc: String,
}

impl Identity {
    /// The text of `node.toml`.
    pub fn to_toml(&self) -> Result<String, IdentityError> {
        let Self { cluster, node, incarnation, founder } = self.clone();
        let file = File { version: VERSION, cluster, node: node.0, incarnation, founder, crc: self.crc() };
        let text = toml::to_string(&file).map_err(|e| IdentityError::Damaged(e.to_string()))?;
        Ok(format!("# Who this node is. Written once; never edit or copy it.\n{text}"))
    }

    /// Reads the text of `node.toml`.
    pub fn from_toml(text: &str) -> Result<Self, IdentityError> {
        let File { version, cluster, node, incarnation, founder, crc } =
            toml::from_str(text).map_err(|e| IdentityError::Damaged(e.to_string()))?;
        if version != VERSION {
            return Err(IdentityError::Version(version));
        }
        let identity = Self { cluster, node: NodeId(node), incarnation, founder };
        if identity.crc() == crc { Ok(identity) } else { Err(IdentityError::Checksum) }
    }

    fn crc(&self) -> String {
        let Self { cluster, node, incarnation, founder } = self;
        format!("{:08x}", crc32c::crc32c(format!("{cluster} {} {incarnation} {founder}", node.0).as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn identity() -> Identity {
        let cluster = ClusterId(Uuid::from_u128(1));
        Identity { cluster, node: NodeId(3), incarnation: Incarnation(Uuid::from_u128(2)), founder: false }
    }

    #[test]
    fn the_file_is_frozen() {
        let text = identity().to_toml().unwrap();
        assert_eq!(text, include_str!("../fixtures/node-v1.toml"), "a change needs a new version");
        assert_eq!(Identity::from_toml(&text).unwrap(), identity());
    }

    #[test]
    fn edits_are_noticed() {
        let text = identity().to_toml().unwrap();
        let edited = text.replace("node = 3", "node = 4");
        assert!(matches!(Identity::from_toml(&edited), Err(IdentityError::Checksum)));
        let newer = text.replace("version = 1", "version = 2");
        assert!(matches!(Identity::from_toml(&newer), Err(IdentityError::Version(2))));
        assert!(matches!(Identity::from_toml("version = "), Err(IdentityError::Damaged(_))));
    }
}
