//! The power of all machines goes at one moment. What was acknowledged is there afterwards.

use std::time::Duration;

use anyhow::ensure;
use tokio::time::sleep;

use crate::cluster::Cluster;

const ALL: [&str; 3] = ["n1", "n2", "n3"];

pub(super) async fn play(cluster: Cluster) -> anyhow::Result<()> {
    for round in 0..4 {
        let bytes = cluster.rng.bytes(1_500_000);
        cluster.save("n1", "job/state", &bytes).await?;
        if cluster.rng.below(2) == 0 {
            // In the very moment of the acknowledgement.
            cluster.crash(&ALL).await;
        } else {
            cut_into_a_save(&cluster, round).await;
        }
        sleep(Duration::from_millis(cluster.rng.below(2_000))).await;
        cluster.start(&ALL).await;
        cluster.ready().await?;
        let (_, got) = cluster.load("n3", "job/state", false).await?;
        ensure!(got == bytes, "what was acknowledged in round {round} is lost");
    }
    Ok(())
}

/// Another save is somewhere on its way. Whatever comes of it, what was promised holds.
async fn cut_into_a_save(cluster: &Cluster, round: u64) {
    let request = cluster.save_request(&format!("job/half-{round}"));
    let bytes = cluster.rng.bytes(700_000);
    let saving = async { cluster.save_with("n2", &request?, &bytes).await };
    let cut = async {
        sleep(Duration::from_millis(cluster.rng.below(120))).await;
        cluster.crash(&ALL).await;
    };
    tokio::select! {
        biased;
        // It was acknowledged before: the cut comes all the same.
        _ = saving => cluster.crash(&ALL).await,
        () = cut => {}
    }
}
