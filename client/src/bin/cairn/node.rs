//! `cairn node`

use cairn_client::api::NodeState;
use cairn_client::dial::Client;

use crate::args::NodeLsArgs;
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
