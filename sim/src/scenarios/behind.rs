//! A node is away until the log has no place for it any more: a snapshot brings it back, and a restart keeps it.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use cairn_client::api::SaveRequest;
use tokio::time::sleep;

use crate::cluster::Cluster;

/// More than a snapshot and the entries behind it together.
const SAVES: usize = 60;

pub(super) async fn play(cluster: Cluster) -> anyhow::Result<()> {
    let nodes = cluster.executors_without(&[]);
    let away = nodes.get(cluster.rng.index(nodes.len())).context("no node")?.as_str();
    let others = cluster.executors_without(&[away]);
    let saver = others.first().context("no other node")?.as_str();
    cluster.save(saver, "job/old", &cluster.rng.bytes(10_000)).await?;
    cluster.crash(&[away]).await;

    let mut last = Vec::new();
    for _ in 0..SAVES {
        last = cluster.rng.bytes(2_000);
        let request = SaveRequest { replicas: 1, ..cluster.save_request("job/state")? };
        cluster.save_with(saver, &request, &last).await??;
    }
    cluster.start(&[away]).await;
    sleep(Duration::from_millis(cluster.rng.below(1_500))).await;
    // Sometimes in the middle of the snapshot.
    if cluster.rng.below(2) == 0 {
        cluster.crash(&[away]).await;
        cluster.start(&[away]).await;
    }
    let (_, got) = cluster.load(away, "job/state", false).await?;
    ensure!(got == last, "the node that was away sees something else");
    cluster.ready().await?;
    // All of them start from snapshots.
    let all: Vec<&str> = nodes.iter().map(String::as_str).collect();
    cluster.crash(&all).await;
    cluster.start(&all).await;
    cluster.ready().await?;
    let (_, got) = cluster.load(saver, "job/state", false).await?;
    ensure!(got == last, "a restart from snapshots sees something else");
    Ok(())
}
