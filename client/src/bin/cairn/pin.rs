//! `cairn pin`, `cairn unpin`

use cairn_client::dial::Client;
use cairn_client::request;

use crate::args::{PinArgs, UnpinArgs};
use crate::output::Output;
use crate::report::Report;
use crate::views;

pub(crate) async fn pin(client: &Client, args: PinArgs, output: &Output) -> Result<u8, Report> {
    client.pin(request::new_id(), &args.name, args.version).await?;
    output.print(&views::Pinned { name: &args.name, version: Some(args.version), pinned: true })?;
    Ok(0)
}

pub(crate) async fn unpin(client: &Client, args: UnpinArgs, output: &Output) -> Result<u8, Report> {
    client.unpin(request::new_id(), &args.name, args.version).await?;
    output.print(&views::Pinned { name: &args.name, version: args.version, pinned: false })?;
    Ok(0)
}
