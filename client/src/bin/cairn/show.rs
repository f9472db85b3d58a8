//! `cairn show`

use cairn_client::dial::Client;

use crate::args::NameArgs;
use crate::output::Output;
use crate::report::Report;
use crate::views;

pub(crate) async fn run(client: &Client, args: NameArgs, output: &Output) -> Result<u8, Report> {
    let detail = client.show(&args.name).await?;
    output.print(&views::Detail::new(&detail))?;
    Ok(0)
}
