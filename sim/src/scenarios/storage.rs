//! Storage-only nodes hold copies, and neither load nor own.

use anyhow::{Context as _, ensure};
use cairn_client::api::{ClaimRequest, Code};
use std::time::Duration;

use crate::cluster::Cluster;

pub(super) async fn play(cluster: Cluster) -> anyhow::Result<()> {
    let bytes = cluster.rng.bytes(123_456);
    let request = cairn_client::api::SaveRequest { replicas: 3, ..cluster.save_request("job/state")? };
    let saved = cluster.save_with("n1", &request, &bytes).await??;
    let mut holders: Vec<&str> = saved.replicas.iter().map(|r| r.node.as_str()).collect();
    holders.sort_unstable();
    ensure!(holders == ["n2", "s1", "s2"], "{holders:?}");

    let refused = cluster.try_load("s1", "job/state", false).await?.err().context("a storage node loaded")?;
    ensure!(refused.code == Code::Conflict, "{refused:?}");
    let request = cluster.save_request("job/other")?;
    let refused = cluster.save_with("s1", &request, &bytes).await?.err().context("a storage node saved")?;
    ensure!(refused.code == Code::Conflict, "{refused:?}");
    let request = cluster.new_request();
    let client = cluster.client("s2")?;
    let asked = client.call(true, |rpc, context| {
        let (wait, name) = (Duration::from_secs(5), saved.name.clone());
        let claim = ClaimRequest { request, wait, name, lease: None, if_epoch: None, create: None };
        async move { rpc.claim(context, claim).await }
    });
    let refused = asked.await.err().context("a storage node claimed")?;
    ensure!(refused.code == Code::Conflict, "{refused:?}");

    // The owner's disk goes with it; n2 takes over from what the storage nodes hold too.
    cluster.crash(&["n1"]).await;
    let (loaded, got) = cluster.load("n2", "job/state", true).await?;
    ensure!(got == bytes && loaded.claimed, "{loaded:?}");
    Ok(())
}
