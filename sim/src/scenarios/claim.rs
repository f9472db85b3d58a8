//! The owner dies, another node takes the segment over, and the old owner comes back: it is refused.

use anyhow::{Context as _, ensure};
use cairn_client::api::Code;

use crate::cluster::Cluster;

pub(super) async fn play(cluster: Cluster) -> anyhow::Result<()> {
    let nodes = cluster.executors_without(&[]);
    let owner = nodes.get(cluster.rng.index(nodes.len())).context("no node")?.as_str();
    let others = cluster.executors_without(&[owner]);
    let heir = others.first().context("no heir")?.as_str();

    let first = cluster.rng.bytes(300_000);
    let saved = cluster.save(owner, "job/state", &first).await?;
    cluster.crash(&[owner]).await;
    let (loaded, got) = cluster.load(heir, "job/state", true).await?;
    ensure!(got == first && loaded.claimed && loaded.epoch > saved.epoch, "{loaded:?}");

    // Two nodes are up: one copy is what the heir can have.
    let second = cluster.rng.bytes(200_000);
    let request = cluster.save_request("job/state")?;
    let request = cairn_client::api::SaveRequest { replicas: 1, ..request };
    let taken_over = cluster.save_with(heir, &request, &second).await??;
    ensure!(taken_over.version == saved.version.next(), "{taken_over:?}");

    cluster.start(&[owner]).await;
    let request = cluster.save_request("job/state")?;
    let refused = cluster.save_with(owner, &request, &cluster.rng.bytes(1_000)).await?;
    let error = refused.err().context("the old owner could save")?;
    ensure!(error.code == Code::Conflict, "{error:?}");
    let (_, got) = cluster.load(owner, "job/state", false).await?;
    ensure!(got == second, "the heir's version is not what the old owner sees");
    Ok(())
}
