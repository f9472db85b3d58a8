//! A lost holder comes back when its copies were made again, and each version has one too many. Meanwhile one of those that
//! are to stay has rotted, and nobody has looked yet: no good one may go in its stead (R8).

use std::rc::Rc;

use anyhow::{Context as _, ensure};
use cairn_store::id::CopyId;
use cairn_store::name::Name;
use cairn_store::segment::VersionRecord;

use super::copies::{WANTED, save_some, whole_without};
use crate::cluster::Cluster;
use crate::disk::Part;
use crate::world::Machine;

pub(super) async fn play(cluster: Cluster) -> anyhow::Result<()> {
    let names = save_some(&cluster).await?;
    let leader = cluster.leader().await?;
    let lost = cluster.executors_without(&[&leader]).first().context("no other node")?.clone();
    cluster.crash(&[&lost]).await;
    whole_without(&cluster, &names, &[&lost]).await?;

    let mut doubtful = Vec::new();
    for name in &names {
        let record = newest(&cluster, &leader, name)?;
        let copies = record.durable().map(|copy| holder(&cluster, copy.id).map(|machine| (machine, copy.id)));
        let copies: Vec<(&Rc<Machine>, CopyId)> = copies.collect::<anyhow::Result<_>>()?;
        if copies.len() <= WANTED {
            continue;
        }
        let living: Vec<_> = copies.into_iter().filter(|(machine, _)| machine.is_on()).collect();
        let (machine, copy) = *living.get(cluster.rng.index(living.len())).context("no copy")?;
        machine.disk.rot(copy, Part::Bytes, 0)?;
        machine.harm(copy);
        doubtful.push(name);
    }
    ensure!(doubtful.len() > 2, "only {} versions are to have a copy too many", doubtful.len());

    cluster.start(&[&lost]).await;
    for name in doubtful {
        let mut least = usize::MAX;
        let whole = || {
            let record = newest(&cluster, &leader, name).ok()?;
            let listed: Vec<CopyId> = record.durable().map(|copy| copy.id).collect();
            let is_good = |copy: &&CopyId| {
                holder(&cluster, **copy)
                    .is_ok_and(|machine| machine.disk.durable_digest(**copy) == Some(record.digest))
            };
            let good = listed.iter().filter(is_good).count();
            least = least.min(good);
            (listed.len() == WANTED && (good == WANTED || least < WANTED)).then_some(())
        };
        cluster.until("the end of a copy that is not needed", whole).await?;
        ensure!(least >= WANTED, "R8: {name} had {least} good copies, and another one went for a rotten one");
    }
    Ok(())
}

/// The newest version, as this node knows it.
fn newest(cluster: &Cluster, node: &str, name: &Name) -> anyhow::Result<VersionRecord> {
    let state = cluster.machine(node)?.view().context("the node does not run")?.state;
    let segment = state.by_name(name).with_context(|| format!("{name} is gone"))?;
    segment.versions.get(&segment.head).map(|record| VersionRecord::clone(record)).context("no version")
}

/// The machine on whose disk this copy lies.
fn holder(cluster: &Cluster, copy: CopyId) -> anyhow::Result<&Rc<Machine>> {
    let mut machines = cluster.machines().iter();
    machines.find(|machine| machine.disk.copies().contains(&copy)).context("nobody holds it")
}
