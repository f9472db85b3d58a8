//! Most voters are lost for good. A new cluster begins with what one node knew, and finds the copies in the folders of those that
//! are left, whatever ends in the middle; in the end all is whole again.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use cairn_client::api::{Adoption, Recovery, SaveRequest};
use cairn_store::id::NodeId;
use cairn_store::meta::{Backup, Phase, State};
use cairn_store::name::Name;
use cairn_store::node::{NodeName, Role};
use cairn_store::segment::{Epoch, Segment};
use tokio::time::{Instant, sleep};

use crate::cluster::Cluster;
use crate::disk::Part;
use crate::world::{Action, Machine, Oracle};

/// How many segments there are: each of two versions.
const SEGMENTS: usize = 10;
/// How long it may take until all copies are found.
const FOUND_MAX: Duration = Duration::from_secs(60);
/// How often that is looked at.
const GLANCE: Duration = Duration::from_millis(100);

pub(super) async fn play(cluster: Cluster) -> anyhow::Result<()> {
    let nodes = cluster.executors_without(&[]);
    let mut names: Vec<Name> = Vec::new();
    for number in 0..SEGMENTS {
        let name: Name = format!("job/{number}").parse()?;
        let saver = nodes.get(number % nodes.len()).context("no node")?;
        for _ in 0..2 {
            // Copies on four of six machines: on one at least of any three.
            let request = SaveRequest { replicas: 3, ..cluster.save_request(name.as_str())? };
            let bytes = cluster.rng.bytes(1 + cluster.rng.index(200_000));
            cluster.save_with(saver, &request, &bytes).await??;
        }
        names.push(name);
    }
    let state = cluster
        .until("the same state everywhere", || {
            let states: Option<Vec<_>> = cluster.machines().iter().map(|m| Some(m.view()?.state)).collect();
            let same = |states: &Vec<State>| {
                states.windows(2).all(|pair| matches!(pair, [a, b] if a.revision == b.revision))
            };
            states.filter(same)?.pop()
        })
        .await?;

    // Three of five voters are lost with their disks; the power of all goes at once.
    let all: Vec<String> = cluster.machines().iter().map(|machine| machine.name.clone()).collect();
    let mut left = all.clone();
    let mut lost = Vec::new();
    while lost.len() < 3 {
        let drawn = cluster.rng.index(left.len());
        if left.get(drawn).is_some_and(|name| name != "s1") {
            lost.push(left.remove(drawn));
        }
    }
    cluster.act(Action::Crash(all.clone())).await;
    cluster.oracle.replace(Oracle::default());
    for name in &lost {
        cluster.act(Action::Wipe(name.clone())).await;
    }
    for (number, name) in left.iter().enumerate() {
        cluster.act(Action::LayAside { name: name.clone(), founds: number == 0 }).await;
    }

    let rotten = rot_one(&cluster, &state, &left)?;

    // The first one founds the new cluster, and is told what was known, however often its power goes meanwhile.
    let first = left.first().context("nobody is left")?.clone();
    cluster.start(&[&first]).await;
    cluster.leader().await?;
    let backup = Backup { taken: Default::default(), state: state.clone() };
    let (client, restored) = (cluster.client(&first)?, Rc::new(backup));
    let restore = async { Ok::<_, anyhow::Error>(client.restore(&restored, |_| {}).await?) };
    let outage = async {
        sleep(Duration::from_millis(cluster.rng.below(60))).await;
        cluster.crash(&[&first]).await;
        cluster.start(&[&first]).await;
        Ok(())
    };
    tokio::try_join!(restore, outage)?;

    // The others bring their copies along; one of them ends in the middle, and goes on.
    let others: Vec<&str> = left.iter().skip(1).map(String::as_str).collect();
    cluster.start(&others).await;
    let unlucky = *others.get(cluster.rng.index(others.len())).context("no other node is left")?;
    sleep(Duration::from_millis(cluster.rng.below(3_000))).await;
    cluster.crash(&[unlucky]).await;
    cluster.start(&[unlucky]).await;
    let copies = || cluster.machines().iter().map(|m| m.disk.copies().len()).sum::<usize>();
    let before = copies();
    let found = until_found(&cluster, &first, left.len()).await?;
    ensure!(found.phase == Phase::Adopting && found.missing == 0, "{found:?}");
    ensure!(copies() == before, "a copy was deleted while the cluster recovers");
    for node in &found.nodes {
        let said = node.said.as_ref().context("a node says nothing")?;
        let bad = u64::from(node.node == rotten);
        ensure!(said.left == bad, "{} left what is good, or took what is not: {said:?}", node.node);
    }

    // What was acknowledged loads as it was, and whoever takes over is above all that there were.
    for (number, name) in names.iter().enumerate() {
        let was = state.by_name(name).context("it was known")?.epoch;
        let detail = cluster.show(&first, name.as_str()).await?;
        ensure!(detail.summary.owner.is_none() && detail.summary.epoch > was, "{name}: {:?}", detail.summary);
        let node = executor(&cluster, &left, number)?;
        let (loaded, _) = cluster.load(&node, name.as_str(), true).await?;
        ensure!(loaded.epoch > Epoch(1 << 32), "{name} is owned in epoch {}", loaded.epoch);
    }
    let node = executor(&cluster, &left, 0)?;
    let request = SaveRequest { replicas: 1, ..cluster.save_request("job/after")? };
    cluster.save_with(&node, &request, &cluster.rng.bytes(5_000)).await??;

    // The end: empty machines join, and all has its copies again.
    cluster.client(&first)?.resume().await?;
    let lost: Vec<&str> = lost.iter().map(String::as_str).collect();
    cluster.start(&lost).await;
    cluster.ready().await?;
    let whole = || {
        let state = cluster.machine(&first).ok()?.view()?.state;
        let lacks =
            |segment: &Segment| segment.versions.values().any(|record| state.missing_copies(segment, record) > 0);
        (!state.segments.values().any(|segment| lacks(segment))).then_some(())
    };
    cluster.until("all copies", whole).await
}

/// One copy rots on these machines, of a version of which another one is left. Tells whose it was.
fn rot_one(cluster: &Cluster, state: &State, left: &[String]) -> anyhow::Result<NodeName> {
    let records = state.segments.values().flat_map(|segment| segment.versions.values());
    let machine = |node: NodeId| {
        let name = state.members.get(&node)?.profile.name.to_string();
        left.contains(&name).then_some(name)
    };
    for record in records {
        let here: Vec<_> = record.copies.iter().filter_map(|copy| Some((copy.id, machine(copy.node)?))).collect();
        if let [(copy, name), _, ..] = here.as_slice() {
            let machine = cluster.machine(name)?;
            machine.disk.rot(*copy, Part::Bytes, 0)?;
            return machine.node_name();
        }
    }
    bail!("no version has two copies on {left:?}")
}

/// One of these machines that runs applications.
fn executor(cluster: &Cluster, machines: &[String], number: usize) -> anyhow::Result<String> {
    let runs = |machine: &&Rc<Machine>| machine.role == Role::Executor && machines.contains(&machine.name);
    let executors: Vec<_> = cluster.machines().iter().filter(runs).collect();
    Ok(executors.get(number % executors.len().max(1)).context("no executor is left")?.name.clone())
}

/// Waits until so many members have looked at all that they brought along.
async fn until_found(cluster: &Cluster, at: &str, members: usize) -> anyhow::Result<Recovery> {
    let deadline = Instant::now() + FOUND_MAX;
    loop {
        let told = cluster.client(at)?.recovery().await?.context("it began with a backup")?;
        let done = |node: &Adoption| node.said.as_ref().is_some_and(|said| said.waiting == 0);
        if told.nodes.len() == members && told.nodes.iter().all(done) && told.missing == 0 {
            return Ok(told);
        }
        ensure!(Instant::now() < deadline, "not all copies were found: {told:?}");
        sleep(GLANCE).await;
    }
}
