//! `cairn node`, but for `drain`

use cairn_client::api::{Code, Error, NodeState};
use cairn_client::dial::Client;

use crate::args::{NodeCheckArgs, NodeLsArgs, NodeNameArgs, NodeRemoveArgs};
use crate::confirm::confirm;
use crate::output::Output;
use crate::report::Report;
use crate::views;

pub(crate) async fn ls(client: &Client, args: NodeLsArgs, output: &Output) -> Result<u8, Report> {
    let mut nodes = client.nodes().await?;
    if let Some(state) = args.state.map(NodeState::from) {
        nodes.retain(|node| node.state == state);
    }
    output.print(&views::Nodes::new(&nodes))?;
    Ok(0)
}

pub(crate) async fn show(client: &Client, args: NodeNameArgs, output: &Output) -> Result<u8, Report> {
    let nodes = client.nodes().await?;
    let node = nodes.iter().find(|node| node.name == args.node).ok_or_else(|| {
        Error::new(Code::NotFound, format!("no node has the name {}", args.node)).hint("see `cairn node ls`")
    })?;
    output.print(&views::Node::new(node))?;
    Ok(0)
}

pub(crate) async fn remove(client: &Client, args: NodeRemoveArgs, output: &Output) -> Result<u8, Report> {
    let NodeRemoveArgs { node, force, yes, dry_run } = args;
    let removal = client.check_remove_node(&node, force).await?;
    if dry_run {
        output.print(&views::Removal::new(&removal, false))?;
    }
    // What is refused is refused in a rehearsal too.
    if let Some(refusal) = &removal.refusal {
        return Err(refusal.clone().into());
    }
    if dry_run {
        return Ok(0);
    }
    if !yes {
        let lost = match removal.lost {
            0 => String::new(),
            1 => " One version is lost with it (--dry-run tells which).".into(),
            lost => format!(" {lost} versions are lost with it (--dry-run lists them)."),
        };
        let alone = if removal.voters == 1 { format!(" Mind that {}.", views::ONE_VOTER) } else { String::new() };
        confirm(format!("Remove node {node} for good?{lost}{alone}"), format!("{node} is not removed")).await?;
    }
    client.remove_node(removal.id, force).await?;
    output.print(&views::Removal::new(&removal, true))?;
    Ok(0)
}

pub(crate) async fn check(client: &Client, args: NodeCheckArgs, output: &Output) -> Result<u8, Report> {
    let health = client.check_stop(&args.node).await?;
    let check = views::Check::new(&args.node, &health.reasons);
    output.print(&check)?;
    Ok(if check.ok { 0 } else { 1 })
}
