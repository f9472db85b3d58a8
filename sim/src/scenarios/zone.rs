//! A zone is lost at once. Every version lies in several, so nothing is lost, and all has its copies again in those that are left;
//! when the zone is back, each zone has one again of what is made then.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use cairn_store::name::Name;

use super::copies::{holders, save_some, whole_without};
use crate::cluster::Cluster;

pub(super) async fn play(cluster: Cluster) -> anyhow::Result<()> {
    let names = save_some(&cluster).await?;
    spread(&cluster, &names).await?;
    // Whichever it is, with the leader or without.
    let all = cluster.executors_without(&[]);
    let drawn = all.get(cluster.rng.index(all.len())).context("no machine")?;
    let zone = zone_of(&cluster, drawn)?;
    let lost: Vec<String> =
        all.iter().filter(|name| zone_of(&cluster, name).is_ok_and(|z| z == zone)).cloned().collect();
    ensure!(lost.len() == 2, "two machines a zone: {lost:?}");
    let names_of: Vec<&str> = lost.iter().map(String::as_str).collect();
    cluster.crash(&names_of).await;
    let without: Vec<&String> = lost.iter().collect();
    whole_without(&cluster, &names, &without).await?;

    cluster.start(&names_of).await;
    cluster.ready().await?;
    whole_without(&cluster, &names, &[]).await?;
    let saver = all.first().context("no machine")?;
    let bytes = cluster.rng.bytes(10_000);
    cluster.save(saver, "job/after", &bytes).await?;
    spread(&cluster, &["job/after".parse()?]).await
}

/// Every version has a copy in each of the three zones.
async fn spread(cluster: &Cluster, names: &[Name]) -> anyhow::Result<()> {
    let leader = cluster.leader().await?;
    // It answers once it has applied what was saved.
    for name in names {
        cluster.show(&leader, name.as_str()).await?;
    }
    for (name, list) in names.iter().zip(holders(cluster, &leader, names)?) {
        let zones: BTreeSet<String> =
            list.iter().map(|node| zone_of(cluster, node)).collect::<anyhow::Result<_>>()?;
        ensure!(zones.len() == 3, "{name} lies in {zones:?} only");
    }
    Ok(())
}

fn zone_of(cluster: &Cluster, machine: &str) -> anyhow::Result<String> {
    Ok(cluster.machine(machine)?.profile()?.zone)
}
