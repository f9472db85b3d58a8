//! `cairn ls`

use cairn_client::dial::Client;
use cairn_store::name::Name;

use crate::args::LsArgs;
use crate::output::Output;
use crate::report::Report;
use crate::views;

pub(crate) async fn run(client: &Client, args: LsArgs, output: &Output) -> Result<u8, Report> {
    let prefix = args.prefix.unwrap_or_default();
    Name::check_prefix(&prefix).map_err(|error| Report::no_such_prefix(&prefix, &error))?;
    let segments = client.list_all(&prefix, args.owner).await?;
    output.print(&views::Segments::new(&segments))?;
    Ok(0)
}
