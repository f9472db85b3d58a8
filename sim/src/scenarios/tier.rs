//! What stories look at in the global tier: who reaches it, what has got there, and what should not be there any more.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use cairn_store::archive::key::{Key, Part, Stem};
use cairn_store::meta::State;
use cairn_store::meta::state::COMMIT_WINDOW;
use cairn_store::name::Name;
use cairn_store::segment::{CopyState, Version};
use tokio::time::{Instant, sleep};

use crate::cluster::Cluster;
use crate::invariants::archived;
use crate::world::Machine;

/// How long all may take to get there once nothing is wrong: what failed is tried again after half a minute.
const PUBLISHED_MAX: Duration = Duration::from_secs(90);
/// How long what nobody refers to may stay there, once nobody can any more.
const TIDY_MAX: Duration = Duration::from_secs(90);
/// How often clocks leap meanwhile: not before there was time for a pass.
const LEAP_EVERY: Duration = Duration::from_secs(8);
/// How long every version may take to have its copies.
const WHOLE_MAX: Duration = Duration::from_secs(120);
/// How often that is looked at.
const GLANCE: Duration = Duration::from_millis(100);

/// The newest state that any node has applied.
pub(super) fn newest(cluster: &Cluster) -> anyhow::Result<State> {
    let states = cluster.machines().iter().filter_map(|machine| Some(machine.view()?.state));
    states.max_by_key(|state| state.revision).context("no node runs")
}

/// Waits until the cluster knows of all who have the tier that they reach it, and of the others that they have none.
pub(super) async fn until_reached(cluster: &Cluster) -> anyhow::Result<()> {
    let says = |state: &State, machine: &Rc<Machine>| {
        let node = state.node_named(&machine.node_name().ok()?)?.id;
        Some(state.tiers.get(&node).map(|reach| reach.tier().is_some()))
    };
    cluster
        .until("the global tier on all machines that have it", || {
            let state = newest(cluster).ok()?;
            let due = |machine: &Rc<Machine>| machine.has_tier().then_some(true);
            let mut on = cluster.machines().iter().filter(|machine| machine.is_on());
            on.all(|machine| says(&state, machine) == Some(due(machine))).then_some(())
        })
        .await
}

/// The versions that are to lie there, as the cluster's own, and do not.
pub(super) fn unpublished(cluster: &Cluster, state: &State) -> Vec<String> {
    let mut wanting = Vec::new();
    for segment in state.segments.values() {
        let archive = state.archive(segment.id);
        let policy = archive.and_then(|archive| archive.policy).unwrap_or(cluster.spec.limits.archive);
        for version in segment.versions.keys() {
            let object = archive.and_then(|archive| archive.objects.get(version));
            let own = object.filter(|object| Some(object.cluster) == state.cluster);
            let done = own.is_some_and(|object| {
                object.published && object.state == CopyState::Durable && Some(object.tier) == state.tier()
            });
            let begun = own.is_some_and(|object| !object.published);
            if (begun || policy.wants(*version, segment.head)) && !done {
                wanting.push(format!("version {version} of {} ({policy}): {object:?}", segment.name));
            }
        }
    }
    wanting
}

/// Waits until all lies there that is to; tells the state that says so.
pub(super) async fn until_published(cluster: &Cluster) -> anyhow::Result<State> {
    let give_up = Instant::now() + PUBLISHED_MAX;
    loop {
        let state = newest(cluster)?;
        match unpublished(cluster, &state).as_slice() {
            [] => return Ok(state),
            [first, ..] if Instant::now() >= give_up => bail!("G: it is not in the global tier: {first}"),
            [..] => sleep(GLANCE).await,
        }
    }
}

/// Where a version's object lies.
pub(super) fn stem_of(state: &State, name: &Name, version: Version) -> anyhow::Result<Stem> {
    let segment = state.by_name(name).with_context(|| format!("{name} is gone"))?;
    let record = segment.versions.get(&version).with_context(|| format!("{name} has no version {version}"))?;
    let object = state.object_of(segment.id, version);
    let object = object.with_context(|| format!("version {version} of {name} is not in the global tier"))?;
    let (cluster, segment, digest) = (object.cluster, segment.id, record.digest);
    Ok(Stem { cluster, segment, version, digest, object: object.id })
}

/// Where the objects of a segment lie.
pub(super) fn stems_of(state: &State, name: &Name) -> anyhow::Result<Vec<Stem>> {
    let segment = state.by_name(name).with_context(|| format!("{name} is gone"))?;
    let archive = state.archive(segment.id).with_context(|| format!("{name} has nothing in the global tier"))?;
    archive.objects.keys().map(|version| stem_of(state, name, *version)).collect()
}

/// How much of an object lies there: parts of three.
pub(super) fn parts_of(cluster: &Cluster, stem: &Stem) -> usize {
    Part::ALL.into_iter().filter(|part| cluster.objects.bytes(&stem.key(*part).to_string()).is_some()).count()
}

/// A version lies there and the cluster says so, bit for bit.
pub(super) fn check_archived(cluster: &Cluster, name: &Name, version: Version) -> anyhow::Result<()> {
    let state = newest(cluster)?;
    let segment = state.by_name(name).with_context(|| format!("{name} is gone"))?.id;
    let object = state.object_of(segment, version);
    let said = object.is_some_and(|object| object.published && object.state == CopyState::Durable);
    ensure!(said, "the cluster does not say that version {version} of {name} is in the global tier: {object:?}");
    let archive = state.archive(segment).map(|archive| (segment, archive));
    let wrong = archived::violations(&state, archive, |key| cluster.objects.bytes(key), |_| false);
    ensure!(wrong.is_empty(), "{wrong:?}");
    Ok(())
}

/// Nobody has altered anything there: so the cluster must not take anything for lost.
pub(super) fn check_nothing_lost(state: &State) -> anyhow::Result<()> {
    for (id, archive) in &state.archives {
        let lost = archive.objects.iter().find(|(_, object)| object.state != CopyState::Durable);
        ensure!(
            lost.is_none(),
            "E: of segment {id} the cluster takes for lost what lies in the global tier: {lost:?}"
        );
    }
    Ok(())
}

/// What lies there in the cluster's own name, and is not referred to; and backups beyond those that are kept.
fn strays(cluster: &Cluster, state: &State) -> Vec<String> {
    let (mut wrong, mut backups) = (Vec::new(), 0);
    for key in cluster.objects.keys() {
        match key.parse() {
            Ok(Key::Mark) => {}
            Ok(Key::Backup(of, _)) => backups += usize::from(Some(of) == state.cluster),
            Ok(Key::Object(stem, _)) if Some(stem.cluster) == state.cluster => {
                let known = state.object_of(stem.segment, stem.version);
                if known.is_none_or(|known| (known.id, known.cluster) != (stem.object, stem.cluster)) {
                    wrong.push(key);
                }
            }
            Ok(Key::Object(..)) => {}
            Err(_) => wrong.push(key),
        }
    }
    if backups > cluster.spec.limits.backups {
        wrong.push(format!("{backups} backups"));
    }
    wrong
}

/// Lets hours go by, until nothing lies there that nobody refers to.
pub(super) async fn until_tidy(cluster: &Cluster) -> anyhow::Result<()> {
    let give_up = Instant::now() + TIDY_MAX;
    let mut next = Instant::now() + LEAP_EVERY;
    loop {
        let wrong = strays(cluster, &newest(cluster)?);
        match wrong.first() {
            None => return Ok(()),
            Some(first) if Instant::now() >= give_up => {
                bail!("E: {first} is still in the global tier ({} in all)", wrong.len())
            }
            Some(_) => sleep(GLANCE).await,
        }
        if Instant::now() >= next {
            leap(cluster, COMMIT_WINDOW * 3);
            next = Instant::now() + LEAP_EVERY;
        }
    }
}

/// So much time goes by at once, for all.
pub(super) fn leap(cluster: &Cluster, span: Duration) {
    cluster.machines().iter().for_each(|machine| machine.skew.leap(span));
}

/// Waits until every version that has a good copy somewhere has all its copies, on nodes that are there.
pub(super) async fn until_whole(cluster: &Cluster) -> anyhow::Result<()> {
    let give_up = Instant::now() + WHOLE_MAX;
    loop {
        let state = newest(cluster)?;
        let mut thin = None;
        for segment in state.segments.values() {
            for (version, record) in &segment.versions {
                let live = record.durable().filter(|copy| state.stays(copy.node)).count();
                let has_source = live > 0 || state.is_archived(segment.id, *version);
                if has_source && live < record.copies_wanted() {
                    thin.get_or_insert_with(|| format!("version {version} of {} has {live} copies", segment.name));
                }
            }
        }
        let Some(thin) = thin else { return Ok(()) };
        ensure!(Instant::now() < give_up, "G: {thin}");
        sleep(GLANCE).await;
    }
}
