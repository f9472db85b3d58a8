//! What a machine does when it is switched on: what `cairnd init`, `cairnd join` and `cairnd start` do.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use cairn_client::api::Code;
use cairn_client::dial::Client;
use cairn_node::env::{Env, Objects};
use cairn_node::identity::Identity;
use cairn_node::node::{Node, Settings};
use cairn_node::work::leave::REMOVED;
use cairn_store::disk::Disk as _;
use cairn_store::id::NodeId;

use super::{Machine, Spec};
use crate::catalogue::MemCatalogue;
use crate::clock::SimClock;
use crate::log::MemLog;
use crate::net::SimNet;
use crate::objects::Store;
use crate::rng::SplitMix;
use crate::spawn::SimSpawn;

/// How long one request to join is tried.
const JOIN_PATIENCE: Duration = Duration::from_secs(10);
/// How many requests it makes: more than any fault lasts.
const JOINS_MAX: u32 = 60;

/// Runs the node until the power goes. `seeds` are who may let it in. A node that stops by itself is noted; what follows
/// is the world's to decide.
pub(super) async fn boot(
    machine: Rc<Machine>,
    spec: Rc<Spec>,
    seed: u64,
    seeds: Rc<[String]>,
    objects: Store,
) -> anyhow::Result<()> {
    if machine.is_on() {
        let why = match run(&machine, &spec, seed, &seeds, &objects).await {
            Ok(()) => "it was told to".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        tracing::info!(%why, "a node stopped");
        machine.note_stop(why);
    }
    std::future::pending().await
}

async fn run(machine: &Rc<Machine>, spec: &Spec, seed: u64, seeds: &[String], objects: &Store) -> anyhow::Result<()> {
    let boot = machine.next_boot();
    let name = machine.name.as_str();
    let identity = match machine.disk.read_identity()? {
        Some(text) => Identity::from_toml(&text)?,
        None => {
            let identity = first_identity(machine, seeds).await?;
            machine.disk.write_identity(&identity.to_toml()?)?;
            identity
        }
    };
    // Whoever was marked is needed by nobody: if it were, the others would stay without a quorum.
    ensure!(!machine.disk.was_removed(identity.incarnation)?, "{REMOVED}");
    tracing::info!(boot, node = %identity.node, "a machine starts its node");
    let env = Env {
        clock: Arc::new(SimClock::new(machine.skew.clone())),
        rng: Arc::new(SplitMix::of(seed, name, boot)),
        spawn: Arc::new(SimSpawn::new(SplitMix::of(seed, &format!("disk of {name}"), boot), machine.disk.slowness())),
        net: Arc::new(SimNet::recording(machine.sent.clone())),
        disk: machine.disk.boot(),
        catalogue: Arc::new(MemCatalogue::default()),
        objects: machine.has_tier().then(|| Arc::new(objects.open(name)) as Arc<dyn Objects>),
    };
    let log = MemLog::open(machine.log.clone(), &env, SplitMix::of(seed, &format!("log of {name}"), boot));
    let profile = machine.profile()?;
    let settings = Settings {
        rpc: vec![profile.rpc.clone()],
        data: profile.data.clone(),
        http: None,
        profile,
        limits: spec.limits,
        raft: spec.raft,
    };
    let node = Node::start(settings, identity, env, log).await.with_context(|| format!("{name} does not start"))?;
    let (core, mut inbox) = (node.core.clone(), machine.keep_node(node.core.clone()));
    tokio::task::spawn_local(async move {
        while let Some(errand) = inbox.recv().await {
            tokio::task::spawn_local(errand(core.clone()));
        }
    });
    node.run().await.map_err(|fault| anyhow::anyhow!("{fault}"))
}

async fn first_identity(machine: &Machine, seeds: &[String]) -> anyhow::Result<Identity> {
    let incarnation = machine.incarnation();
    if let Some(cluster) = machine.founded() {
        return Ok(Identity { cluster, node: NodeId(1), incarnation, founder: true });
    }
    let others = seeds.iter().filter(|seed| **seed != machine.rpc()).cloned().collect();
    let client = Client::with_connect(Arc::new(SimNet::default()), others, JOIN_PATIENCE);
    for _ in 0..JOINS_MAX {
        match client.join(incarnation, machine.profile()?).await {
            Ok(joined) => {
                return Ok(Identity { cluster: joined.cluster, node: joined.id, incarnation, founder: false });
            }
            Err(e) if e.code == Code::Unavailable => tracing::info!(error = %e, "not joined yet"),
            Err(e) => return Err(e).with_context(|| format!("{} cannot join", machine.name)),
        }
    }
    bail!("G: {} is not let in, asked {JOINS_MAX} times", machine.name)
}
