//! A copy rots, and nobody asks for it. It is found all the same, and made again from a good one.

use anyhow::{Context as _, ensure};
use cairn_store::digest::BLOCK_BYTES;
use cairn_store::disk::Disk as _;
use cairn_store::segment::CopyState;

use crate::cluster::Cluster;
use crate::disk::Part;

pub(super) async fn play(cluster: Cluster) -> anyhow::Result<()> {
    let bytes = cluster.rng.bytes(2 * BLOCK_BYTES + 100);
    let saved = cluster.save("n1", "job/state", &bytes).await?;
    // Others that are good, before it and behind it.
    for number in 0..5 {
        cluster.save("n2", &format!("job/{number}"), &cluster.rng.bytes(1000)).await?;
    }
    let machines = cluster.machines();
    let name = "job/state".parse()?;
    let copies = || {
        let state = machines.first()?.view()?.state;
        Some(state.by_name(&name)?.versions.get(&saved.version)?.copies.clone())
    };
    let before = copies().context("no copies")?;
    let rotten = before.get(cluster.rng.index(before.len())).context("no copy")?;
    let holder = machines.iter().find(|machine| machine.disk.copies().contains(&rotten.id)).context("no holder")?;
    let part = if cluster.rng.below(2) == 0 { Part::Bytes } else { Part::Table };
    holder.disk.rot(rotten.id, part, cluster.rng.index(100))?;
    holder.harm(rotten.id);

    cluster
        .until("a good copy in place of the rotten one", || {
            let now = copies()?;
            let good = now.len() == before.len() && now.iter().all(|copy| copy.state == CopyState::Durable);
            (good && now.iter().all(|copy| copy.id != rotten.id)).then_some(())
        })
        .await?;
    cluster
        .until("an empty quarantine", || holder.disk.quarantined().is_ok_and(|aside| aside.is_empty()).then_some(()))
        .await?;
    let (_, got) = cluster.load(&holder.name, "job/state", false).await?;
    ensure!(got == bytes, "wrong bytes");
    Ok(())
}
