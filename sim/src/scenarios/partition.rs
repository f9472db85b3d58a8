//! The leader is cut off. The majority goes on; the minority promises nothing; afterwards all is one again.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use cairn_client::api::SaveRequest;
use tokio::time::sleep;

use crate::cluster::Cluster;

pub(super) async fn play(cluster: Cluster) -> anyhow::Result<()> {
    let before = cluster.rng.bytes(50_000);
    let leader = cluster.leader().await?;
    let majority = cluster.executors_without(&[&leader]);
    let saver = majority.first().context("no majority")?.as_str();
    let loader = majority.last().context("no majority")?.as_str();
    cluster.save(saver, "job/state", &before).await?;

    cluster.isolate(&[&leader]).await;
    let after = cluster.rng.bytes(60_000);
    let saved = cluster.save(saver, "job/state", &after).await?;
    ensure!(saved.version.0 == 2, "{saved:?}");
    ensure!(saved.replicas.iter().all(|r| r.node.as_str() != leader), "{saved:?}");
    let (_, got) = cluster.load(loader, "job/state", true).await?;
    ensure!(got == after, "the majority does not see its own save");

    let request = SaveRequest { wait: Duration::from_secs(3), ..cluster.save_request("job/lonely")? };
    let lonely = cluster.save_with(&leader, &request, &before).await?;
    ensure!(lonely.is_err(), "a node without a quorum acknowledged a save");

    cluster.heal().await;
    sleep(Duration::from_millis(cluster.rng.below(3_000))).await;
    let (_, got) = cluster.load(&leader, "job/state", false).await?;
    ensure!(got == after, "the old leader does not see what happened without it");
    Ok(())
}
