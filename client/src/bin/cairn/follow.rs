//! `cairn follow`

use std::io::Write;
use std::path::absolute;

use cairn_client::deliver::Output as Target;
use cairn_client::dial::Client;
use cairn_client::standby::Standby;
use cairn_store::node::NodeName;
use tokio::time::sleep;

use crate::args::{FollowArgs, Globals};
use crate::output::Output;
use crate::progress::Progress;
use crate::report::Report;
use crate::views;

/// How long one question may take before it is said that it is waited for.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
/// The pause before a cluster is asked again that did not answer.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

pub(crate) async fn run(client: &Client, globals: &Globals, args: FollowArgs, output: &Output) -> Result<u8, Report> {
    // The copy is to be on one node: the first that answers.
    let (node, endpoint) = first(client, globals).await?;
    let path = args.out.map(absolute).transpose();
    let path =
        path.map_err(|error| Report::invalid(format!("no path for --out: {error}"), "give the path of a file"))?;
    let target = path.clone().map(|path| Target::File { path, force: true, link: false });
    // Nothing may happen for long: only for who asks for a time-out that is the end.
    let client = Client::new(vec![endpoint], globals.timeout.unwrap_or(PATIENCE));
    let mut standby = Standby::new(client, args.name.clone(), target);
    let (mut last, mut silent) = (None, false);
    loop {
        let progress = Progress::new();
        standby.observe(progress.observer());
        let fault = match standby.next().await {
            Ok(None) if last.is_some() => {
                last = None;
                None
            }
            Ok(Some(known)) if known.received.is_some() && last != Some((known.segment, known.received)) => {
                last = Some((known.segment, known.received));
                let line = views::Followed::new(&args.name, known, &node, path.as_deref());
                drop(progress);
                if !output.print_item(&line)? {
                    return Ok(0);
                }
                None
            }
            Ok(_) => None,
            Err(fault) if fault.retryable() && globals.timeout.is_none() => Some(fault),
            Err(fault) => return Err(fault.into()),
        };
        match fault {
            Some(fault) => {
                if !silent {
                    // Without a place for it there is nothing more to say.
                    let _ = writeln!(std::io::stderr().lock(), "waiting for an answer: {fault}");
                }
                silent = true;
                sleep(PAUSE).await;
            }
            None => silent = false,
        }
    }
}

async fn first(client: &Client, globals: &Globals) -> Result<(NodeName, String), Report> {
    let mut last = None;
    for endpoint in client.endpoints() {
        match Client::new(vec![endpoint.clone()], globals.timeout()).hello().await {
            Ok(hello) => return Ok((hello.node, endpoint.clone())),
            Err(error) => last = Some(error),
        }
    }
    Err(last
        .map_or_else(|| Report::invalid("no endpoint to ask", "see --endpoint and CAIRN_ENDPOINTS"), Report::from))
}
