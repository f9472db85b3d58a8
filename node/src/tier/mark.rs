//! Which tier lies in an object store: a mark in it says so, whatever its address is.

use bytes::Bytes;
use cairn_store::archive::key::{MARK, probes};
use cairn_store::id::TierId;
use serde::{Deserialize, Serialize};

use super::{TierError, call};
use crate::core::Core;
use crate::env::{ObjectError, Objects};

/// The format that is written, and the newest that is read.
const FORMAT: u16 = 1;
/// The largest mark that is read, in bytes.
pub(crate) const MARK_BYTES_MAX: u64 = 4096;

#[derive(Serialize, Deserialize)]
struct Mark {
    format: u16,
    tier: TierId,
}

/// The tier that lies there.
///
/// A store without a mark gets one only if the cluster has no tier, and nothing in one: else it is rather another store than should be
/// here, or a folder on which nothing is mounted.
///
/// # Errors
/// The store is not reached; its mark is missing, and must not be; or it is no mark.
pub async fn find(core: &Core, objects: &dyn Objects) -> Result<TierId, TierError> {
    for _ in 0..2 {
        match call(core, objects.size(MARK)).await {
            Ok(size) => {
                let bytes = call(core, objects.read(MARK, 0..size.min(MARK_BYTES_MAX))).await?;
                return read(&bytes).map_err(|why| failed(&format!("{MARK} cannot be used: {why}")));
            }
            Err(TierError::Store(ObjectError::Missing)) => {}
            Err(error) => return Err(error),
        }
        let state = core.read(core.env.clock.now() + core.limits.idle).await.map_err(TierError::Cluster)?.state;
        let elsewhere = state.tiers.values().any(|reach| reach.known().is_some());
        if elsewhere || state.cluster.is_none() || state.archives.values().any(|archive| !archive.objects.is_empty())
        {
            return Err(failed(&format!(
                "there is no {MARK}, and this cluster has a tier: is it the right store, and is it mounted? (docs/global.md says how to begin another one)"
            )));
        }
        let tier = TierId(core.env.uuid());
        let text = serde_json::to_string(&Mark { format: FORMAT, tier }).map_err(|e| failed(&e.to_string()))?;
        // If another node was first, its mark counts.
        call(core, objects.create(MARK, Bytes::from(text + "\n"))).await?;
    }
    Err(failed(&format!("{MARK} was written, and is not there")))
}

/// Writes something small there, and removes it: whether it can.
///
/// # Errors
/// It cannot.
pub async fn probe(core: &Core, objects: &dyn Objects) -> Result<(), TierError> {
    // No key of a version or of a backup: nothing else looks at it.
    let key = format!("{}/{}", probes(core.identity.cluster), core.me().0);
    let text = Bytes::from(format!("{}\n", core.profile.name));
    let mut upload = call(core, objects.upload(&key, text.len() as u64)).await?;
    call(core, upload.part(text)).await?;
    call(core, upload.finish()).await?;
    // One that stays is swept.
    let _ = call(core, objects.delete(&key)).await;
    Ok(())
}

/// The tier that a mark names.
///
/// # Errors
/// It is no mark, or of a newer program.
pub(crate) fn read(bytes: &[u8]) -> Result<TierId, String> {
    let Mark { format, tier } = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    if format > FORMAT {
        return Err(format!("it has format {format}, and this program reads up to {FORMAT}: a newer one wrote it"));
    }
    Ok(tier)
}

fn failed(why: &str) -> TierError {
    TierError::Store(ObjectError::Failed(why.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_is_documented() {
        let tier = read(br#"{"format":1,"tier":"00000000-0000-0000-0000-000000000007"}"#).unwrap();
        assert_eq!(tier, TierId(uuid::Uuid::from_u128(7)));
        assert!(
            read(br#"{"format":2,"tier":"00000000-0000-0000-0000-000000000007"}"#).unwrap_err().contains("newer")
        );
        for wrong in [&b""[..], b"{}", b"tier", br#"{"format":1,"tier":"x"}"#] {
            assert!(read(wrong).is_err());
        }
    }
}
