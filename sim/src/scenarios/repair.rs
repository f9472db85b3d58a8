//! Nodes are lost, come back, and are emptied; every version has its copies again each time, and in the end nothing more.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cairn_store::name::Name;
use cairn_store::node::NodeName;
use tokio::time::{Instant, sleep};

use crate::cluster::Cluster;

/// How long a repair may take, with the time after which a node is given up.
const REPAIR_MAX: Duration = Duration::from_secs(60);
/// How many segments there are: more than are repaired at once.
const SEGMENTS: usize = 12;
/// How many copies each wants.
const WANTED: usize = 3;

pub(super) async fn play(cluster: Cluster) -> anyhow::Result<()> {
    let nodes = cluster.executors_without(&[]);
    let mut names: Vec<Name> = Vec::new();
    for number in 0..SEGMENTS {
        let name = format!("job/{number}");
        let saver = nodes.get(number % nodes.len()).context("no node")?;
        let bytes = cluster.rng.bytes(1 + cluster.rng.index(200_000));
        cluster.save(saver, &name, &bytes).await?;
        names.push(name.parse()?);
    }
    let view = cluster.leader().await?;
    let others = cluster.executors_without(&[&view]);
    let (first, second) = (others.first().context("no node")?, others.get(1).context("no other node")?);

    // A node that comes back in time costs nothing.
    let before = holders(&cluster, &view, &names)?;
    cluster.crash(&[first]).await;
    sleep(cluster.spec.limits.repair_after / 4).await;
    cluster.start(&[first]).await;
    cluster.ready().await?;
    ensure!(holders(&cluster, &view, &names)? == before, "a short absence moved copies");

    // One is lost; and in the middle of its repair, another one.
    cluster.crash(&[first]).await;
    sleep(cluster.spec.limits.repair_after + Duration::from_millis(cluster.rng.below(8_000))).await;
    cluster.crash(&[second]).await;
    whole_without(&cluster, &names, &[first, second]).await?;

    // They come back with what they had: that is too much now.
    cluster.start(&[first, second]).await;
    cluster.ready().await?;
    whole_without(&cluster, &names, &[]).await?;

    // One is emptied.
    let emptied: NodeName = first.parse()?;
    let leader = cluster.leader().await?;
    cluster.client(&leader)?.drain(&emptied, true).await?;
    whole_without(&cluster, &names, &[first]).await?;
    let machine = cluster.machine(first)?;
    cluster.until("an emptied disk", || machine.disk.copies().is_empty().then_some(())).await?;
    cluster.client(&leader)?.drain(&emptied, false).await?;
    Ok(())
}

/// Waits until every version has exactly its copies, none of them on these nodes if they are lost or emptied.
async fn whole_without(cluster: &Cluster, names: &[Name], without: &[&String]) -> anyhow::Result<()> {
    let give_up = Instant::now() + REPAIR_MAX;
    loop {
        let leader = cluster.leader().await?;
        let lists = holders(cluster, &leader, names)?;
        // Copies on lost nodes are listed until the nodes come back, or are removed.
        let down = |node: &String| cluster.machine(node).is_ok_and(|machine| !machine.is_on());
        let living = |list: &BTreeSet<String>| list.iter().filter(|node| !down(node)).count();
        let avoided = |list: &BTreeSet<String>| without.iter().all(|node| down(node) || !list.contains(*node));
        if lists.iter().all(|list| living(list) == WANTED && avoided(list)) {
            return Ok(());
        }
        ensure!(Instant::now() < give_up, "G: not repaired: {lists:?} without {without:?}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Who holds a durable copy of the newest version of each name, as this node knows.
fn holders(cluster: &Cluster, node: &str, names: &[Name]) -> anyhow::Result<Vec<BTreeSet<String>>> {
    let state = cluster.machine(node)?.view().context("the node does not run")?.state;
    let of = |name: &Name| {
        let segment = state.by_name(name).with_context(|| format!("{name} is gone"))?;
        let record = segment.versions.get(&segment.head).with_context(|| format!("{name} has no version"))?;
        let name_of = |id| state.members.get(&id).map(|member| member.profile.name.to_string());
        Ok(record.durable().filter_map(|copy| name_of(copy.node)).collect())
    };
    names.iter().map(of).collect()
}
