//! A copy rots. Its bytes are never served: the load goes on with another copy, and the cluster learns of it.

use anyhow::{Context as _, ensure};
use cairn_store::digest::BLOCK_BYTES;
use cairn_store::segment::CopyState;

use crate::cluster::Cluster;

pub(super) async fn play(cluster: Cluster) -> anyhow::Result<()> {
    let bytes = cluster.rng.bytes(3 * BLOCK_BYTES + 100);
    let request = cairn_client::api::SaveRequest { replicas: 1, ..cluster.save_request("job/state")? };
    let saved = cluster.save_with("n1", &request, &bytes).await??;
    let replica = saved.replicas.first().context("no replica")?.node.to_string();
    let others = cluster.executors_without(&["n1", &replica]);
    let loader = others.first().context("no third node")?.as_str();

    // Either copy, whichever the loader would ask first.
    let bad = if cluster.rng.below(2) == 0 { "n1" } else { replica.as_str() };
    let machine = cluster.machine(bad)?;
    let (name, node) = ("job/state".parse()?, bad.parse()?);
    let copy = cluster
        .until("the copy in the state of its own node", || {
            let state = machine.view()?.state;
            let (segment, id) = (state.by_name(&name)?, state.node_named(&node)?.id);
            Some(segment.versions.get(&saved.version)?.copies.iter().find(|c| c.node == id)?.id)
        })
        .await?;
    machine.disk.corrupt(copy, cluster.rng.index(bytes.len()))?;

    let (_, got) = cluster.load(loader, "job/state", false).await?;
    ensure!(got == bytes, "wrong bytes");
    // The bad node finds it at the latest when it loads the copy itself.
    let (loaded, got) = cluster.load(bad, "job/state", false).await?;
    ensure!(got == bytes && loaded.copy != copy, "{loaded:?}");
    let detail = cluster.show("n2", "job/state").await?;
    let holders = &detail.versions.last().context("no version")?.holders;
    let states: Vec<CopyState> = holders.iter().filter(|h| h.node.as_str() == bad).map(|h| h.state).collect();
    ensure!(states.iter().all(|s| *s == CopyState::Corrupt || loaded.copy != copy), "{holders:?}");
    ensure!(!states.is_empty(), "the bad copy is not listed: {holders:?}");
    Ok(())
}
