//! The leader dies in the middle of a save. Its client asks again with the same request: one version comes of it.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use cairn_client::api::SaveRequest;
use tokio::time::sleep;

use crate::cluster::Cluster;

pub(super) async fn play(cluster: Cluster) -> anyhow::Result<()> {
    let mut version = 0;
    for round in 0..4 {
        let leader = cluster.leader().await?;
        let followers = cluster.executors_without(&[&leader]);
        // In turns the leader is the saving node itself, or another one.
        let name = if round % 2 == 0 { "job/on-leader" } else { "job/on-follower" };
        let owner = cluster.show_owner(name).await;
        let node =
            owner.unwrap_or(if round % 2 == 0 { leader.clone() } else { followers.first().context("none")?.clone() });
        let bytes = cluster.rng.bytes(400_000);
        let request = SaveRequest { replicas: 1, ..cluster.save_request(name)? };

        let (saver, asked, sent) = (cluster.clone(), request.clone(), bytes.clone());
        let at = node.clone();
        let saving = async move { saver.save_with(&at, &asked, &sent).await };
        let cut = async {
            sleep(Duration::from_millis(cluster.rng.below(150))).await;
            cluster.crash(&[&leader]).await;
            sleep(Duration::from_secs(cluster.rng.below(6))).await;
            cluster.start(&[&leader]).await;
        };
        let (first, ()) = tokio::join!(saving, cut);
        let first = first?;
        cluster.ready().await?;
        let again = cluster.save_with(&node, &request, &bytes).await??;
        if let Ok(first) = first {
            ensure!(
                first.version == again.version,
                "one request made versions {} and {}",
                first.version,
                again.version
            );
        }
        if round >= 2 {
            version = 2;
        } else if version == 0 {
            version = 1;
        }
        ensure!(again.version.0 == version, "round {round}: {again:?}");
        let detail = cluster.show(&node, name).await?;
        ensure!(detail.summary.head == Some(again.version), "{detail:?}");
    }
    Ok(())
}

impl Cluster {
    async fn show_owner(&self, name: &str) -> Option<String> {
        self.show("n1", name).await.ok()?.summary.owner.map(|owner| owner.to_string())
    }
}
