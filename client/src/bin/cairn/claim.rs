//! `cairn claim`

use cairn_client::dial::Client;
use cairn_client::request;

use crate::args::ClaimArgs;
use crate::output::Output;
use crate::report::Report;
use crate::views;

pub(crate) async fn run(client: &Client, args: ClaimArgs, output: &Output) -> Result<u8, Report> {
    let claimed = client.claim(request::new_id(), &args.name, args.lease).await?;
    output.print(&views::Claimed::new(&claimed, args.lease))?;
    Ok(0)
}
