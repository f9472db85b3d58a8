//! The end of all faults: everything is mended, the cluster must become whole, and everything that it kept is read.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use cairn_client::api::Code;
use cairn_store::digest::Digest;
use cairn_store::disk::Disk as _;
use cairn_store::id::CopyId;
use cairn_store::meta::state::COMMIT_WINDOW;
use cairn_store::name::Name;
use cairn_store::node::{NodeName, Role};
use cairn_store::segment::Ack;
use futures::future::try_join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep};
use turmoil::net::TcpStream;

use super::desk::{Desk, file_of};
use super::{read, removal};
use crate::cluster::Cluster;
use crate::history::{Ask, Told, machine_of};
use crate::invariants::acknowledged::Kept;
use crate::invariants::healed::{self, Sight};
use crate::invariants::{bounded, deleted, replicated};
use crate::world::Machine;

/// How long a cluster may take to be whole again.
const WHOLE_MAX: Duration = Duration::from_secs(90);
/// How long repairs may take once the cluster is whole.
const REPLICATED_MAX: Duration = Duration::from_secs(120);
/// How long strays may stay once nobody can refer to them any more: what is in quarantine is compared with the state once in
/// fifteen passes of the collector, which rests for two seconds after each.
const STRAYS_MAX: Duration = Duration::from_secs(45);
/// How often the clocks leap meanwhile: not before the collectors had time for a pass.
const LEAP_EVERY: Duration = Duration::from_secs(6);
/// How often that is looked at.
const GLANCE: Duration = Duration::from_millis(100);
/// The longest that a node keeps a connection on which nothing sensible comes.
const GARBAGE_MAX: Duration = Duration::from_secs(10);

/// Mends everything, waits until the cluster is whole, and reads all that it has.
pub(super) async fn heal_and_read(desk: &Rc<Desk>) -> anyhow::Result<Vec<Kept>> {
    let cluster = &desk.cluster;
    desk.be_calm();
    cluster.heal().await;
    for machine in cluster.machines() {
        machine.disk.clear_failures();
        machine.disk.set_capacity(cluster.spec.disk_bytes);
        machine.slow_disk(1);
        machine.skew.set_wall(0);
    }
    start_all(cluster).await;
    whole(desk).await.context("after all faults had ended")?;
    end_drains(desk).await?;
    // A removal that was on its way may have been carried out until then.
    whole(desk).await.context("after nobody was emptied any more")?;
    removal::remove_absent(desk, executor(desk)?, &names(desk)?).await?;
    save_everywhere(desk).await?;
    whole(desk).await.context("after every executor had saved")?;
    replicated(desk).await?;
    let executors: Vec<_> = living(desk).filter(|machine| machine.role == Role::Executor).cloned().collect();
    let kept = read::everything(desk, &executors).await?;
    end_garbage(desk).await?;
    whole(desk).await.context("after everything was read")?;
    forget_strays(desk).await?;
    Ok(kept)
}

/// Switches on whatever is off and not lost.
pub(super) async fn start_all(cluster: &Cluster) {
    let off: Vec<_> = cluster.machines().iter().filter(|m| !m.is_on() && !m.is_lost()).cloned().collect();
    cluster.start(&off.iter().map(|machine| machine.name.as_str()).collect::<Vec<_>>()).await;
}

/// Those that are still there.
fn living(desk: &Desk) -> impl Iterator<Item = &Rc<Machine>> {
    desk.cluster.machines().iter().filter(|machine| !machine.is_lost())
}

/// The names of their nodes.
fn names(desk: &Desk) -> anyhow::Result<BTreeSet<NodeName>> {
    living(desk).map(|machine| machine.node_name()).collect()
}

/// One of them that runs applications.
fn executor(desk: &Desk) -> anyhow::Result<&Rc<Machine>> {
    living(desk).find(|machine| machine.role == Role::Executor).context("no executor")
}

/// G: every node follows one leader, has applied the same, and is taken for up.
async fn whole(desk: &Desk) -> anyhow::Result<()> {
    let give_up = Instant::now() + WHOLE_MAX;
    loop {
        removal::renew_removed(desk).await;
        let wrong = not_whole(desk)?;
        match wrong.first() {
            None => return Ok(()),
            Some(first) if Instant::now() >= give_up => bail!("{first} ({} in all)", wrong.len()),
            Some(_) => sleep(GLANCE).await,
        }
    }
}

fn not_whole(desk: &Desk) -> anyhow::Result<Vec<String>> {
    let (mut sights, mut here) = (BTreeMap::new(), BTreeSet::new());
    for machine in living(desk) {
        let name = machine.node_name()?;
        let Some(view) = machine.view() else { return Ok(vec![format!("G: {name} does not run")]) };
        let leader = machine.leader().and_then(|leader| leader.parse::<NodeName>().ok());
        here.insert(name.clone());
        sights.insert(name, Sight { leader, state: view.state });
    }
    let members = sights.values().flat_map(|sight| sight.state.members.values());
    let absent: BTreeSet<NodeName> =
        members.map(|member| member.profile.name.clone()).filter(|name| !here.contains(name)).collect();
    Ok(healed::violations(&sights, &absent.into_iter().collect::<Vec<_>>()))
}

/// G: every version has its copies again and nothing more.
async fn replicated(desk: &Desk) -> anyhow::Result<()> {
    let give_up = Instant::now() + REPLICATED_MAX;
    loop {
        let wrong = not_replicated(desk)?;
        match wrong.first() {
            None => return Ok(()),
            Some(first) if Instant::now() >= give_up => bail!("{first} ({} in all)", wrong.len()),
            Some(_) => sleep(GLANCE).await,
        }
    }
}

fn not_replicated(desk: &Desk) -> anyhow::Result<Vec<String>> {
    let Some(view) = living(desk).next().and_then(|machine| machine.view()) else { bail!("no machine runs") };
    let names = names(desk)?;
    let members = view.state.members.values().filter(|member| names.contains(&member.profile.name));
    Ok(replicated::violations(&view.state, &members.map(|member| member.id).collect()))
}

async fn end_drains(desk: &Desk) -> anyhow::Result<()> {
    let machine = executor(desk)?;
    let client = desk.cluster.client(&machine.name)?;
    let state = machine.view().context("it does not run")?.state;
    for member in state.members.values().filter(|member| member.draining) {
        match client.drain(&member.profile.name, false).await {
            // A removal that was on its way was carried out meanwhile.
            Err(error) if error.code == Code::NotFound => {}
            ended => ended?,
        }
    }
    Ok(())
}

/// G: every executor saves again, with copies on others.
async fn save_everywhere(desk: &Rc<Desk>) -> anyhow::Result<()> {
    let others = living(desk).count().saturating_sub(1);
    for machine in living(desk).filter(|machine| machine.role == Role::Executor) {
        let request = desk.cluster.new_request();
        let bytes = request.0.into_bytes();
        machine.disk.write_spool(&file_of(request), &bytes)?;
        let ask = Ask::Save {
            digest: Digest::of(&bytes),
            replicas: u8::try_from(others.min(2))?,
            ack: Ack::All,
            keep: 2,
            if_version: None,
            epoch: None,
        };
        let name: Name = format!("after/{}", machine.name).parse()?;
        let told = desk.call(machine, request, &name, ask).await?;
        machine.disk.remove_spool(&file_of(request));
        ensure!(told.is_success(), "G: {} cannot save after all faults have ended: {told:?}", machine.name);
    }
    Ok(())
}

/// H: a connection on which nothing sensible comes is ended.
async fn end_garbage(desk: &Desk) -> anyhow::Result<()> {
    let addresses = living(desk).flat_map(|machine| [machine.rpc(), machine.data()]);
    let connected = addresses.map(|address| async move {
        let ended = tokio::time::timeout(GARBAGE_MAX, async {
            let mut stream = TcpStream::connect(address.as_str()).await?;
            stream.write_all(&desk.cluster.rng.bytes(100)).await?;
            // It may be reset.
            let _ = stream.read_to_end(&mut Vec::new()).await;
            anyhow::Ok(())
        });
        ended.await.with_context(|| format!("H: {address} keeps a connection on which only garbage came"))?
    });
    try_join_all(connected).await.map(drop)
}

/// E: a few hours later nothing lies on any disk that the cluster does not refer to, and nothing is missing.
async fn forget_strays(desk: &Rc<Desk>) -> anyhow::Result<()> {
    let give_up = Instant::now() + STRAYS_MAX;
    let mut leap = Instant::now();
    loop {
        // Nothing happens in these hours, so nobody has to live through them. A stamp that was on its way takes a leap back,
        // because log time goes on from when it is applied.
        if Instant::now() >= leap {
            living(desk).for_each(|machine| machine.skew.leap(COMMIT_WINDOW * 3));
            leap = Instant::now() + LEAP_EVERY;
        }
        let wrong = strays(desk)?;
        match wrong.first() {
            None => break,
            Some(first) if Instant::now() >= give_up => bail!("{first} ({} in all)", wrong.len()),
            Some(_) => sleep(GLANCE).await,
        }
    }
    for machine in living(desk) {
        let (view, name) = (machine.view().context("it does not run")?, machine.node_name()?);
        let Some(id) = view.state.node_named(&name).map(|member| member.id) else { bail!("{name} is no member") };
        let durable = |copy: CopyId, digest| machine.disk.durable_digest(copy) == Some(digest);
        let holds = |copy, digest| machine.is_harmed(copy) || durable(copy, digest);
        if let Some(wrong) = deleted::missing((id, &name), &view.state, holds).first() {
            bail!("{wrong}");
        }
    }
    check_spools(desk)
}

/// H: a spool holds no more than what clients left there, who do not know what became of it. Where the power went, what they
/// took away may be back.
fn check_spools(desk: &Desk) -> anyhow::Result<()> {
    let history = desk.history.borrow();
    let left = |machine: &Machine| {
        let calls = history.calls.iter().filter(|call| {
            let spooled = matches!(call.ask, Ask::Save { .. } | Ask::Load { stale: true, .. });
            let here = spooled && machine_of(&call.node) == machine.name;
            here && (machine.boots() > 1 || *call.answer() == Told::Unknown)
        });
        calls.map(|call| call.request).collect::<BTreeSet<_>>().len() as u64
    };
    let machines: Vec<_> = living(desk).collect();
    let bounds = machines.iter().map(|machine| bounded::Bound {
        node: &machine.name,
        what: "files in its spool",
        found: machine.disk.spooled() as u64,
        most: left(machine),
    });
    match bounded::violations(bounds).first() {
        Some(wrong) => bail!("{wrong}"),
        None => Ok(()),
    }
}

fn strays(desk: &Desk) -> anyhow::Result<Vec<String>> {
    let mut wrong = Vec::new();
    for machine in living(desk) {
        let (view, name) = (machine.view().context("it does not run")?, machine.node_name()?);
        let Some(id) = view.state.node_named(&name).map(|member| member.id) else { bail!("{name} is no member") };
        let lying = machine.disk.copies();
        let lying = lying.into_iter().filter(|copy| !machine.is_harmed(*copy)).collect();
        wrong.extend(deleted::strays((id, &name), &view.state, &lying));
        let aside = machine.disk.quarantined()?;
        wrong.extend(deleted::strays((id, &name), &view.state, &aside));
    }
    Ok(wrong)
}
