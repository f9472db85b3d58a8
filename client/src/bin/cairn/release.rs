//! `cairn release`

use cairn_client::dial::Client;
use cairn_client::request;

use crate::args::ReleaseArgs;
use crate::output::Output;
use crate::report::Report;
use crate::views;

pub(crate) async fn run(client: &Client, args: ReleaseArgs, output: &Output) -> Result<u8, Report> {
    client.release(request::new_id(), &args.name, args.epoch).await?;
    output.print(&views::Released { name: &args.name, owner: None, epoch: args.epoch })?;
    Ok(0)
}
