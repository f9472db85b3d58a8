//! `cairnd join`: this node becomes a member of a cluster.

use std::path::Path;
use std::time::Duration;

use cairn_client::dial::Client;
use cairn_node::config::Config;
use cairn_node::identity::Identity;
use cairn_store::id::Incarnation;

use crate::args::JoinArgs;
use crate::failure::{CONFLICT, Failure};
use crate::folder::{Folder, Joining, check_unused, identity, new_id};
use crate::{output, small_runtime};

/// How long the cluster may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(args: &JoinArgs) -> Result<(), Failure> {
    let config = Config::read(&args.node.config, &args.node.set)?;
    config.warnings.iter().for_each(|warning| output::note(&format!("warning: {warning}")));
    let seeds = Client::new(args.seed.clone(), PATIENCE);
    let runtime = small_runtime()?;
    let (dir, file) = (config.dir.display(), args.node.config.display());
    if let Some(known) = identity(&config.dir)? {
        runtime.block_on(check_member(&config, &known, &seeds))?;
        output::line(&format!("{dir} has joined already: it is node {} of cluster {}", known.node, known.cluster));
    } else {
        let joined = runtime.block_on(join(&config, Prepared::make(&config.dir)?, &seeds))?;
        output::line(&format!("node {} has joined cluster {} as {}", config.name, joined.cluster, joined.node));
    }
    output::line(&format!("start it: cairnd start --config {file}"));
    Ok(())
}

/// A folder that is ready to join, and the life under which it will be known.
pub(crate) struct Prepared {
    folder: Folder,
    joining: Joining,
    incarnation: Incarnation,
}

impl Prepared {
    /// Blocks for some hundred fsyncs. The incarnation is durable before anybody is told: a join that is repeated
    /// after a crash gets the same node id.
    pub(crate) fn make(dir: &Path) -> Result<Self, Failure> {
        check_unused(dir)?;
        let joining = Joining::of(dir);
        let incarnation = joining.read()?.unwrap_or_else(|| Incarnation(new_id()));
        let folder = Folder::make(dir, incarnation)?;
        if identity(dir)?.is_some() {
            return Err(Failure::new(format!("{} was given to another node just now", dir.display())).exit(CONFLICT));
        }
        joining.write(incarnation)?;
        Ok(Self { folder, joining, incarnation })
    }
}

/// Joins the cluster of `seeds`, and writes down who the node is there.
pub(crate) async fn join(config: &Config, prepared: Prepared, seeds: &Client) -> Result<Identity, Failure> {
    let incarnation = prepared.incarnation;
    let joined = seeds.join(incarnation, config.profile()?).await?;
    let identity = Identity { cluster: joined.cluster, node: joined.id, incarnation, founder: false };
    prepared.folder.identify(&identity)?;
    prepared.joining.remove()?;
    Ok(identity)
}

/// The folder has an identity: is it a member of the cluster of `seeds`?
async fn check_member(config: &Config, known: &Identity, seeds: &Client) -> Result<(), Failure> {
    let dir = config.dir.display();
    let theirs = seeds.hello().await?.cluster;
    if theirs != known.cluster {
        let message = format!("{dir} holds a node of cluster {}, and the seeds are of {theirs}", known.cluster);
        return Err(Failure::new(message).exit(CONFLICT).hint("name other seeds, or give node.dir an empty folder"));
    }
    if !seeds.nodes().await?.iter().any(|node| node.id == known.node) {
        let message = format!("{dir} holds node {}, which was removed from cluster {theirs}", known.node);
        return Err(Failure::new(message)
            .exit(CONFLICT)
            .hint("it may join as a new node: give node.dir an empty folder"));
    }
    Ok(())
}
