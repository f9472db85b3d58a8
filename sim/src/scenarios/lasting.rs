//! The first save of a name lasts for hours. Its registration does not expire, and receipts that ran out meanwhile are
//! renewed before the commit.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use cairn_client::api::SaveRequest;
use cairn_store::meta::state::{COMMIT_WINDOW, REGISTRATION_TTL};
use cairn_store::time::LogTime;
use tokio::time::sleep;

use crate::cluster::Cluster;

/// Longer than a receipt counts, and than a name stays without a version.
const LASTS: Duration = Duration::from_secs(2 * 3600);

pub(super) async fn play(cluster: Cluster) -> anyhow::Result<()> {
    ensure!(LASTS > COMMIT_WINDOW.max(REGISTRATION_TTL));
    let bytes = cluster.rng.bytes(3_000_000);
    let request = SaveRequest { replicas: 3, ..cluster.save_request("job/state")? };
    let (saved, held) = futures::join!(cluster.save_with("n1", &request, &bytes), hold(&cluster));
    held?;
    let saved = saved?.context("the save")?;
    let ended = cluster.machine("n1")?.view().context("n1 is off")?.state.time;
    ensure!(ended > LogTime::default().after(LASTS), "log time stood still: {ended}");
    ensure!(saved.version.0 == 1 && saved.replicas.len() == 3, "{saved:?}");
    let (_, got) = cluster.load("n3", "job/state", true).await?;
    ensure!(got == bytes, "other bytes were loaded");
    Ok(())
}

/// Holds the way from the owner to one target back, from the moment when the name is taken.
async fn hold(cluster: &Cluster) -> anyhow::Result<()> {
    let owner = cluster.machine("n1")?;
    // Looked at in every step of the world: the bytes are not long on their way.
    while owner.view().context("n1 is off")?.state.names.is_empty() {
        sleep(Duration::from_millis(1)).await;
    }
    cluster.hold("n1", "s1").await;
    sleep(LASTS).await;
    cluster.heal().await;
    Ok(())
}
