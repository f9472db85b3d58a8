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
    let source = source_of(&args.file, args.take)?;
    let progress = Progress::new();
    let saved = client
        .save(SaveOptions {
            replicas: args.copies.replicas,
            ack: args.copies.ack.into(),
            keep: args.copies.keep,
            archive: args.copies.archive,
            if_version: args.if_version,
            epoch: args.epoch,
            labels: args.labels(),
            repeats: args.request_id.is_some(),
            request: args.request_id.unwrap_or_else(request::new_id),
            observer: progress.observer(),
            ..SaveOptions::new(args.name, source)
        })
        .await?;
    drop(progress);
    output.print(&views::Saved::new(&saved, start.elapsed()))?;
    Ok(0)
}

/// What the word in the place of FILE means.
fn source_of(file: &Path, take: bool) -> Result<Source, Report> {
    if file == Path::new("-") {
        if take {
            return Err(Report::invalid("the standard input cannot be moved", "leave --move out"));
        }
        return Ok(Source::stream(std::io::stdin()));
    }
    if !file.is_dir() {
        return Ok(Source::File { path: file.to_owned(), take });
    }
    if take {
        let message = format!("{} is a directory: only a file can be moved", file.display());
        return Err(Report::invalid(message, "leave --move out, and remove it afterwards"));
    }
    Ok(Source::Tree(file.to_owned()))
}
