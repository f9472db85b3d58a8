//! A copy rots. Its bytes are never served: a load goes on with another copy, or fails, and the cluster learns of it.

use anyhow::{Context as _, ensure};
use cairn_client::api::{Code, SaveRequest};
use cairn_store::digest::BLOCK_BYTES;
use cairn_store::id::CopyId;
use cairn_store::segment::CopyState;
use tokio::time::{Duration, Instant, sleep};

use crate::cluster::Cluster;
use crate::disk::Part;

/// How long the cluster may take to learn of it.
const NEWS_MAX: Duration = Duration::from_secs(20);

pub(super) async fn play(cluster: Cluster) -> anyhow::Result<()> {
    another_source_delivers(&cluster).await?;
    no_other_source_is_there(&cluster).await
}

async fn another_source_delivers(cluster: &Cluster) -> anyhow::Result<()> {
    let rotten = Rotten::make(cluster, "job/two-sources").await?;
    let (_, got) = cluster.load(&rotten.loader, rotten.name, false).await?;
    ensure!(got == rotten.bytes, "wrong bytes");
    // The bad node finds it at the latest when it loads the copy itself.
    let (loaded, got) = cluster.load(&rotten.bad, rotten.name, false).await?;
    ensure!(got == rotten.bytes && loaded.copy != rotten.copy, "{loaded:?}");
    Ok(())
}

async fn no_other_source_is_there(cluster: &Cluster) -> anyhow::Result<()> {
    let rotten = Rotten::make(cluster, "job/one-source").await?;
    cluster.crash(&[&rotten.good]).await;
    let error =
        cluster.try_load(&rotten.loader, rotten.name, false).await?.err().context("wrong bytes were served")?;
    ensure!(matches!(error.code, Code::Corrupt | Code::Unavailable), "{error:?}");

    let deadline = Instant::now() + NEWS_MAX;
    while rotten.state(cluster).await? != Some(CopyState::Corrupt) {
        ensure!(Instant::now() < deadline, "show does not say that the copy is corrupt");
        sleep(Duration::from_millis(100)).await;
    }
    cluster.start(&[&rotten.good]).await;
    cluster.ready().await?;
    let (_, got) = cluster.load(&rotten.loader, rotten.name, false).await?;
    ensure!(got == rotten.bytes, "the good copy came back with wrong bytes");
    Ok(())
}

/// A segment with two copies, of which one is bad.
struct Rotten {
    name: &'static str,
    bytes: Vec<u8>,
    bad: String,
    good: String,
    /// Without a copy.
    loader: String,
    copy: CopyId,
}

impl Rotten {
    async fn make(cluster: &Cluster, name: &'static str) -> anyhow::Result<Self> {
        let bytes = cluster.rng.bytes(3 * BLOCK_BYTES + 100);
        let request = SaveRequest { replicas: 1, ..cluster.save_request(name)? };
        let saved = cluster.save_with("n1", &request, &bytes).await??;
        let owner = "n1".to_owned();
        let replica = saved.replicas.first().context("no replica")?.node.to_string();
        let loader = cluster.executors_without(&[&owner, &replica]).first().context("no third node")?.clone();
        let (bad, good) = if cluster.rng.below(2) == 0 { (owner, replica) } else { (replica, owner) };

        let (machine, name_, node) = (cluster.machine(&bad)?, name.parse()?, bad.parse()?);
        let copy = cluster
            .until("the copy in the state of its own node", || {
                let state = machine.view()?.state;
                let (segment, id) = (state.by_name(&name_)?, state.node_named(&node)?.id);
                Some(segment.versions.get(&saved.version)?.copies.iter().find(|c| c.node == id)?.id)
            })
            .await?;
        machine.disk.rot(copy, Part::Bytes, cluster.rng.index(bytes.len()))?;
        machine.harm(copy);
        Ok(Self { name, bytes, bad, good, loader, copy })
    }

    /// What the cluster says of the bad copy.
    async fn state(&self, cluster: &Cluster) -> anyhow::Result<Option<CopyState>> {
        let detail = cluster.show(&self.loader, self.name).await?;
        let holders = &detail.versions.last().context("no version")?.holders;
        Ok(holders.iter().find(|holder| holder.node.as_str() == self.bad).map(|holder| holder.state))
    }
}
