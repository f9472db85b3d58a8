//! A disk fills up while repairs go on: it takes no more copies, others do, and the node goes on with what it has.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use cairn_store::disk::Disk as _;
use tokio::time::sleep;

use super::copies::{save_some, whole_without};
use crate::cluster::Cluster;

/// What is left on the disk above the reserve: no copy of any size fits, and the log does.
const LEFT: u64 = 4 << 10;

pub(super) async fn play(cluster: Cluster) -> anyhow::Result<()> {
    let names = save_some(&cluster).await?;
    let leader = cluster.leader().await?;
    let others = cluster.executors_without(&[&leader]);
    let (lost, full) = (others.first().context("no node")?, others.get(1).context("no other node")?);
    cluster.crash(&[lost]).await;
    sleep(cluster.spec.limits.repair_after + Duration::from_millis(cluster.rng.below(6_000))).await;

    let machine = cluster.machine(full)?.clone();
    let space = machine.disk.space()?;
    machine.disk.set_capacity(space.total - space.free + cluster.spec.limits.reserve + LEFT);
    let held = machine.disk.copies();
    whole_without(&cluster, &names, &[lost]).await?;
    ensure!(machine.is_on(), "{full} ended because its disk was full");
    // Those that had begun before have taken their room.
    let begun = cluster.spec.limits.repair_transfers;
    let more = machine.disk.copies().difference(&held).count();
    ensure!(more <= begun, "{full} took {more} copies though its disk is full");

    // Somebody makes room.
    machine.disk.set_capacity(cluster.spec.disk_bytes);
    cluster.start(&[lost]).await;
    cluster.ready().await?;
    whole_without(&cluster, &names, &[]).await
}
