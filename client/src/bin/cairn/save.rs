//! `cairn save`

use std::path::Path;
use std::time::Instant;

use cairn_client::dial::Client;
use cairn_client::request;
use cairn_client::save::{SaveOptions, Source};

use crate::args::SaveArgs;
use crate::output::Output;
use crate::progress::Progress;
use crate::report::Report;
use crate::views;

pub(crate) async fn run(client: &Client, args: SaveArgs, output: &Output) -> Result<u8, Report> {
    let start = Instant::now();
    if args.file == Path::new("-") {
        return Err(Report::invalid("the standard input cannot be saved: only regular files can be", "name a file"));
    }
    let progress = Progress::new();
    let saved = client
        .save(SaveOptions {
            replicas: args.replicas,
            ack: args.ack.into(),
            keep: args.keep,
            if_version: args.if_version,
            epoch: args.epoch,
            labels: args.labels(),
            repeats: args.request_id.is_some(),
            request: args.request_id.unwrap_or_else(request::new_id),
            observer: progress.observer(),
            ..SaveOptions::new(args.name, Source::File { path: args.file, take: args.take })
        })
        .await?;
    drop(progress);
    output.print(&views::Saved::new(&saved, start.elapsed()))?;
    Ok(0)
}
