//! `cairn renew`

use cairn_client::dial::Client;
use cairn_client::request;

use crate::args::RenewArgs;
use crate::output::Output;
use crate::report::Report;
use crate::views;

pub(crate) async fn run(client: &Client, args: RenewArgs, output: &Output) -> Result<u8, Report> {
    let span = client.renew(request::new_id(), &args.name, args.epoch).await?;
    output.print(&views::Renewed::new(&args.name, args.epoch, span))?;
    Ok(0)
}
