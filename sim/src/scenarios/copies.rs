//! Some segments, and whether they have their copies.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cairn_store::name::Name;
use tokio::time::{Instant, sleep};

use crate::cluster::Cluster;

/// How long a repair may take, with the time after which a node is given up.
const REPAIR_MAX: Duration = Duration::from_secs(90);
/// How many segments there are: more than are repaired at once.
const SEGMENTS: usize = 12;
/// How many copies each wants.
pub(super) const WANTED: usize = 3;

/// Saves some segments on all executors in turn.
pub(super) async fn save_some(cluster: &Cluster) -> anyhow::Result<Vec<Name>> {
    let nodes = cluster.executors_without(&[]);
    let mut names: Vec<Name> = Vec::new();
    for number in 0..SEGMENTS {
        let name = format!("job/{number}");
        let saver = nodes.get(number % nodes.len()).context("no node")?;
        let bytes = cluster.rng.bytes(1 + cluster.rng.index(200_000));
        cluster.save(saver, &name, &bytes).await?;
        names.push(name.parse()?);
    }
    Ok(names)
}

/// Waits until every version has exactly its copies, none of them on these nodes if they are lost or emptied.
pub(super) async fn whole_without(cluster: &Cluster, names: &[Name], without: &[&String]) -> anyhow::Result<()> {
    let give_up = Instant::now() + REPAIR_MAX;
    loop {
        let leader = cluster.leader().await?;
        // A new leader may not know all yet.
        let lists = holders(cluster, &leader, names);
        // Copies on lost nodes are listed until the nodes come back, or are removed.
        let down = |node: &String| cluster.machine(node).is_ok_and(|machine| !machine.is_on());
        let living = |list: &BTreeSet<String>| list.iter().filter(|node| !down(node)).count();
        let avoided = |list: &BTreeSet<String>| without.iter().all(|node| down(node) || !list.contains(*node));
        let whole = |list: &BTreeSet<String>| living(list) == WANTED && avoided(list);
        if lists.as_ref().is_ok_and(|lists| lists.iter().all(whole)) {
            return Ok(());
        }
        ensure!(Instant::now() < give_up, "G: not repaired: {lists:?} without {without:?}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Who holds a durable copy of the newest version of each name, as this node knows.
pub(super) fn holders(cluster: &Cluster, node: &str, names: &[Name]) -> anyhow::Result<Vec<BTreeSet<String>>> {
    let state = cluster.machine(node)?.view().context("the node does not run")?.state;
    let of = |name: &Name| {
        let segment = state.by_name(name).with_context(|| format!("{name} is gone"))?;
        let record = segment.versions.get(&segment.head).with_context(|| format!("{name} has no version"))?;
        let name_of = |id| state.members.get(&id).map(|member| member.profile.name.to_string());
        Ok(record.durable().filter_map(|copy| name_of(copy.node)).collect())
    };
    names.iter().map(of).collect()
}
