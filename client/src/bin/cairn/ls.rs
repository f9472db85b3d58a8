//! `cairn ls`

use cairn_client::dial::Client;

use crate::args::LsArgs;
use crate::output::Output;
use crate::report::Report;
use crate::views;

pub(crate) async fn run(client: &Client, args: LsArgs, output: &Output) -> Result<u8, Report> {
    let segments = client.list_all(args.prefix.as_deref().unwrap_or_default(), args.owner).await?;
    output.print(&views::Segments::new(&segments))?;
    Ok(0)
}
