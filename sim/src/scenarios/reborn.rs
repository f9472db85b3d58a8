//! All machines are lost with their disks. A new cluster begins with what the global tier tells: its manifests, or the newest backup
//! of the metadata; and all that was archived loads as it was.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use bytes::Bytes;
use cairn_client::api::{Code, LoadRequest, SaveRequest};
use cairn_client::dial::dial;
use cairn_client::wire::{self, AskBackup, BackupAnswer, BackupOf, Kind};
use cairn_store::archive::Policy;
use cairn_store::archive::key::Key;
use cairn_store::id::ClusterId;
use cairn_store::meta::{Backup, Phase, State};
use cairn_store::name::Name;
use cairn_store::segment::{Ack, CopyState, Epoch, Version};
use tokio::time::sleep;

use super::tier::{check_archived, newest, until_published, until_reached, until_whole};
use crate::cluster::Cluster;
use crate::net::SimNet;
use crate::world::{Action, Oracle};

/// What is saved: under which name, how many versions, how it gets into the tier, and how many bytes at most.
const NAMES: [(&str, u64, Filed, usize); 6] = [
    ("job/always", 3, Filed::By(Policy::Always), 150_000),
    ("job/second", 4, Filed::By(Policy::Every(2)), 50_000),
    ("job/newest", 3, Filed::By(Policy::Background), 50_000),
    ("job/empty", 1, Filed::By(Policy::Always), 0),
    ("job/safe", 1, Filed::BySave, 50_000),
    (NEVER, 1, Filed::By(Policy::Never), 10_000),
];
/// What is lost.
const NEVER: &str = "job/never";
/// How many versions each keeps: all.
const KEEP: u32 = 8;
/// Who founds the new cluster.
const FIRST: &str = "n1";
/// How long connecting may take, and the quorum of one.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a version gets into the tier.
#[derive(Clone, Copy, Debug)]
enum Filed {
    /// By itself.
    By(Policy),
    /// By a save that waits for it, and never otherwise.
    BySave,
}

type Versions = BTreeMap<(Name, Version), Vec<u8>>;

pub(super) async fn play(cluster: Cluster) -> anyhow::Result<()> {
    until_reached(&cluster).await?;
    let saved = save_all(&cluster).await?;
    let known = until_published(&cluster).await?;
    let former = known.cluster.context("it was founded")?;
    let due = archived(&known, &saved);
    for (name, version) in due.keys() {
        check_archived(&cluster, name, *version)?;
    }
    ensure!(due.len() >= 8, "only {:?} are archived", due.keys());

    let whole = cluster.rng.below(2) == 0;
    if whole {
        until_backed_up(&cluster, former, known.revision).await?;
    }
    let left = lose_all(&cluster, former).await?;
    let named = Some(former).filter(|_| cluster.rng.below(2) == 0);
    let of = if whole { BackupOf::Stored(named) } else { BackupOf::Manifests(named) };
    let backup = fetch(&cluster, of).await.with_context(|| format!("{of:?}"))?;
    // One that another followed may have got there at the last moment.
    let found = archived(&backup.state, &saved);
    ensure!(due.keys().all(|key| found.contains_key(key)), "of {:?} only {:?} are known", due.keys(), found.keys());
    begin(&cluster, &backup).await?;

    check_recovery(&cluster, &backup, &found).await?;
    check_loads(&cluster, &found).await?;
    check_never(&cluster, whole).await?;
    cluster.client(FIRST)?.resume().await?;
    go_on(&cluster, &found).await?;
    for (key, bytes) in &left {
        let same = cluster.objects.bytes(key).is_some_and(|now| now == *bytes);
        ensure!(same, "E: {key} is the former cluster's, and is not as it was");
    }
    Ok(())
}

async fn save_all(cluster: &Cluster) -> anyhow::Result<Versions> {
    let (executors, mut saved) = (cluster.executors_without(&[]), Versions::new());
    for (place, (name, versions, filed, most)) in NAMES.into_iter().enumerate() {
        let saver = executors.get(place % executors.len().max(1)).context("no executor")?;
        for _ in 0..versions {
            let bytes = cluster.rng.bytes(most / 2 + cluster.rng.index(most / 2 + 1));
            let request = SaveRequest { replicas: 1, keep: KEEP, ..cluster.save_request(name)? };
            let request = match filed {
                Filed::By(policy) => SaveRequest { archive: Some(policy), ..request },
                Filed::BySave => SaveRequest { ack: Ack::Global, archive: Some(Policy::Never), ..request },
            };
            let done = cluster.save_with(saver, &request, &bytes).await??;
            saved.insert((done.name, done.version), bytes);
        }
    }
    Ok(saved)
}

/// What of it the state says that it is in the tier.
fn archived(state: &State, saved: &Versions) -> Versions {
    let is_there = |(name, version): &(Name, Version)| is_archived(state, name, *version);
    saved.iter().filter(|&(key, _)| is_there(key)).map(|(key, bytes)| (key.clone(), bytes.clone())).collect()
}

fn is_archived(state: &State, name: &Name, version: Version) -> bool {
    let object = state.by_name(name).and_then(|segment| state.object_of(segment.id, version));
    object.is_some_and(|object| object.published && object.state == CopyState::Durable)
}

/// Waits until the tier has a backup that is as new as this.
async fn until_backed_up(cluster: &Cluster, of: ClusterId, revision: u64) -> anyhow::Result<()> {
    let new = |key: &String| match key.parse() {
        Ok(Key::Backup(cluster, at)) => cluster == of && at >= revision,
        _ => false,
    };
    cluster.until("a backup in the global tier", || cluster.objects.keys().iter().any(new).then_some(())).await
}

/// Everything is lost but the tier. Tells what of the cluster lies there.
async fn lose_all(cluster: &Cluster, former: ClusterId) -> anyhow::Result<BTreeMap<String, Bytes>> {
    let all: Vec<String> = cluster.machines().iter().map(|machine| machine.name.clone()).collect();
    cluster.act(Action::Crash(all.clone())).await;
    cluster.oracle.replace(Oracle::default());
    for name in &all {
        cluster.act(Action::Wipe(name.clone())).await;
    }
    cluster.act(Action::Found(FIRST.to_owned())).await;
    let folder = format!("{former}/");
    let keys = cluster.objects.keys().into_iter().filter(|key| key.starts_with(&folder));
    let left = keys.filter_map(|key| Some((key.clone(), cluster.objects.bytes(&key)?))).collect();
    cluster.start(&[FIRST]).await;
    cluster.leader().await?;
    until_reached(cluster).await?;
    let now = newest(cluster)?;
    ensure!(
        now.cluster.is_some_and(|cluster| cluster != former) && now.segments.is_empty(),
        "it is not a new cluster"
    );
    Ok(left)
}

/// What the first node of the new cluster finds in the tier, over its data plane.
async fn fetch(cluster: &Cluster, of: BackupOf) -> anyhow::Result<Backup> {
    let (net, address) = (SimNet::default(), cluster.machine(FIRST)?.data());
    let mut stream = dial(&net, &address, PATIENCE).await?;
    wire::send(&mut stream, &AskBackup { wait: PATIENCE, of }).await?;
    let BackupAnswer(answer) = wire::receive(&mut stream).await?;
    answer.map_err(|refusal| anyhow!("refused: {refusal}"))?;
    let mut records = Vec::new();
    loop {
        let (kind, piece) = wire::receive_bytes(&mut stream).await?;
        ensure!(kind == Kind::BackupPiece as u16, "a frame of kind {kind}");
        if piece.is_empty() {
            break;
        }
        records.extend(piece);
    }
    Ok(Backup::read(&mut records.as_slice())?)
}

/// The new cluster begins with it, however often the power of its first node goes meanwhile; then the other machines join.
async fn begin(cluster: &Cluster, backup: &Backup) -> anyhow::Result<()> {
    let client = cluster.client(FIRST)?;
    let restore = async { Ok::<_, anyhow::Error>(client.restore(backup, |_| {}).await?) };
    let outage = async {
        sleep(Duration::from_millis(cluster.rng.below(60))).await;
        cluster.crash(&[FIRST]).await;
        cluster.start(&[FIRST]).await;
        Ok(())
    };
    tokio::try_join!(restore, outage)?;
    let others: Vec<&str> =
        cluster.machines().iter().map(|machine| machine.name.as_str()).filter(|name| *name != FIRST).collect();
    cluster.start(&others).await;
    cluster.ready().await?;
    until_reached(cluster).await
}

/// The cluster knows what it has, and from where.
async fn check_recovery(cluster: &Cluster, backup: &Backup, found: &Versions) -> anyhow::Result<()> {
    let told = cluster.client(FIRST)?.recovery().await?.context("it began with a backup")?;
    let known: usize = backup.state.segments.values().map(|segment| segment.versions.len()).sum();
    let lost = u64::try_from(known - found.len())?;
    ensure!(told.phase == Phase::Adopting && told.missing == lost, "{lost} are lost, and: {told:?}");
    Ok(())
}

/// Each of them loads, on whatever node.
async fn check_loads(cluster: &Cluster, found: &Versions) -> anyhow::Result<()> {
    for ((name, version), bytes) in found {
        let executors = cluster.executors_without(&[]);
        let node = executors.get(cluster.rng.index(executors.len())).context("no executor")?;
        let request = LoadRequest { version: Some(*version), ..cluster.load_request(name.as_str())? };
        let loaded = cluster.load_with(node, &request).await?;
        let (loaded, got) = loaded.with_context(|| format!("version {version} of {name} on {node}"))?;
        ensure!(got == *bytes, "A: version {version} of {name} has other bytes");
        ensure!(loaded.sources.iter().all(|source| source.node.is_none()), "nobody had it: {loaded:?}");
    }
    Ok(())
}

/// What was never archived is lost, and nothing is served in its place.
async fn check_never(cluster: &Cluster, listed: bool) -> anyhow::Result<()> {
    let error = cluster.try_load(FIRST, NEVER, false).await?.err().context("what was lost was loaded")?;
    let code = if listed { Code::Unavailable } else { Code::NotFound };
    ensure!(error.code == code, "{error:?}");
    let name: Name = NEVER.parse()?;
    if listed {
        cluster.client(FIRST)?.remove(cluster.new_request(), &name, None).await?;
    }
    cluster.give_up(&name, None);
    Ok(())
}

/// The new cluster works: its own versions, and those of the former one, get there in its own name, and all have their copies.
async fn go_on(cluster: &Cluster, found: &Versions) -> anyhow::Result<()> {
    let executors = cluster.executors_without(&[]);
    let heir = executors.get(cluster.rng.index(executors.len())).context("no executor")?;
    let (loaded, _) = cluster.load(heir, "job/always", true).await?;
    ensure!(loaded.claimed && loaded.epoch > Epoch(1 << 32), "{loaded:?}");
    let request = SaveRequest { replicas: 1, keep: KEEP, ..cluster.save_request("job/always")? };
    let saved = cluster.save_with(heir, &request, &cluster.rng.bytes(5_000)).await??;
    ensure!(saved.version == loaded.version.next(), "{saved:?}");
    until_whole(cluster).await?;
    let state = until_published(cluster).await?;
    check_archived(cluster, &saved.name, saved.version)?;
    for (name, version) in found.keys() {
        ensure!(
            is_archived(&state, name, *version),
            "version {version} of {name} is not in the global tier any more"
        );
        check_archived(cluster, name, *version)?;
    }
    Ok(())
}
