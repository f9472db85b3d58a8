//! `cairn rm`

use cairn_client::dial::Client;
use cairn_client::request;

use crate::args::RmArgs;
use crate::confirm::confirm;
use crate::output::Output;
use crate::report::Report;
use crate::views;

pub(crate) async fn run(client: &Client, args: RmArgs, output: &Output) -> Result<u8, Report> {
    let RmArgs { name, version, yes, dry_run } = args;
    if dry_run {
        client.check_remove(&name, version).await?;
    } else {
        if !yes {
            let question = match version {
                Some(version) => format!("Remove version {version} of {name}?"),
                None => format!("Remove {name} with all its versions?"),
            };
            confirm(question, format!("{name} is not removed")).await?;
        }
        client.remove(request::new_id(), &name, version).await?;
    }
    output.print(&views::Removed { name: &name, version, removed: !dry_run })?;
    Ok(0)
}
