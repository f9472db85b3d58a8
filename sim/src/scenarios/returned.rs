//! A holder comes back, in time, with some of its copies damaged and some gone; and later with an empty disk, as another node. What
//! it lacks is found and made again.

use anyhow::{Context as _, ensure};
use cairn_store::id::CopyId;
use cairn_store::node::NodeName;

use super::copies::{save_some, whole_without};
use crate::cluster::Cluster;
use crate::disk::Part;
use crate::world::Action;

pub(super) async fn play(cluster: Cluster) -> anyhow::Result<()> {
    let names = save_some(&cluster).await?;
    let leader = cluster.leader().await?;
    let holder = cluster.executors_without(&[&leader]).first().context("no other node")?.clone();
    let machine = cluster.machine(&holder)?.clone();
    cluster.crash(&[&holder]).await;
    let copies: Vec<CopyId> = machine.disk.copies().into_iter().collect();
    ensure!(copies.len() > 3, "it holds {} copies only", copies.len());
    for (number, copy) in copies.iter().enumerate() {
        match number % 4 {
            0 => machine.disk.rot(*copy, Part::Bytes, 0)?,
            1 => machine.disk.rot(*copy, Part::Table, cluster.rng.index(40))?,
            2 => machine.disk.delete(*copy)?,
            _ => continue,
        }
        machine.harm(*copy);
    }
    cluster.start(&[&holder]).await;
    cluster.ready().await?;
    // Until every bad copy was found, all seems to be there.
    let harmed: Vec<CopyId> = copies.iter().copied().filter(|copy| machine.is_harmed(*copy)).collect();
    let is_listed = |copy: &CopyId| {
        let state = cluster.machine(&leader).ok().and_then(|leader| leader.view()).map(|view| view.state);
        let records =
            state.iter().flat_map(|state| state.segments.values()).flat_map(|segment| segment.versions.values());
        records.flat_map(|record| record.durable()).any(|listed| listed.id == *copy)
    };
    cluster.until("the end of all bad copies", || (!harmed.iter().any(is_listed)).then_some(())).await?;
    whole_without(&cluster, &names, &[]).await?;

    // The same machine with an empty disk is another node; the former one is removed, dead as it is.
    let gone: NodeName = machine.node_name()?;
    cluster.crash(&[&holder]).await;
    cluster.act(Action::Wipe(holder.clone())).await;
    cluster.start(&[&holder]).await;
    let asked = cluster.client(&leader)?;
    cluster
        .until("a node that is marked down", || {
            let state = cluster.machine(&leader).ok()?.view()?.state;
            state.node_named(&gone).is_some_and(|member| !member.up).then_some(())
        })
        .await?;
    let foretold = asked.check_remove_node(&gone, false).await?;
    ensure!(foretold.refusal.is_none() && foretold.lost == 0, "{foretold:?}");
    asked.remove_node(foretold.id, false).await?;
    cluster.ready().await?;
    whole_without(&cluster, &names, &[]).await
}
