//! The leader dies in the middle of a save. Its client asks again with the same request: one version comes of it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cairn_client::api::SaveRequest;
use tokio::time::sleep;

use crate::cluster::Cluster;

pub(super) async fn play(cluster: Cluster) -> anyhow::Result<()> {
    // Who owns which name, and its newest version.
    let mut owned: BTreeMap<&str, (String, u64)> = BTreeMap::new();
    for round in 0..4 {
        let leader = cluster.leader().await?;
        let follower = cluster.executors_without(&[&leader]).first().context("no follower")?.clone();
        // At first the one is saved on the leader, the other on a follower; later by whoever owns it.
        let (name, node) = if round % 2 == 0 { ("job/a", leader.clone()) } else { ("job/b", follower) };
        let (node, version) = owned.entry(name).or_insert((node, 0));
        *version += 1;
        let bytes = cluster.rng.bytes(400_000);
        let request = SaveRequest { replicas: 1, ..cluster.save_request(name)? };

        let cut = async {
            sleep(Duration::from_millis(cluster.rng.below(150))).await;
            cluster.crash(&[&leader]).await;
            sleep(Duration::from_secs(cluster.rng.below(6))).await;
            cluster.start(&[&leader]).await;
        };
        let (first, ()) = tokio::join!(cluster.save_with(node, &request, &bytes), cut);
        let first = first?;
        cluster.ready().await?;
        let again = cluster.save_with(node, &request, &bytes).await??;
        ensure!(again.version.0 == *version, "round {round}: {again:?} though {version} is due");
        if let Ok(first) = first {
            ensure!(first.version == again.version, "one request made {} and {}", first.version, again.version);
        }
        let detail = cluster.show(node, name).await?;
        ensure!(detail.summary.head == Some(again.version), "{detail:?}");
    }
    Ok(())
}
