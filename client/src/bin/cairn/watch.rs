//! `cairn watch`

use std::time::Duration;

use cairn_client::dial::{Client, TIMEOUT_MAX};
use cairn_client::watch::News;
use cairn_store::name::Name;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::args::{Globals, WatchArgs};
use crate::output::Output;
use crate::report::Report;
use crate::views;

/// How often it is looked whether the pipe is still read, while nothing happens.
const LOOK: Duration = Duration::from_millis(500);

pub(crate) async fn run(client: &Client, globals: &Globals, args: WatchArgs, output: &Output) -> Result<u8, Report> {
    let prefix = args.prefix.unwrap_or_default();
    Name::check_prefix(&prefix).map_err(|error| Report::no_such_prefix(&prefix, &error))?;
    // Whether anybody answers at all is known soon.
    client.hello().await?;
    // Nothing may happen for long: only who asks for a time-out gets one.
    let client = Client::new(globals.endpoints(), globals.timeout.unwrap_or(TIMEOUT_MAX));
    let mut watch = client.watch(&prefix, args.from);
    loop {
        let news = tokio::select! {
            news = watch.next() => news?,
            () = nobody_reads() => return Ok(0),
        };
        let line = views::News::new(&news);
        // Who closed the pipe has read enough; and what comes after a gap is for whoever has listed anew.
        if !output.print_line(&line)? || matches!(news, News::Relist(_)) {
            return Ok(0);
        }
    }
}

/// Waits until the other end of the pipe on stdout is closed.
async fn nobody_reads() {
    let stdout = std::io::stdout();
    loop {
        tokio::time::sleep(LOOK).await;
        let mut pipe = [PollFd::new(&stdout, PollFlags::empty())];
        let looked = poll(&mut pipe, Some(&Timespec::default()));
        if looked.is_ok() && pipe.iter().any(|end| end.revents().intersects(PollFlags::ERR | PollFlags::HUP)) {
            return;
        }
    }
}
