//! `cairn claim`

use cairn_client::claim::ClaimOptions;
use cairn_client::dial::Client;

use crate::args::ClaimArgs;
use crate::output::Output;
use crate::report::Report;
use crate::views;

pub(crate) async fn run(client: &Client, args: ClaimArgs, output: &Output) -> Result<u8, Report> {
    let ClaimArgs { name, lease, if_epoch } = args;
    let claimed = client.claim(ClaimOptions { lease, if_epoch, ..ClaimOptions::new(name) }).await?;
    output.print(&views::Claimed::new(&claimed, lease))?;
    Ok(0)
}
