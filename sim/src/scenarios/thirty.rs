//! Thirty nodes: five of them vote, in as many zones; some are lost at once, voters and the leader among them, and replaced; some
//! are removed.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use cairn_store::id::NodeId;

use super::copies::{save_some, whole_without};
use super::members::{come_back, remove, until_off};
use crate::cluster::Cluster;

const NODES: usize = 30;
const VOTERS: usize = 5;

pub(super) async fn play(cluster: Cluster) -> anyhow::Result<()> {
    ensure!(cluster.machines().len() == NODES, "{} machines", cluster.machines().len());
    until_voting(&cluster, &[]).await?;
    let names = save_some(&cluster).await?;

    // A minority of the voters with the leader, and one that only follows.
    let leader = cluster.leader().await?;
    let others: Vec<String> = voters(&cluster, &leader)?.into_iter().filter(|name| *name != leader).collect();
    let other = others.get(cluster.rng.index(others.len())).context("no other voter")?;
    let learner = learner(&cluster, &leader)?;
    let lost = [&leader, other, &learner];
    cluster.crash(&lost.map(String::as_str)).await;
    whole_without(&cluster, &names, &lost).await?;
    until_voting(&cluster, &lost).await?;
    cluster.start(&lost.map(String::as_str)).await;
    cluster.ready().await?;

    // Three go for good, one after the other; their machines come back as other nodes.
    for _ in 0..3 {
        let leader = cluster.leader().await?;
        let gone = cluster.executors_without(&[&leader]);
        let gone = gone.get(cluster.rng.index(gone.len())).context("no other node")?;
        remove(&cluster, &leader, gone).await?;
        come_back(&cluster, gone).await?;
    }
    until_voting(&cluster, &[]).await?;
    remove_unheard(&cluster).await?;
    whole_without(&cluster, &names, &[]).await
}

/// One that only follows is removed while nobody hears it, so nobody tells it, and nobody speaks with it any more: it asks.
async fn remove_unheard(cluster: &Cluster) -> anyhow::Result<()> {
    let leader = cluster.leader().await?;
    let gone = learner(cluster, &leader)?;
    let (asked, node) = (cluster.client(&leader)?, cluster.machine(&gone)?.node_name()?);
    cluster.isolate(&[&gone]).await;
    let foretold = asked.check_remove_node(&node, false).await?;
    ensure!(foretold.refusal.is_none(), "{foretold:?}");
    asked.remove_node(foretold.id, false).await?;
    ensure!(cluster.machine(&gone)?.is_on(), "{gone} knew of its removal, and nobody had told it");
    cluster.heal().await;
    until_off(cluster, &gone).await?;
    come_back(cluster, &gone).await
}

/// A machine whose node does not vote, as this one knows.
fn learner(cluster: &Cluster, at: &str) -> anyhow::Result<String> {
    let voters = voters(cluster, at)?;
    let names = cluster.machines().iter().map(|machine| &machine.name);
    let learners: Vec<&String> = names.filter(|name| !voters.contains(name)).collect();
    learners.get(cluster.rng.index(learners.len())).map(|name| (*name).clone()).context("no learner")
}

/// The machines whose nodes vote, as this one knows.
fn voters(cluster: &Cluster, at: &str) -> anyhow::Result<Vec<String>> {
    let view = cluster.machine(at)?.view().context("it does not run")?;
    let voter = |id: u64| {
        let member = view.state.members.get(&NodeId(id)).context("a voter is no member")?;
        Ok(cluster.machine_of(&member.profile.name)?.name.clone())
    };
    view.membership.voter_ids().map(voter).collect()
}

/// Waits until as many vote as should, each in a zone of its own, and none of these.
async fn until_voting(cluster: &Cluster, without: &[&String]) -> anyhow::Result<()> {
    let zone = |name: &String| cluster.machine(name).ok()?.profile().ok().map(|profile| profile.zone);
    let leading = || cluster.machines().iter().filter_map(|m| Some((m.leads()?, &m.name))).max();
    cluster
        .until("five voters in five zones", || {
            let voters = voters(cluster, leading()?.1).ok()?;
            let zones: BTreeSet<String> = voters.iter().filter_map(zone).collect();
            let good = voters.len() == VOTERS && zones.len() == VOTERS;
            (good && !voters.iter().any(|voter| without.contains(&voter))).then_some(())
        })
        .await
}
