//! Members are emptied and removed, the leader too, and a dead one by force. Their folders never come back; their machines do,
//! as other nodes.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use cairn_client::api::Code;
use cairn_client::dial::Client;
use cairn_store::name::Name;
use cairn_store::node::NodeName;

use crate::cluster::Cluster;
use crate::world::Action;

pub(super) async fn play(cluster: Cluster) -> anyhow::Result<()> {
    let nodes = cluster.executors_without(&[]);
    let mut owners: Vec<(Name, String)> = Vec::new();
    for number in 0..8 {
        let name = format!("job/{number}");
        let node = nodes.get(number % nodes.len()).context("no node")?;
        let bytes = cluster.rng.bytes(1 + cluster.rng.index(100_000));
        cluster.save(node, &name, &bytes).await?;
        owners.push((name.parse()?, node.clone()));
    }

    // One that does not lead: emptied first, so nothing is thin when it goes.
    let leader = cluster.leader().await?;
    let gone = cluster.executors_without(&[&leader]).first().context("no other node")?.clone();
    let (asked, node) = (cluster.client(&leader)?, node_of(&cluster, &gone)?);
    asked.drain(&node, true).await?;
    until_drained(&cluster, &asked, &node).await?;
    for (name, _) in owners.iter().filter(|(_, owner)| *owner == gone) {
        let detail = cluster.show(&leader, name.as_str()).await?;
        ensure!(detail.summary.owner.is_none(), "{name} is still owned by {:?}", detail.summary.owner);
        ensure!(!detail.summary.under_replicated, "{name} has too few copies");
        let refused = cluster.try_load(&gone, name.as_str(), true).await?;
        let code = refused.err().map(|error| error.code);
        ensure!(code == Some(Code::Conflict), "a node that is emptied took {name} over: {code:?}");
        cluster.load(&leader, name.as_str(), true).await?;
    }
    remove(&cluster, &leader, &gone).await?;
    come_back(&cluster, &gone).await?;

    // The leader, with all that it has.
    let leader = cluster.leader().await?;
    let other = cluster.executors_without(&[&leader]).first().context("no other node")?.clone();
    remove(&cluster, &other, &leader).await?;
    let bytes = cluster.rng.bytes(50_000);
    cluster.save(&other, "job/after", &bytes).await?;
    come_back(&cluster, &leader).await?;

    // Two at once, of five voters, and nobody inherits: each goes on with its vote until the others have taken it away.
    let leader = cluster.leader().await?;
    let pair: Vec<String> = cluster.executors_without(&[&leader]).into_iter().take(2).collect();
    let (one, two) = (pair.first().context("no node")?, pair.get(1).context("no other node")?);
    let (first, second) = tokio::join!(remove(&cluster, &leader, one), remove(&cluster, &leader, two));
    first?;
    second?;
    let bytes = cluster.rng.bytes(50_000);
    cluster.save(&leader, "job/two", &bytes).await?;
    for machine in [one, two] {
        cluster.start(&[machine]).await;
        until_off(&cluster, machine).await?;
        cluster.act(Action::Wipe(machine.clone())).await;
        cluster.start(&[machine]).await;
    }
    cluster.ready().await?;

    // A dead one. What only it had is lost, and is said to be.
    let leader = cluster.leader().await?;
    let dead = cluster.executors_without(&[&leader]).first().context("no other node")?.clone();
    let (asked, node) = (cluster.client(&leader)?, node_of(&cluster, &dead)?);
    cluster.crash(&[&dead]).await;
    cluster
        .until("a node that is marked down", || {
            let state = cluster.machine(&leader).ok()?.view()?.state;
            state.node_named(&node).is_some_and(|member| !member.up).then_some(())
        })
        .await?;
    let foretold = asked.check_remove_node(&node, false).await?;
    ensure!(foretold.lost == 0 && foretold.refusal.is_none(), "three copies of all: {foretold:?}");
    asked.remove_node(foretold.id, false).await?;
    cluster.start(&[&dead]).await;
    until_off(&cluster, &dead).await?;
    come_back(&cluster, &dead).await
}

fn node_of(cluster: &Cluster, machine: &str) -> anyhow::Result<NodeName> {
    cluster.machine(machine)?.node_name()
}

async fn until_drained(cluster: &Cluster, client: &Client, node: &NodeName) -> anyhow::Result<()> {
    let machine = cluster.machine_of(node)?.clone();
    cluster.until("an emptied disk", || machine.disk.copies().is_empty().then_some(())).await?;
    let drained = client.drained(node, false).await?;
    ensure!(drained.is_done() && drained.blocks.is_empty(), "its disk is empty, and {drained:?}");
    Ok(())
}

/// Removes a machine's node, and waits until it has ended by itself.
pub(super) async fn remove(cluster: &Cluster, at: &str, machine: &str) -> anyhow::Result<()> {
    let (asked, node) = (cluster.client(at)?, node_of(cluster, machine)?);
    let foretold = asked.check_remove_node(&node, false).await?;
    ensure!(foretold.refusal.is_none(), "{foretold:?}");
    asked.remove_node(foretold.id, false).await?;
    until_off(cluster, machine).await?;
    let view = cluster.machine(at)?.view().context("it does not run")?;
    let counted: BTreeSet<u64> = view.membership.membership().nodes().map(|(id, _)| *id).collect();
    ensure!(!counted.contains(&foretold.id.0), "Raft counts on {node} still");
    ensure!(view.membership.voter_ids().count() % 2 == 1, "an even number of voters");
    Ok(())
}

pub(super) async fn until_off(cluster: &Cluster, machine: &str) -> anyhow::Result<()> {
    let machine = cluster.machine(machine)?.clone();
    cluster.until("the end of a node that was removed", || (!machine.is_on()).then_some(())).await
}

/// The folder of a removed node is refused; with an empty one its machine is another node.
pub(super) async fn come_back(cluster: &Cluster, machine: &str) -> anyhow::Result<()> {
    cluster.start(&[machine]).await;
    until_off(cluster, machine).await?;
    cluster.act(Action::Wipe(machine.to_owned())).await;
    cluster.start(&[machine]).await;
    cluster.ready().await
}
