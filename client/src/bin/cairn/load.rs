//! `cairn load`

use std::path::{Path, PathBuf};
use std::time::Instant;

use cairn_client::deliver;
use cairn_client::dial::Client;
use cairn_client::load::LoadOptions;

use crate::args::{FromArg, LoadArgs};
use crate::output::Output;
use crate::progress::Progress;
use crate::report::Report;
use crate::views;

pub(crate) async fn run(client: &Client, args: LoadArgs, output: &Output) -> Result<u8, Report> {
    let start = Instant::now();
    let to_stdout = args.out.as_deref() == Some(Path::new("-"));
    if to_stdout && args.link {
        return Err(Report::invalid("the standard output cannot be a link", "leave --link out"));
    }
    let file = |path: PathBuf| deliver::Output::File { path, force: args.force, link: args.link };
    let destination = match args.out {
        Some(_) if to_stdout => Some(deliver::Output::stream(std::io::stdout())),
        out => out.map(file),
    };
    let progress = Progress::new();
    let loaded = client
        .load(LoadOptions {
            version: args.version,
            on: args.on,
            claim: args.claim,
            lease: args.lease,
            stale: args.stale,
            from_tier: args.from == Some(FromArg::Global),
            output: destination,
            range: args.range,
            observer: progress.observer(),
            ..LoadOptions::new(args.name)
        })
        .await?;
    drop(progress);
    let view = views::Loaded::new(&loaded, start.elapsed());
    if to_stdout {
        output.print_aside(&view)?
    } else {
        output.print(&view)?
    }
    Ok(0)
}
