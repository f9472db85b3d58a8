//! `cairnd join`: this node becomes a member of a cluster.

use std::path::Path;
use std::time::Duration;

use cairn_client::api::{Code, Outcome};
use cairn_client::dial::Client;
use cairn_node::config::Config;
use cairn_node::identity::Identity;
use cairn_store::id::{ClusterId, Incarnation};
use futures::{StreamExt, stream};

use crate::args::JoinArgs;
use crate::failure::{CONFLICT, Failure, UNAVAILABLE, USAGE};
use crate::folder::{Folder, Joining, check_unused, identity, new_id};
use crate::former::{Former, clusters};
use crate::{output, small_runtime};

/// How long the cluster may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// So many seeds are asked at once.
const SEEDS_AT_ONCE: usize = 16;
/// How long the seeds may take to answer at all.
const SEED_PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn run(args: &JoinArgs) -> Result<(), Failure> {
    let config = Config::read(&args.node.config, &args.node.set)?;
    config.warnings.iter().for_each(|warning| output::note(&format!("warning: {warning}")));
    let seeds = Client::new(args.seed.clone(), PATIENCE);
    let runtime = small_runtime()?;
    let (dir, file) = (config.dir.display(), args.node.config.display());
    let mut known = identity(&config.dir)?;
    if known.is_none() {
        check_unused(&config.dir)?;
    }
    // Before anything is made: who was given wrong seeds may try others, or found a cluster.
    let cluster = runtime.block_on(first_contact(&args.seed))?;
    if let Some(former) = &known
        && args.adopt
        && former.cluster != cluster
    {
        runtime.block_on(check_descends(former, &config.dir, &seeds))?;
        runtime.block_on(check_name(&config, &seeds))?;
        if let Some(former) = Former::of(&config.dir)? {
            former.set_aside_and_say()?;
        }
        known = None;
    }
    if let Some(known) = known {
        runtime.block_on(check_member(&config, &known, cluster, &seeds))?;
        output::line(&format!("{dir} has joined already: it is node {} of cluster {}", known.node, known.cluster));
    } else {
        runtime.block_on(check_name(&config, &seeds))?;
        let joined = runtime.block_on(join(&config, Prepared::make(&config.dir)?, &seeds))?;
        output::line(&format!("node {} has joined cluster {} as {}", config.name, joined.cluster, joined.node));
    }
    output::line(&format!("start it: cairnd start --config {file}"));
    Ok(())
}

/// The cluster of the seeds that answer, which must be one.
async fn first_contact(seeds: &[String]) -> Result<ClusterId, Failure> {
    let asked = seeds.iter().map(|seed| async move {
        let hello = Client::new(vec![seed.clone()], SEED_PATIENCE).hello().await;
        (seed, hello)
    });
    // Together: one that is silent costs no more than the time that each has.
    let mut answers = stream::iter(asked).buffered(SEEDS_AT_ONCE);
    let (mut found, mut failed): (Option<(&String, ClusterId)>, Option<Failure>) = (None, None);
    while let Some((seed, answer)) = answers.next().await {
        match (answer, found) {
            (Ok(hello), None) => found = Some((seed, hello.cluster)),
            (Ok(hello), Some((first, cluster))) if hello.cluster != cluster => {
                let theirs = hello.cluster;
                let message = format!("the seeds are of two clusters: {first} of {cluster}, and {seed} of {theirs}");
                return Err(Failure::new(message)
                    .exit(CONFLICT)
                    .hint("name seeds of the cluster that is to be joined only. Nothing was changed"));
            }
            (Ok(_), Some(_)) => {}
            (Err(error), _) => {
                let mistyped = error.code == Code::Invalid;
                let failure = Failure::new(format!("--seed {}: {}", seeds.join(","), error.message))
                    .exit(if mistyped { USAGE } else { UNAVAILABLE })
                    .hint("name a running member's listen.rpc address: --seed HOST:PORT. Nothing was changed");
                failed.get_or_insert(failure);
            }
        }
    }
    found.map(|(_, cluster)| cluster).ok_or_else(|| failed.unwrap_or_else(|| Failure::new("no seed was named")))
}

/// Whether the cluster began with what the folder's former one knew.
async fn check_descends(former: &Identity, dir: &Path, seeds: &Client) -> Result<(), Failure> {
    let ancestors = seeds.recovery().await?.map(|recovery| recovery.ancestors).unwrap_or_default();
    // Or with what one before it knew: who recovered on two nodes brings both to one.
    if clusters(dir).iter().chain([&former.cluster]).any(|cluster| ancestors.contains(cluster)) {
        return Ok(());
    }
    let message = format!("the cluster of the seeds was not restored from cluster {}", former.cluster);
    Err(Failure::new(message).exit(CONFLICT).hint(
        "restore it first: `cairn meta restore`. Or give node.dir an empty folder, and keep this one. Nothing was changed",
    ))
}

/// Whether the cluster has another node of this name. Only a first look: the cluster itself decides.
async fn check_name(config: &Config, seeds: &Client) -> Result<(), Failure> {
    // A join that began may have been carried out, and then the name is this node's own.
    if Joining::of(&config.dir).read()?.is_some() {
        return Ok(());
    }
    match seeds.nodes().await?.iter().find(|node| node.name == config.name) {
        Some(other) => {
            let message =
                format!("the cluster has a node {} already: {}, at {}", other.name, other.id, other.endpoint);
            Err(Failure::new(message).exit(CONFLICT).hint("give this one another node.name; see `cairn node ls`"))
        }
        None => Ok(()),
    }
}

/// A folder that is ready to join, and the life under which it will be known.
pub(crate) struct Prepared {
    folder: Folder,
    joining: Joining,
    incarnation: Incarnation,
    /// Whether no earlier join may have told the cluster of it.
    fresh: bool,
}

impl Prepared {
    /// Blocks for some hundred fsyncs. The incarnation is durable before anybody is told: a join that is repeated
    /// after a crash gets the same node id.
    pub(crate) fn make(dir: &Path) -> Result<Self, Failure> {
        check_unused(dir)?;
        let joining = Joining::of(dir);
        let begun = joining.read()?;
        let (fresh, incarnation) = (begun.is_none(), begun.unwrap_or_else(|| Incarnation(new_id())));
        let folder = Folder::make(dir, incarnation)?;
        if identity(dir)?.is_some() {
            return Err(Failure::new(format!("{} was given to another node just now", dir.display())).exit(CONFLICT));
        }
        joining.write(incarnation)?;
        Ok(Self { folder, joining, incarnation, fresh })
    }
}

/// Joins the cluster of `seeds`, and writes down who the node is there.
pub(crate) async fn join(config: &Config, prepared: Prepared, seeds: &Client) -> Result<Identity, Failure> {
    let incarnation = prepared.incarnation;
    let joined = match seeds.join(incarnation, config.profile()?).await {
        Ok(joined) => joined,
        Err(error) => {
            if prepared.fresh && error.outcome == Outcome::None {
                // Nobody knows of it: the folder is free for another join, or an init.
                prepared.joining.remove()?;
            }
            return Err(error.into());
        }
    };
    let identity = Identity { cluster: joined.cluster, node: joined.id, incarnation, founder: false };
    prepared.folder.identify(&identity)?;
    prepared.joining.remove()?;
    Ok(identity)
}

/// The folder has an identity: is it a member of the cluster of `seeds`?
async fn check_member(config: &Config, known: &Identity, theirs: ClusterId, seeds: &Client) -> Result<(), Failure> {
    let dir = config.dir.display();
    if theirs != known.cluster {
        let message = format!("{dir} holds a node of cluster {}, and the seeds are of {theirs}", known.cluster);
        return Err(Failure::new(message).exit(CONFLICT).hint(
            "name other seeds, or give node.dir an empty folder; if that cluster is lost and this one was restored from it, \
             join with --adopt",
        ));
    }
    if !seeds.nodes().await?.iter().any(|node| node.id == known.node) {
        let message = format!("{dir} holds node {}, which was removed from cluster {theirs}", known.node);
        return Err(Failure::new(message)
            .exit(CONFLICT)
            .hint("it may join as a new node: give node.dir an empty folder"));
    }
    Ok(())
}
