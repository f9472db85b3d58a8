//! `cairn cluster`

use cairn_client::dial::Client;

use crate::output::Output;
use crate::report::Report;
use crate::views;

pub(crate) async fn status(client: &Client, output: &Output) -> Result<u8, Report> {
    let status = client.status().await?;
    output.print(&views::Status::new(&status))?;
    Ok(0)
}

pub(crate) async fn peers(client: &Client, output: &Output) -> Result<u8, Report> {
    let peers = client.peers().await?;
    output.print(&views::Peers::new(&peers))?;
    Ok(0)
}

pub(crate) async fn health(client: &Client, output: &Output) -> Result<u8, Report> {
    let health = views::Health::new(client.health().await?.reasons);
    output.print(&health)?;
    Ok(if health.healthy { 0 } else { 1 })
}

pub(crate) async fn repairs(client: &Client, output: &Output) -> Result<u8, Report> {
    output.print(&views::Repairs::new(&client.repairs().await?))?;
    Ok(0)
}
