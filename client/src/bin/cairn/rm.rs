//! `cairn rm`

use std::io::{self, BufRead, IsTerminal, Write};

use cairn_client::dial::Client;
use cairn_client::request;
use cairn_store::segment::Version;

use crate::args::RmArgs;
use crate::output::Output;
use crate::report::Report;
use crate::views;

pub(crate) async fn run(client: &Client, args: RmArgs, output: &Output) -> Result<u8, Report> {
    let RmArgs { name, version, yes, dry_run } = args;
    if dry_run {
        client.check_remove(&name, version).await?;
    } else {
        if !yes {
            confirm(name.as_str(), version).await?;
        }
        client.remove(request::new_id(), &name, version).await?;
    }
    output.print(&views::Removed { name: &name, version, removed: !dry_run })?;
    Ok(0)
}

/// Asks on a terminal; elsewhere there is nobody to ask.
async fn confirm(name: &str, version: Option<Version>) -> Result<(), Report> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Report::invalid(format!("{name} is not removed without being asked"), "say --yes, or --dry-run"));
    }
    let question = match version {
        Some(version) => format!("Remove version {version} of {name}? [y/N] "),
        None => format!("Remove {name} with all its versions? [y/N] "),
    };
    let asked = tokio::task::spawn_blocking(move || {
        io::stderr().lock().write_all(question.as_bytes())?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        Ok::<_, io::Error>(answer)
    });
    let answer = asked.await.map_err(io::Error::other).flatten();
    let answer = answer.map_err(|error| Report::internal(format!("cannot ask: {error}")))?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Report::internal("nothing was removed")),
    }
}
