//! A voter is removed, and before the others have taken its vote away their power goes. It waits for a while, ends, and is not
//! marked: its vote may be wanted. When all are back it is told that it has none, and then it never starts again.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use cairn_store::disk::Disk as _;
use tokio::time::sleep;

use super::members::{come_back, until_off};
use crate::cluster::Cluster;

/// How long whoever asks for the removal waits: nobody answers soon.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) async fn play(cluster: Cluster) -> anyhow::Result<()> {
    let leader = cluster.leader().await?;
    let gone = cluster.executors_without(&[&leader]).first().context("no other node")?.clone();
    let others: Vec<&str> = cluster.machines().iter().map(|m| m.name.as_str()).filter(|name| *name != gone).collect();
    let machine = cluster.machine(&gone)?.clone();
    let (life, node) = (machine.incarnation(), machine.node_name()?);
    let asked = cluster.client_for(&leader, PATIENCE)?;
    let foretold = asked.check_remove_node(&node, false).await?;
    ensure!(foretold.refusal.is_none() && foretold.voters == 1, "{foretold:?}");

    // Looked at in every step of the world: the vote goes soon after.
    let knows = async {
        while !machine.view().is_some_and(|view| view.state.removed.contains_key(&foretold.id)) {
            sleep(Duration::from_millis(1)).await;
        }
        cluster.crash(&others).await;
    };
    let (_, ()) = tokio::join!(asked.remove_node(foretold.id, false), knows);
    let votes = machine.view().is_some_and(|view| view.membership.voter_ids().any(|id| id == foretold.id.0));
    ensure!(votes, "its vote was taken away before the others lost their power");
    until_off(&cluster, &gone).await?;
    ensure!(!machine.disk.was_removed(life)?, "a node was marked whose vote is wanted");

    cluster.start(&others).await;
    cluster.start(&[&gone]).await;
    until_off(&cluster, &gone).await?;
    ensure!(machine.disk.was_removed(life)?, "a node that was told of its removal is not marked");
    come_back(&cluster, &gone).await
}
