//! `cairn node`

use cairn_client::api::{Code, Error, NodeState};
use cairn_client::dial::Client;

use crate::args::{NodeLsArgs, NodeShowArgs};
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

pub(crate) async fn show(client: &Client, args: NodeShowArgs, output: &Output) -> Result<u8, Report> {
    let nodes = client.nodes().await?;
    let node = nodes.iter().find(|node| node.name == args.node).ok_or_else(|| {
        Error::new(Code::NotFound, format!("no node has the name {}", args.node)).hint("see `cairn node ls`")
    })?;
    output.print(&views::Node::new(node))?;
    Ok(0)
}
