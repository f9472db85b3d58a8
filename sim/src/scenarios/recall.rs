//! Versions lie in the global tier, and no node has a good copy of them any more: they are had from there, bit for bit, on nodes that
//! reach it and on others. What was altered there is never served; where a good copy is left, it gets there anew.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use cairn_client::api::{Code, LoadRequest, Loaded, SaveRequest};
use cairn_store::archive::Policy;
use cairn_store::archive::key::{Part as ObjectPart, Stem};
use cairn_store::digest::BLOCK_BYTES;
use cairn_store::id::CopyId;
use cairn_store::meta::State;
use cairn_store::name::Name;
use cairn_store::node::NodeName;
use cairn_store::segment::{CopyState, Version, VersionRecord};
use tokio::time::{Instant, sleep};

use super::tier::{check_archived, newest, stem_of, until_published, until_reached, until_whole};
use crate::cluster::Cluster;
use crate::disk::Part;
use crate::world::{Action, Machine};

/// Who saves: those that run applications and reach the tier.
const SAVERS: [&str; 2] = ["n1", "n2"];
/// How long it may take until others have the votes of nodes that are gone.
const HEIRS_MAX: Duration = Duration::from_secs(30);
/// How often that is looked at.
const GLANCE: Duration = Duration::from_millis(500);

pub(super) async fn play(cluster: Cluster) -> anyhow::Result<()> {
    until_reached(&cluster).await?;
    let some = 1 + cluster.rng.index(150_000);
    let bad = cluster.rng.one_of([Harm::Deleted, Harm::Rotten]);
    for (name, size, harm) in
        [("job/empty", 0, Harm::Deleted), ("job/large", 2 * BLOCK_BYTES + 17, bad), ("job/small", some, Harm::Off)]
    {
        without_copies(&cluster, name, size, harm).await.with_context(|| format!("{name}, {harm:?}"))?;
    }
    let mut left = vec![Wrong::Flipped, Wrong::Cut, Wrong::Table, Wrong::Gone];
    for number in 0..2 {
        let wrong = left.remove(cluster.rng.index(left.len()));
        let name = format!("job/altered-{number}");
        altered(&cluster, &name, wrong).await.with_context(|| format!("{wrong:?}"))?;
    }
    noticed(&cluster).await?;
    nothing_is_left(&cluster).await?;
    if cluster.rng.below(2) == 0 {
        lost_for_good(&cluster).await?;
    }
    Ok(())
}

/// How the copies of a version are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    /// Somebody deletes them.
    Deleted,
    /// They rot.
    Rotten,
    /// Their nodes are off.
    Off,
}

/// What is wrong with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    /// One of its bytes is another one.
    Flipped,
    /// It is shorter.
    Cut,
    /// The table of its blocks has another byte.
    Table,
    /// It is not there.
    Gone,
}

/// A version that lies in the tier, and on two machines.
struct Kept {
    name: Name,
    bytes: Vec<u8>,
    version: Version,
    stem: Stem,
    copies: Vec<(Rc<Machine>, CopyId)>,
}

impl Kept {
    async fn make(cluster: &Cluster, name: &str, size: usize) -> anyhow::Result<Self> {
        let bytes = cluster.rng.bytes(size);
        let saver = cluster.rng.one_of(SAVERS);
        let request = SaveRequest { replicas: 1, archive: Some(Policy::Always), ..cluster.save_request(name)? };
        let saved = cluster.save_with(saver, &request, &bytes).await??;
        let (name, version) = (saved.name, saved.version);
        let state = until_published(cluster).await?;
        check_archived(cluster, &name, version)?;
        let mut copies = Vec::new();
        for copy in record(&state, &name, version)?.durable() {
            let member = state.members.get(&copy.node).context("a copy on a stranger")?;
            copies.push((cluster.machine_of(&member.profile.name)?.clone(), copy.id));
        }
        ensure!(copies.len() == 2, "{} copies", copies.len());
        let stem = stem_of(&state, &name, version)?;
        Ok(Self { name, bytes, version, stem, copies })
    }

    fn holders(&self) -> Vec<&str> {
        self.copies.iter().map(|(machine, _)| machine.name.as_str()).collect()
    }

    /// A machine without a copy that runs applications, and has the tier or not; else any of them.
    fn loader(&self, cluster: &Cluster, tiered: bool) -> anyhow::Result<String> {
        let others = cluster.executors_without(&self.holders());
        let fits = |name: &&String| cluster.machine(name).is_ok_and(|machine| machine.has_tier() == tiered);
        let fitting: Vec<&String> = others.iter().filter(fits).collect();
        let drawn = fitting.get(cluster.rng.index(fitting.len())).copied();
        drawn.or_else(|| others.first()).cloned().context("everybody has a copy")
    }

    /// Its copies are lost.
    async fn lose(&self, cluster: &Cluster, harm: Harm) -> anyhow::Result<()> {
        // The same place of each: else one could have what the other lacks.
        let place = cluster.rng.index(self.bytes.len());
        for (machine, copy) in &self.copies {
            match harm {
                Harm::Deleted => machine.disk.delete(*copy)?,
                Harm::Rotten => machine.disk.rot(*copy, Part::Bytes, place)?,
                Harm::Off => continue,
            }
            machine.harm(*copy);
        }
        if harm == Harm::Off {
            let nodes = self.nodes()?;
            cluster.crash(&self.holders()).await;
            until_down(cluster, &nodes).await?;
        }
        Ok(())
    }

    fn nodes(&self) -> anyhow::Result<Vec<NodeName>> {
        self.copies.iter().map(|(machine, _)| machine.node_name()).collect()
    }

    /// The bytes came from the tier: to the node that loaded them, or to one that gave them to it; that one is a holder now.
    fn check_source(&self, cluster: &Cluster, loader: &str, loaded: &Loaded) -> anyhow::Result<()> {
        let (state, sources) = (newest(cluster)?, &loaded.sources);
        let holds = |node: &NodeName| {
            let id = state.node_named(node).map(|member| member.id);
            let record = record(&state, &self.name, self.version);
            record.is_ok_and(|record| {
                let is_new = |copy: &CopyId| self.copies.iter().all(|(_, lost)| lost != copy);
                record.durable().any(|copy| Some(copy.node) == id && is_new(&copy.id))
            })
        };
        if cluster.machine(loader)?.has_tier() {
            ensure!(sources.iter().any(|source| source.node.is_none()), "it came from elsewhere: {sources:?}");
            ensure!(holds(&loaded.node), "{} is no holder of what it had from the global tier", loaded.node);
            return Ok(());
        }
        // Also one that had lost its copy: what it gave is another one.
        let gave = |node: &NodeName| {
            let tiered = cluster.machine_of(node).is_ok_and(|machine| machine.has_tier());
            tiered && holds(node)
        };
        let given = sources.iter().filter_map(|source| source.node.as_ref()).any(gave);
        ensure!(given, "nobody who reaches the tier has it and gave it: {sources:?}");
        Ok(())
    }

    /// Waits until nobody counts on its former copies.
    async fn until_lost(&self, cluster: &Cluster) -> anyhow::Result<()> {
        let counts = |state: &State| {
            let mut durable = record(state, &self.name, self.version).ok()?.durable();
            Some(durable.any(|copy| self.copies.iter().any(|(_, lost)| *lost == copy.id)))
        };
        let look = || (counts(&newest(cluster).ok()?) == Some(false)).then_some(());
        cluster.until("the end of all bad copies", look).await
    }

    /// Waits until nobody counts on its object any more, which was harmed.
    async fn until_found_bad(&self, cluster: &Cluster) -> anyhow::Result<()> {
        let counts = |state: &State| {
            let object = state.object_of(self.stem.segment, self.version);
            object.is_some_and(|object| object.id == self.stem.object && object.state == CopyState::Durable)
        };
        let look = || (!counts(&newest(cluster).ok()?)).then_some(());
        cluster.until("word that an object is bad", look).await
    }

    /// It gets there anew, as another object.
    async fn until_there_anew(&self, cluster: &Cluster) -> anyhow::Result<()> {
        self.until_found_bad(cluster).await?;
        let state = until_published(cluster).await?;
        let stem = stem_of(&state, &self.name, self.version)?;
        ensure!(stem.object != self.stem.object, "an object that was bad counts again");
        check_archived(cluster, &self.name, self.version)
    }

    /// Something happens to its object where it lies.
    fn harm_object(&self, cluster: &Cluster, wrong: Wrong) -> anyhow::Result<()> {
        let (bytes, table) =
            (self.stem.key(ObjectPart::Bytes).to_string(), self.stem.key(ObjectPart::Table).to_string());
        match wrong {
            Wrong::Flipped => cluster.objects.flip(&bytes, cluster.rng.index(self.bytes.len())),
            Wrong::Cut => cluster.objects.cut(&bytes, cluster.rng.index(self.bytes.len())),
            Wrong::Table => cluster.objects.flip(&table, cluster.rng.index(32)),
            Wrong::Gone => cluster.objects.remove(&bytes),
        }
    }
}

fn record<'a>(state: &'a State, name: &Name, version: Version) -> anyhow::Result<&'a VersionRecord> {
    let segment = state.by_name(name).with_context(|| format!("{name} is gone"))?;
    let record = segment.versions.get(&version).with_context(|| format!("{name} has no version {version}"))?;
    Ok(&**record)
}

/// Waits until the leader does not hear these nodes.
async fn until_down(cluster: &Cluster, nodes: &[NodeName]) -> anyhow::Result<()> {
    let down = |state: &State| nodes.iter().all(|node| state.node_named(node).is_some_and(|member| !member.up));
    cluster.until("nodes that are marked down", || down(&newest(cluster).ok()?).then_some(())).await
}

async fn without_copies(cluster: &Cluster, name: &str, size: usize, harm: Harm) -> anyhow::Result<()> {
    let kept = Kept::make(cluster, name, size).await?;
    let loader = kept.loader(cluster, cluster.rng.below(2) == 0)?;
    kept.lose(cluster, harm).await?;
    let (loaded, got) = cluster.load(&loader, name, false).await?;
    ensure!(got == kept.bytes && loaded.version == kept.version, "{loaded:?}");
    kept.check_source(cluster, &loader, &loaded)?;
    if harm == Harm::Off {
        cluster.start(&kept.holders()).await;
        cluster.ready().await?;
        until_reached(cluster).await?;
    } else {
        kept.until_lost(cluster).await?;
    }
    until_whole(cluster).await
}

/// An object is altered while nodes still have good copies.
async fn altered(cluster: &Cluster, name: &str, wrong: Wrong) -> anyhow::Result<()> {
    let size = 1 + cluster.rng.index(100_000);
    let kept = Kept::make(cluster, name, size).await?;
    kept.harm_object(cluster, wrong)?;
    let request = LoadRequest { from_tier: true, ..cluster.load_request(name)? };
    match cluster.load_with(cluster.rng.one_of(SAVERS), &request).await? {
        Err(error) => ensure!(error.code == Code::Corrupt, "{error:?}"),
        // Whoever tidies may have noticed before, and it lies there anew.
        Ok((_, got)) => {
            let now = stem_of(&newest(cluster)?, &kept.name, kept.version)?;
            let anew = now.object != kept.stem.object && matches!(wrong, Wrong::Cut | Wrong::Gone);
            ensure!(anew && got == kept.bytes, "what was altered was served");
        }
    }
    kept.until_there_anew(cluster).await
}

/// An object is cut short, or is gone, and nobody asks for it.
async fn noticed(cluster: &Cluster) -> anyhow::Result<()> {
    let kept = Kept::make(cluster, "job/unnoticed", 1 + cluster.rng.index(10_000)).await?;
    kept.harm_object(cluster, cluster.rng.one_of([Wrong::Cut, Wrong::Gone]))?;
    kept.until_there_anew(cluster).await.context("nobody asked for it")
}

/// Neither a copy nor the object is good. Nothing is served, and all of it is known.
async fn nothing_is_left(cluster: &Cluster) -> anyhow::Result<()> {
    let kept = Kept::make(cluster, "job/nothing", 1 + cluster.rng.index(10_000)).await?;
    kept.lose(cluster, Harm::Deleted).await?;
    kept.harm_object(cluster, cluster.rng.one_of([Wrong::Flipped, Wrong::Table]))?;
    for _ in 0..2 {
        let loader = kept.loader(cluster, cluster.rng.below(2) == 0)?;
        let (direct, loaded) =
            (cluster.machine(&loader)?.has_tier(), cluster.try_load(&loader, kept.name.as_str(), false).await?);
        let Err(error) = loaded else { bail!("{loader} loaded what nobody has") };
        // Who relays may be busy with a repair that comes to nothing.
        let busy = !direct && error.code == Code::Unavailable;
        ensure!(error.code == Code::Corrupt || busy, "{error:?}");
    }
    kept.until_lost(cluster).await?;
    kept.until_found_bad(cluster).await?;
    let leader = cluster.leader().await?;
    cluster.client(&leader)?.remove(cluster.new_request(), &kept.name, None).await?;
    cluster.give_up(&kept.name, None);
    Ok(())
}

/// The machines that hold a version are lost with their disks, and come back as others.
async fn lost_for_good(cluster: &Cluster) -> anyhow::Result<()> {
    let kept = Kept::make(cluster, "job/lost", 1 + cluster.rng.index(100_000)).await?;
    let (machines, former) = (kept.holders(), kept.nodes()?);
    let loader = kept.loader(cluster, cluster.rng.below(2) == 0)?;
    cluster.crash(&machines).await;
    for machine in &machines {
        cluster.act(Action::Wipe((*machine).to_owned())).await;
    }
    until_down(cluster, &former).await?;
    let (loaded, got) = cluster.load(&loader, kept.name.as_str(), false).await?;
    ensure!(got == kept.bytes && loaded.version == kept.version, "{loaded:?}");

    cluster.start(&machines).await;
    until_whole(cluster).await.context("after two machines were lost for good")?;
    let leader = cluster.leader().await?;
    let asked = cluster.client(&leader)?;
    for node in &former {
        let give_up = Instant::now() + HEIRS_MAX;
        let mut foretold = asked.check_remove_node(node, false).await?;
        while foretold.refusal.is_some() && Instant::now() < give_up {
            sleep(GLANCE).await;
            foretold = asked.check_remove_node(node, false).await?;
        }
        ensure!(foretold.refusal.is_none() && foretold.lost == 0, "{foretold:?}");
        asked.remove_node(foretold.id, false).await?;
    }
    cluster.ready().await?;
    until_reached(cluster).await?;
    until_whole(cluster).await
}
