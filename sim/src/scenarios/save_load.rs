//! A segment that was saved on one node loads on another, whatever its size.

use anyhow::ensure;
use cairn_client::api::LoadRequest;
use cairn_store::digest::BLOCK_BYTES;

use crate::cluster::Cluster;

pub(super) async fn play(cluster: Cluster) -> anyhow::Result<()> {
    for size in [0, 1, 5_000, BLOCK_BYTES, 2 * BLOCK_BYTES + 17] {
        let (name, bytes) = (format!("job/size-{size}"), cluster.rng.bytes(size));
        let saved = cluster.save("n1", &name, &bytes).await?;
        ensure!(saved.version.0 == 1 && saved.replicas.len() == 2, "{saved:?}");
        let (loaded, got) = cluster.load("n2", &name, false).await?;
        ensure!(got == bytes && loaded.version == saved.version && !loaded.claimed, "{loaded:?}");
        ensure!(loaded.owner.as_ref().is_some_and(|owner| owner.as_str() == "n1"), "{loaded:?}");
    }
    let newer = cluster.rng.bytes(9_000);
    let saved = cluster.save("n1", "job/size-1", &newer).await?;
    ensure!(saved.version.0 == 2, "{saved:?}");
    // An agent asks one node to have another one load.
    let request = LoadRequest { on: Some("n3".parse()?), ..cluster.load_request("job/size-1")? };
    let (loaded, got) = cluster.load_with("n2", &request).await??;
    ensure!(got == newer && loaded.node.as_str() == "n3", "{loaded:?}");
    Ok(())
}
