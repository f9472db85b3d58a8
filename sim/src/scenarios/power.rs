//! The power of all machines goes at one moment. What was acknowledged is there afterwards.

use std::time::Duration;

use anyhow::ensure;
use tokio::time::sleep;

use crate::cluster::Cluster;

pub(super) async fn play(cluster: Cluster) -> anyhow::Result<()> {
    for round in 0..3 {
        let bytes = cluster.rng.bytes(1_500_000);
        cluster.save("n1", "job/state", &bytes).await?;
        // Another save is somewhere on its way when it happens.
        let (other, more) = (cluster.clone(), cluster.rng.bytes(700_000));
        let name = format!("job/half-{round}");
        let half = async move {
            let request = other.save_request(&name)?;
            other.save_with("n2", &request, &more).await
        };
        let cut = async {
            sleep(Duration::from_millis(cluster.rng.below(120))).await;
            cluster.crash(&["n1", "n2", "n3"]).await;
            sleep(Duration::from_millis(cluster.rng.below(2_000))).await;
            cluster.start(&["n1", "n2", "n3"]).await;
        };
        let (_outcome, ()) = tokio::join!(half, cut);
        cluster.ready().await?;
        let (_, got) = cluster.load("n3", "job/state", false).await?;
        ensure!(got == bytes, "what was acknowledged in round {round} is lost");
    }
    Ok(())
}
