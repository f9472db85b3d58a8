//! `cairnd init`: this node becomes the first of a new cluster.

use cairn_node::config::Config;
use cairn_node::identity::Identity;
use cairn_store::id::{ClusterId, Incarnation, NodeId};

use crate::args::InitArgs;
use crate::failure::{CONFLICT, Failure};
use crate::folder::{Folder, Joining, check_unused, identity, is_removed, new_id};
use crate::former::Former;
use crate::output;

pub(crate) fn run(args: &InitArgs) -> Result<(), Failure> {
    let InitArgs { node: args, adopt } = args;
    let config = Config::read(&args.config, &args.set)?;
    config.warnings.iter().for_each(|warning| output::note(&format!("warning: {warning}")));
    if *adopt
        && let Some(former) = Former::of(&config.dir)?
        && !former.is_new()?
    {
        // Nobody else may be left who knows it.
        match former.knowledge() {
            Ok((backup, _)) => former.write_backup(&backup)?,
            Err(error) => output::note(&format!("warning: no backup is made of what it knew: {}", error.message)),
        }
        former.set_aside_and_say()?;
    }
    let identity = found(&config)?;
    let (dir, file) = (config.dir.display(), args.config.display());
    output::line(&format!("node {} is the first of the new cluster {}, in {dir}", config.name, identity.cluster));
    output::line(&format!("start it: cairnd start --config {file}"));
    Ok(())
}

/// Makes the folder and the identity. Until the identity is written, the last step, it can be repeated.
pub(crate) fn found(config: &Config) -> Result<Identity, Failure> {
    let dir = &config.dir;
    refuse_used(config)?;
    check_unused(dir)?;
    if Joining::of(dir).read()?.is_some() {
        let message = format!("{} has begun to join a cluster, which may know it already", dir.display());
        return Err(Failure::new(message).exit(CONFLICT).hint("repeat the join, or use an empty folder"));
    }
    let founded =
        Identity { cluster: ClusterId(new_id()), node: NodeId(1), incarnation: Incarnation(new_id()), founder: true };
    let folder = Folder::make(dir, founded.incarnation)?;
    // Another init may have been quicker.
    refuse_used(config)?;
    folder.identify(&founded)?;
    Ok(founded)
}

fn refuse_used(config: &Config) -> Result<(), Failure> {
    let Some(known) = identity(&config.dir)? else { return Ok(()) };
    let (dir, file) = (config.dir.display(), config.file.display());
    let message = format!("{dir} holds node {} of cluster {} already", known.node, known.cluster);
    let hint = match is_removed(&config.dir)? {
        true => "it was removed from its cluster: give node.dir an empty folder".to_owned(),
        false => format!("start it with `cairnd start --config {file}`, or give node.dir an empty folder"),
    };
    Err(Failure::new(message).exit(CONFLICT).hint(hint))
}
