//! Everybody sleeps for hours while a load that took over waits for a quorum.
//!
//! What it brought here is a copy that nothing refers to yet, and whose time is over by then: the collector leaves it all the
//! same, because the application is told of it.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use cairn_client::api::SaveRequest;
use cairn_store::meta::state::COMMIT_WINDOW;
use tokio::time::sleep;

use crate::cluster::Cluster;

/// How long the new owner is cut off: less than it tries to tell of its copy. After that it would not count as a holder.
const CUT: Duration = Duration::from_secs(3);
/// How long collectors have for what they would take.
const COLLECTORS: Duration = Duration::from_secs(10);

pub(super) async fn play(cluster: Cluster) -> anyhow::Result<()> {
    let leader = cluster.leader().await?;
    let others = cluster.executors_without(&[&leader]);
    let bytes = cluster.rng.bytes(100_000);
    let request = SaveRequest { replicas: 1, ..cluster.save_request("job/state")? };
    cluster.save_with(&leader, &request, &bytes).await??;
    let holders = cluster.holders(&leader, "job/state").await?;
    let heir = others.iter().find(|node| holders.iter().all(|holder| holder.as_str() != *node)).context("no heir")?;
    let machine = cluster.machine(heir)?;

    let asleep = async {
        // As soon as it has taken over, and before the cluster knows of its copy.
        while !owns(&cluster, &leader, heir) {
            sleep(Duration::from_millis(1)).await;
        }
        cluster.isolate(&[heir]).await;
        cluster.machines().iter().for_each(|machine| machine.skew.leap(COMMIT_WINDOW * 3));
        sleep(CUT).await;
        cluster.heal().await;
    };
    let (loaded, ()) = tokio::join!(cluster.try_load(heir, "job/state", true), asleep);
    let (loaded, got) = match loaded? {
        Ok(loaded) => loaded,
        // A claim that came so late is refused: it is asked again.
        Err(_) => cluster.load(heir, "job/state", true).await?,
    };
    ensure!(got == bytes && loaded.claimed, "{loaded:?}");
    sleep(COLLECTORS).await;
    ensure!(machine.disk.holds(loaded.copy), "the collector took what the new owner was told of");
    Ok(())
}

fn owns(cluster: &Cluster, leader: &str, heir: &str) -> bool {
    let view = cluster.machine(leader).ok().and_then(|machine| machine.view());
    view.is_some_and(|view| {
        let owner = view.state.segments.values().find_map(|segment| segment.owner);
        let member = owner.and_then(|owner| view.state.members.get(&owner));
        member.is_some_and(|member| member.profile.name.as_str() == heir)
    })
}
