//! `cairnd fsck`: the folder of a node that does not run, checked.

use std::io::IsTerminal;
use std::time::Instant;

use cairn_node::fsck::{self, Finding, Summary};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::args::FsckArgs;
use crate::durable::boot_id;
use crate::failure::{CORRUPT, Failure};
use crate::folder::Folder;
use crate::output::{self, Format};

/// The most findings that are gathered for one document. As JSON lines there is no end to them.
const GATHERED_MAX: usize = 100_000;
/// Work that is over sooner gets no bar.
const QUIET: std::time::Duration = std::time::Duration::from_secs(1);

#[derive(Serialize)]
struct Document {
    #[serde(flatten)]
    summary: Summary,
    findings: Vec<Finding>,
    /// How many more there are.
    left_out: u64,
}

pub(crate) fn run(args: &FsckArgs) -> Result<u8, Failure> {
    let folder = Folder::stopped(&args.dir)?;
    let (mut findings, mut left_out, mut bad) = (Vec::new(), 0, false);
    let mut tell = |finding: Finding| {
        bad |= finding.bad;
        match args.output {
            Format::Jsonl => output::line(&serde_json::to_string(&finding).unwrap_or_else(|e| e.to_string())),
            _ if findings.len() < GATHERED_MAX => findings.push(finding),
            _ => left_out += 1,
        }
    };
    let bar = bar();
    let start = Instant::now();
    let mut moved = |bytes| {
        bar.inc(bytes);
        if start.elapsed() >= QUIET && bar.is_hidden() && std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    };
    let checked = fsck::fsck(folder.disk.dir(), &boot_id(), &mut tell, &mut moved);
    bar.finish_and_clear();
    let summary = checked.map_err(|error| {
        Failure::from(error).hint(
            "the check could not go on; nothing was changed. It needs to read everything under \
                                   the folder, and room for a copy of its log and catalogue in TMPDIR",
        )
    })?;
    let document = Document { summary, findings, left_out };
    match args.output {
        Format::Table => table(&document),
        Format::Json => {
            let text = serde_json::to_string_pretty(&document);
            output::line(&text.map_err(|error| Failure::new(format!("cannot print: {error}")))?);
        }
        Format::Jsonl => {}
    }
    Ok(if bad { CORRUPT } else { 0 })
}

fn table(document: &Document) {
    let Document { summary, findings, left_out } = document;
    for Finding { what, path, problem, bad, node_will } in findings {
        let mark = if *bad { "bad" } else { "note" };
        output::line(&format!("{mark}: {what}: {path}\n  {problem}\n  the node will {node_will}"));
    }
    if *left_out > 0 {
        output::line(&format!("and {left_out} more: see -o jsonl"));
    }
    let who = summary.node.as_deref().unwrap_or("a node");
    let (copies, bytes) = (summary.copies, summary.bytes);
    let verdict = match (findings.iter().any(|finding| finding.bad), findings.is_empty()) {
        (true, _) => "damage was found",
        (false, false) => "nothing is damaged",
        (false, true) => "all is well",
    };
    output::line(&format!("{who}, {copies} copies, {bytes} bytes: {verdict}"));
}

fn bar() -> ProgressBar {
    // No colours: nothing here needs NO_COLOR.
    let style = ProgressStyle::with_template("checking {bytes}, {binary_bytes_per_sec}");
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
