//! `cairnd recover`: a new cluster with what a node of a lost one knows.

use std::io::{self, BufRead, IsTerminal, Write};
use std::time::{Duration, UNIX_EPOCH};

use cairn_node::config::Config;
use cairn_store::id::{ClusterId, NodeId};
use cairn_store::meta::{Phase, State};
use cairn_store::time::WallTime;
use serde::Serialize;

use crate::args::RecoverArgs;
use crate::failure::{CONFLICT, Failure, USAGE};
use crate::former::{Former, left_behind};
use crate::init::found;
use crate::output::{self, Format};

/// The first millisecond that has no four-digit year.
const YEAR_10000_MS: u64 = 253_402_300_800_000;

/// What a node knows, and what became of it.
#[derive(Serialize)]
struct Document {
    dir: String,
    node: Option<String>,
    /// The lost cluster.
    cluster: ClusterId,
    /// The term of the last entry that this node has: the node with the highest one knows most. None once it was laid aside.
    term: Option<u64>,
    /// That entry; of one term, the highest knows most. The last ones may never have been agreed on.
    revision: u64,
    /// The newest change of a segment that it knows.
    modified: Option<String>,
    /// The members that it knows.
    nodes: Vec<String>,
    segments: u64,
    versions: u64,
    /// Versions of which this node has a copy itself.
    versions_here: u64,
    /// Versions that only other nodes may have.
    versions_elsewhere: u64,
    /// Copies that lie here, and that this log knows nothing of.
    copies_unknown: u64,
    recovered: bool,
    /// The new cluster.
    new_cluster: Option<ClusterId>,
    /// Where its names, versions and digests are.
    backup: Option<String>,
}

pub(crate) fn run(args: &RecoverArgs) -> Result<(), Failure> {
    let config = Config::read(&args.node.config, &args.node.set)?;
    config.warnings.iter().for_each(|warning| output::note(&format!("warning: {warning}")));
    let file = config.file.display();
    let former = Former::of(&config.dir)?.ok_or_else(|| nobody(&config))?;
    if former.is_new()? {
        return Err(recovered_already(&config, &former));
    }
    let (backup, term) = former.knowledge()?;
    if backup.state.phase() == Some(Phase::Loading) {
        return Err(Failure::new("the node's cluster was being restored itself, and knows a part of it only")
            .exit(CONFLICT)
            .hint("begin again with the backup that it was given: `cairnd init --adopt`, and `cairn meta restore`"));
    }
    let mut document = describe(&config, &former, &backup.state, term)?;
    if args.dry_run {
        return print(&document, args.output, &[]);
    }
    if !args.yes {
        confirm(&document)?;
    }
    former.write_backup(&backup)?;
    let path = former.backup();
    former.set_aside()?;
    drop(former);
    document.new_cluster = Some(found(&config)?.cluster);
    document.recovered = true;
    document.backup = Some(path.display().to_string());
    let next = [
        format!("start it:                   cairnd start --config {file}"),
        format!("give it what was known:     cairn meta restore {} --yes", path.display()),
        format!("on each other node's machine: cairnd join --config FILE --seed {} --adopt", config.listen.rpc),
        "look what was found:        cairn cluster recovery".into(),
        "when all nodes are there:   cairn cluster recovery --end --yes".into(),
    ];
    print(&document, args.output, &next)
}

/// It is the first node of a cluster already, and never ran.
fn recovered_already(config: &Config, former: &Former) -> Failure {
    let (dir, file) = (config.dir.display(), config.file.display());
    let restore = left_behind(&config.dir).map(|backup| format!(", then `cairn meta restore {}`", backup.display()));
    Failure::new(format!("{dir} is the first node of the new cluster {} already", former.identity.cluster))
        .exit(CONFLICT)
        .hint(format!("start it: `cairnd start --config {file}`{}", restore.unwrap_or_default()))
}

/// There is no node, or none any more.
fn nobody(config: &Config) -> Failure {
    let (dir, file) = (config.dir.display(), config.file.display());
    match left_behind(&config.dir) {
        Some(backup) => Failure::new(format!("{dir} holds no node any more: it was laid aside already"))
            .exit(CONFLICT)
            .hint(format!(
                "go on with `cairnd init --config {file}`, start it, and `cairn meta restore {}`",
                backup.display()
            )),
        None => Failure::new(format!("{dir} holds no node")).hint(
            "recover on the node that knows most: of the highest term that `cairnd recover --dry-run` tells, the one with the \
             highest revision",
        ),
    }
}

fn describe(config: &Config, former: &Former, state: &State, term: Option<u64>) -> Result<Document, Failure> {
    let me = former.identity.node;
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let records = || state.segments.values().flat_map(|segment| segment.versions.values());
    let has = |node: NodeId| records().filter(move |record| record.durable().any(|copy| copy.node == node)).count();
    let (versions, here) = (records().count(), has(me));
    let modified = state.segments.values().map(|segment| segment.modified).max();
    Ok(Document {
        dir: config.dir.display().to_string(),
        node: state.members.get(&me).map(|member| member.profile.name.to_string()),
        cluster: former.identity.cluster,
        term,
        revision: state.revision,
        modified: modified.and_then(time),
        nodes: state.members.values().map(|member| member.profile.name.to_string()).collect(),
        segments: count(state.segments.len()),
        versions: count(versions),
        versions_here: count(here),
        versions_elsewhere: count(versions - here),
        copies_unknown: former.unknown_copies(state)?,
        recovered: false,
        new_cluster: None,
        backup: None,
    })
}

/// RFC 3339, UTC; none for what no calendar has.
fn time(at: WallTime) -> Option<String> {
    let at = UNIX_EPOCH.checked_add(Duration::from_millis(at.0)).filter(|_| at.0 < YEAR_10000_MS)?;
    Some(humantime::format_rfc3339_millis(at).to_string())
}

fn print(document: &Document, format: Format, next: &[String]) -> Result<(), Failure> {
    let failed = |error| Failure::new(format!("cannot print: {error}"));
    match format {
        Format::Json => output::line(&serde_json::to_string_pretty(document).map_err(failed)?),
        Format::Jsonl => output::line(&serde_json::to_string(document).map_err(failed)?),
        Format::Table => table(document).iter().chain(next).for_each(|line| output::line(line)),
    }
    Ok(())
}

fn table(document: &Document) -> Vec<String> {
    let Document { dir, cluster, revision, segments, versions, versions_here, versions_elsewhere, .. } = document;
    let node = document.node.as_deref().unwrap_or("a node");
    let modified = document.modified.as_deref().unwrap_or("never");
    let term = document.term.map_or_else(String::new, |term| format!("term {term}, "));
    let mut lines = vec![
        format!("{dir}: {node} of cluster {cluster}, with {}", document.nodes.join(", ")),
        format!("it knows all up to {term}revision {revision}; the newest change of a segment was at {modified}"),
        format!("{segments} segments, {versions} versions; a copy of {versions_here} of them lies here"),
    ];
    if document.copies_unknown > 0 {
        lines.push(format!(
            "{} copies lie here that it knows nothing of: of saves that were not agreed on, or its log is old or damaged",
            document.copies_unknown
        ));
    }
    match document.new_cluster {
        Some(new) => {
            lines.push(format!("it is the first node of the new cluster {new} now"));
            lines.push(String::new());
        }
        None => {
            lines.push("lost: whatever the others agreed on, and this node never heard".into());
            lines.push(format!("only on other nodes, which join with --adopt: {versions_elsewhere} versions"));
            lines.push("a node with a higher term knows more; of one term, the one with the higher revision".into());
        }
    }
    lines
}

fn confirm(document: &Document) -> Result<(), Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::new("nothing is recovered without being asked")
            .exit(USAGE)
            .hint("say --yes, or --dry-run"));
    }
    // Data goes to stdout only once it is done.
    table(document).iter().for_each(|line| output::note(line));
    let ask =
        "End the old cluster here, and begin a new one? If most of its voters can still come back, do not. [y/N] ";
    io::stderr().lock().write_all(ask.as_bytes())?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::new("nothing was changed")),
    }
}
