//! Nodes are lost, come back, and are emptied; every version has its copies again each time, and in the end nothing more.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use cairn_store::node::NodeName;
use tokio::time::sleep;

use super::copies::{holders, save_some, whole_without};
use crate::cluster::Cluster;

pub(super) async fn play(cluster: Cluster) -> anyhow::Result<()> {
    let names = save_some(&cluster).await?;
    let view = cluster.leader().await?;
    let others = cluster.executors_without(&[&view]);
    let (first, second) = (others.first().context("no node")?, others.get(1).context("no other node")?);

    // A node that comes back in time costs nothing.
    let before = holders(&cluster, &view, &names)?;
    cluster.crash(&[first]).await;
    sleep(cluster.spec.limits.repair_after / 4).await;
    cluster.start(&[first]).await;
    cluster.ready().await?;
    ensure!(holders(&cluster, &view, &names)? == before, "a short absence moved copies");

    // One is lost; and in the middle of its repair, another one.
    cluster.crash(&[first]).await;
    sleep(cluster.spec.limits.repair_after + Duration::from_millis(cluster.rng.below(8_000))).await;
    cluster.crash(&[second]).await;
    whole_without(&cluster, &names, &[first, second]).await?;

    // They come back with what they had: that is too much now.
    cluster.start(&[first, second]).await;
    cluster.ready().await?;
    whole_without(&cluster, &names, &[]).await?;

    // One is emptied.
    let emptied: NodeName = first.parse()?;
    let leader = cluster.leader().await?;
    cluster.client(&leader)?.drain(&emptied, true).await?;
    whole_without(&cluster, &names, &[first]).await?;
    let machine = cluster.machine(first)?;
    cluster.until("an emptied disk", || machine.disk.copies().is_empty().then_some(())).await?;
    cluster.client(&leader)?.drain(&emptied, false).await?;
    Ok(())
}
