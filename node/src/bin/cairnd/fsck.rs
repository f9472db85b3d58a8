//! `cairnd fsck`: the folder of a node that does not run, checked.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::Instant;

use cairn_node::config::Config;
use cairn_node::env::real::StoredObjects;
use cairn_node::fsck::{self, Finding, Summary, TierSummary};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::args::FsckArgs;
use crate::durable::boot_id;
use crate::failure::{CORRUPT, Failure, USAGE};
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
    /// What was looked at in the global tier, if it was.
    global: Option<TierSummary>,
    findings: Vec<Finding>,
    /// How many more there are.
    left_out: u64,
}

pub(crate) fn run(args: &FsckArgs) -> Result<u8, Failure> {
    let config = args.config.as_ref().map(|file| Config::read(file, &[])).transpose()?;
    let dir = match (&args.dir, &config) {
        (Some(dir), _) => dir.clone(),
        (None, Some(config)) => config.dir.clone(),
        (None, None) => return Err(Failure::new("no folder is given").exit(USAGE).hint("give --dir or --config")),
    };
    let folder = Folder::stopped(&dir)?;
    let store = args.global.as_ref().map(|url| store(url, &dir, config.as_ref())).transpose()?;
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
        if start.elapsed() >= QUIET && bar.is_hidden() && io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    };
    let checked = fsck::fsck(folder.disk.dir(), &boot_id(), &mut tell, &mut moved);
    let global = match (&checked, store) {
        (Ok(_), Some(store)) => Some(check_tier(&folder, &store, &mut tell, &mut moved)),
        _ => None,
    };
    bar.finish_and_clear();
    let summary = checked.map_err(|error| {
        Failure::from(error).hint(
            "the check could not go on; nothing was changed. It needs to read everything under \
                                   the folder, and room for a copy of its log and catalogue in TMPDIR",
        )
    })?;
    let hint = "the node's folder was checked; look at the URL, the credentials and the network";
    let global = global.transpose().map_err(|error| Failure::from(error).hint(hint))?;
    let document = Document { summary, global, findings, left_out };
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

/// The store that is to be compared: by its URL, or as the node is told.
fn store(url: &str, dir: &Path, config: Option<&Config>) -> Result<StoredObjects, Failure> {
    let beside = dir.join("cairnd.toml");
    let read = match config {
        None if url.is_empty() && beside.exists() => Some(Config::read(&beside, &[])?),
        _ => None,
    };
    let told = config.or(read.as_ref()).and_then(|config| config.global.clone());
    let told = told.or_else(|| std::env::var("CAIRN_GLOBAL_URL").ok());
    let url = Some(url.to_owned()).filter(|url| !url.is_empty()).or(told).ok_or_else(|| {
        let hint = "write --global=URL, give --config FILE, or set CAIRN_GLOBAL_URL";
        Failure::new("it is not known where the global tier lies").exit(USAGE).hint(hint)
    })?;
    let variables = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    StoredObjects::open(&url, variables)
        .map_err(|why| Failure::new(format!("{url} cannot be used: {why}")).exit(USAGE))
}

/// Compares it with the newest state in the folder.
fn check_tier(
    folder: &Folder,
    store: &StoredObjects,
    tell: &mut fsck::Tell<'_>,
    moved: &mut dyn FnMut(u64),
) -> io::Result<TierSummary> {
    // What is damaged there was told.
    let newest = fsck::newest_state(folder.disk.dir(), &mut |_| {})?;
    let (state, _) = newest.ok_or_else(|| io::Error::other("the folder holds no state to compare it with"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(fsck::check_tier(&state, store, tell, moved))
}

fn table(document: &Document) {
    let Document { summary, global, findings, left_out } = document;
    for Finding { what, path, problem, bad, node_will } in findings {
        let mark = if *bad { "bad" } else { "note" };
        output::line(&format!("{mark}: {what}: {path}\n  {problem}\n  the node will {node_will}"));
    }
    if *left_out > 0 {
        output::line(&format!("and {left_out} more: see -o jsonl"));
    }
    if let Some(TierSummary { url, revision, objects, bytes, manifests, backups }) = global {
        output::line(&format!(
            "global tier {url}, by revision {revision}: {objects} objects, {bytes} bytes, {manifests} manifests, {backups} backups"
        ));
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
