//! `cairn node drain`, `cairn node undrain`

use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use cairn_client::api::{Drain, Error};
use cairn_client::dial::{Client, TIMEOUT_MAX};
use cairn_store::name::Name;
use cairn_store::segment::Version;
use tokio::time::{Instant, sleep};

use crate::args::{DrainArgs, Globals, NodeNameArgs};
use crate::confirm::confirm;
use crate::output::Output;
use crate::report::Report;
use crate::views;

/// How often it is looked how far it is.
const LOOK: Duration = Duration::from_millis(500);
/// The most of what is in the way that is told while it lasts.
const TOLD_MAX: usize = 100;

pub(crate) async fn drain(
    client: &Client,
    globals: &Globals,
    args: DrainArgs,
    output: &Output,
) -> Result<u8, Report> {
    let DrainArgs { node, detach, yes, dry_run } = args;
    if dry_run {
        output.print(&views::Drain::new(&client.drained(&node, true).await?, true))?;
        return Ok(0);
    }
    if !yes {
        let question = format!("Empty node {node}? What it owns has no owner then.");
        confirm(question, format!("{node} is not emptied")).await?;
    }
    client.drain(&node, true).await?;
    // It may take days: only who asks for a time-out gets one.
    let client = Client::new(globals.endpoints(), globals.timeout.unwrap_or(TIMEOUT_MAX));
    let mut told = Told::default();
    let begun = Instant::now();
    loop {
        let now = client.drained(&node, false).await?;
        if detach || now.is_done() {
            told.clear();
            output.print(&views::Drain::new(&now, false))?;
            return Ok(0);
        }
        if !now.draining {
            return Err(Error::new(
                cairn_client::api::Code::Conflict,
                format!("somebody ended the emptying of {node}"),
            )
            .hint(format!("`cairn node drain {node}` begins anew"))
            .into());
        }
        told.tell(&now);
        // Without a time-out it is waited for as long as it takes.
        if globals.timeout.is_some_and(|timeout| begun.elapsed() >= timeout) {
            return Err(not_yet(&now).into());
        }
        sleep(LOOK).await;
    }
}

pub(crate) async fn undrain(client: &Client, args: NodeNameArgs, output: &Output) -> Result<u8, Report> {
    client.drain(&args.node, false).await?;
    output.print(&views::Drain::new(&client.drained(&args.node, false).await?, false))?;
    Ok(0)
}

fn not_yet(now: &Drain) -> Error {
    let node = &now.node;
    let first = now.blocks.first().map(|block| format!("; {}: {}", block.name, block.reason));
    let message = format!("{node} still has {}{}", views::left_on(now), first.unwrap_or_default());
    Error::unavailable(message)
        .unknown()
        .hint(format!("it goes on: `cairn node drain {node}` waits again, `cairn node undrain {node}` ends it"))
}

/// What was told while it lasts.
#[derive(Default)]
struct Told {
    stuck: BTreeSet<(Name, Option<Version>)>,
    bar: bool,
}

impl Told {
    /// How far it is, on a terminal; and everywhere, once, what nothing can be done about now.
    fn tell(&mut self, now: &Drain) {
        let mut stderr = io::stderr().lock();
        for block in now.blocks.iter().filter(|block| block.stuck) {
            let version = block.version.map_or_else(String::new, |version| format!("version {version} of "));
            let line = format!("{version}{}: {}", block.name, block.reason);
            if self.stuck.len() < TOLD_MAX && self.stuck.insert((block.name.clone(), block.version)) {
                let start = if self.bar { "\r\x1b[K" } else { "" };
                // Without a terminal after all there is nobody to tell.
                let _ = writeln!(stderr, "{start}waiting: {line}");
                self.bar = false;
            }
        }
        if stderr.is_terminal() {
            let _ = write!(stderr, "\r\x1b[K{} left on {}", views::left_on(now), now.node);
            let _ = stderr.flush();
            self.bar = true;
        }
    }

    fn clear(&self) {
        if self.bar {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.clear();
    }
}
