//! What can be typed. `agent`: the failover agent; `global`: the global tier; `member`: nodes; `ownership`: claims and leases; `recovery`: backups, and clusters that begin with one.

mod agent;
mod global;
mod member;
mod ownership;
mod recovery;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use cairn_client::dial::Client;
use cairn_client::fetch::Range;
use cairn_client::request;
use cairn_store::archive::Policy;
use cairn_store::id::RequestId;
use cairn_store::name::Name;
use cairn_store::node::NodeName;
use cairn_store::segment::{Ack, Epoch, KEEP_MAX, REPLICAS_MAX, Version};
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::bench::BenchCommand;
use crate::output::{Format, Output};
use crate::report::Report;

pub(crate) use agent::{FollowArgs, GuardArgs, RunArgs, WardArgs};
pub(crate) use global::{AdoptArgs, GlobalCommand, StoredArgs};
pub(crate) use member::{DrainArgs, NodeCheckArgs, NodeCommand, NodeLsArgs, NodeNameArgs, NodeRemoveArgs};
use ownership::lease;
pub(crate) use ownership::{ClaimArgs, ReleaseArgs, RenewArgs};
pub(crate) use recovery::{BackupArgs, InspectArgs, MetaCommand, RecoverArgs, RecoveryArgs, RestoreArgs};

/// How long a command goes on trying.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

const ENDPOINT_DEFAULT: &str = "127.0.0.1:7420";
const ENDPOINTS_VARIABLE: &str = "CAIRN_ENDPOINTS";

/// Keeps the state of applications on other nodes, and brings it back.
#[derive(Debug, Parser)]
#[command(name = "cairn", version, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// How to print: for people, as one JSON document, or as one JSON object a line.
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: Format,
    /// Which nodes to ask, in turn: HOST:PORT or unix:PATH, separated by commas. [env: CAIRN_ENDPOINTS=]
    /// [default: 127.0.0.1:7420]
    #[arg(long, global = true, value_delimiter = ',', value_name = "ADDR", value_parser = endpoint)]
    endpoint: Vec<String>,
    /// How long to go on trying; for save and load, without progress.
    /// [default: 30s; of watch, follow, run and node drain: none]
    #[arg(long, global = true, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Option<Duration>,
}

impl Globals {
    /// Who asks the nodes, for as long as most commands do.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.endpoints(), self.timeout())
    }

    /// How long most commands go on trying.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(TIMEOUT_DEFAULT)
    }

    /// The endpoints.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        self.named_endpoints().unwrap_or_else(|| vec![ENDPOINT_DEFAULT.into()])
    }

    /// The endpoints that were named: by the flag, else by the variable. An empty variable names none.
    pub(crate) fn named_endpoints(&self) -> Option<Vec<String>> {
        if !self.endpoint.is_empty() {
            return Some(self.endpoint.clone());
        }
        let variable = std::env::var(ENDPOINTS_VARIABLE).ok()?;
        let named: Vec<String> = variable.split(',').filter_map(|word| endpoint(word).ok()).collect();
        Some(named).filter(|named| !named.is_empty())
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Store a file or a folder under a name, on other nodes too.
    Save(Box<SaveArgs>),
    /// Bring a version to this node, and to a file or a folder.
    Load(Box<LoadArgs>),
    /// List segments.
    Ls(LsArgs),
    /// Show everything about a segment.
    Show(NameArgs),
    /// List the versions of a segment.
    History(NameArgs),
    /// Remove a segment with its pinned versions too, or one version that is not pinned.
    Rm(RmArgs),
    /// Keep a version whatever comes after it.
    Pin(PinArgs),
    /// End a pin, or all of a segment: what only it kept is removed.
    Unpin(UnpinArgs),
    /// Print each change of segments as one JSON object a line, as it is committed.
    ///
    /// At least once and in order. A line of the type "relist" ends it: the changes since --from are not all known any
    /// more. List the segments, then go on from that line's revision.
    Watch(WatchArgs),
    /// Make the node asked the owner of a segment.
    Claim(ClaimArgs),
    /// Let the owner's lease begin anew, before it is over.
    Renew(RenewArgs),
    /// Give up the ownership of a segment.
    Release(ReleaseArgs),
    /// Run a command whose state outlives its node: the failover agent.
    ///
    /// It claims the name under a lease, brings the newest version to PATH, and runs the command. It saves PATH at the interval if it
    /// changed, on SIGUSR1, and when the command has ended. Other signals go to the command. Before the lease can pass on,
    /// the command has been ended; an agent that dies takes it along.
    Run(Box<RunArgs>),
    /// Keep the node asked as fresh as the newest version, and print each as it comes.
    Follow(FollowArgs),
    /// Stand between an agent and its command.
    #[command(hide = true)]
    Guard(GuardArgs),
    /// Become the command of a guard.
    #[command(hide = true)]
    Ward(WardArgs),
    /// Look at the nodes, empty them, and remove them.
    Node {
        #[command(subcommand)]
        command: NodeCommand,
    },
    /// Look at the cluster, or begin it anew when most of it is lost.
    Cluster {
        #[command(subcommand)]
        command: ClusterCommand,
    },
    /// Look at the global tier, an object store, and begin a cluster with it.
    Global {
        #[command(subcommand)]
        command: GlobalCommand,
    },
    /// Keep what the cluster knows in a file, and begin another cluster with it.
    Meta {
        #[command(subcommand)]
        command: MetaCommand,
    },
    /// Measure the cluster beside what the machine and other programs can do.
    ///
    /// A running cluster if --endpoint or CAIRN_ENDPOINTS names one, else three nodes that are started for it. Nothing is
    /// left behind.
    Bench {
        #[command(subcommand)]
        command: BenchCommand,
    },
    /// Print what a shell needs to complete these commands.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Write the manual's pages into a folder.
    #[command(hide = true)]
    Man {
        /// The folder.
        dir: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Show the cluster in a few numbers.
    Status,
    /// List which nodes the node asked reaches itself. Needs no quorum.
    Peers,
    /// Exit with 0 if the cluster is healthy, else with 1 and the reasons.
    Health,
    /// List copies that are made again or not needed, and what is stuck and why.
    Repairs,
    /// Begin a new cluster with what a stopped node knows, if most voters are lost.
    ///
    /// The node must not run, and goes on as the first of the new cluster: `cairnd recover` does it. Use --dry-run first, on
    /// every node that is left, and recover on the one that knows most.
    Recover(RecoverArgs),
    /// Show what a cluster that began with a backup still misses, or end that.
    ///
    /// Until --end nothing is deleted or repaired, because nodes with the copies that are missing may still join.
    Recovery(RecoveryArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct SaveArgs {
    /// The name to save under.
    pub(crate) name: Name,
    /// The file to save; or a folder, with all that is in it; or -, the standard input to its end.
    #[arg(value_name = "FILE|DIR|-")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) copies: CopiesArgs,
    /// Only if this is the newest version; 0: only if the name is new.
    #[arg(long, allow_negative_numbers = true, value_name = "V", value_parser = version)]
    pub(crate) if_version: Option<Version>,
    /// Only in this epoch.
    #[arg(long, allow_negative_numbers = true, value_name = "E", env = "CAIRN_EPOCH", hide_env_values = true, value_parser = epoch)]
    pub(crate) epoch: Option<Epoch>,
    /// A UUID, or a text of up to 255 bytes: the same id gets the same result.
    #[arg(long, value_name = "ID", value_parser = request::id_of)]
    pub(crate) request_id: Option<RequestId>,
    /// A label to set; may be repeated.
    #[arg(long = "label", value_name = "K=V", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Take the file instead of copying it; not a folder.
    #[arg(long = "move")]
    pub(crate) take: bool,
}

/// Which copies a save makes.
#[derive(Debug, clap::Args)]
pub(crate) struct CopiesArgs {
    /// Durable copies on so many other nodes.
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(..=i64::from(REPLICAS_MAX)))]
    pub(crate) replicas: u8,
    /// When a save is done: with durable copies on all of those nodes, on more than half, on one, or on this one; or on this one and in
    /// the global tier.
    #[arg(long, value_enum, default_value = "all")]
    pub(crate) ack: AckArg,
    /// How many versions to keep.
    #[arg(long, allow_negative_numbers = true, value_name = "K", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=i64::from(KEEP_MAX)))]
    pub(crate) keep: u32,
    /// Which versions go into the global tier from now on: always, background (the newest), every:K, or never.
    #[arg(long, value_name = "WHICH")]
    pub(crate) archive: Option<Policy>,
}

impl SaveArgs {
    pub(crate) fn labels(&self) -> BTreeMap<String, String> {
        self.labels.iter().cloned().collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AckArg {
    All,
    Quorum,
    One,
    Local,
    Global,
}

impl From<AckArg> for Ack {
    fn from(ack: AckArg) -> Self {
        match ack {
            AckArg::All => Self::All,
            AckArg::Quorum => Self::Quorum,
            AckArg::One => Self::One,
            AckArg::Local => Self::Local,
            AckArg::Global => Self::Global,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FromArg {
    Global,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LoadArgs {
    /// What to load.
    pub(crate) name: Name,
    /// Which version; the newest unless given.
    #[arg(long, allow_negative_numbers = true, value_name = "V", value_parser = version)]
    pub(crate) version: Option<Version>,
    /// Load it on another node; the path that is printed is on that node.
    #[arg(long, value_name = "NODE")]
    pub(crate) on: Option<NodeName>,
    /// Write it to this path too, a tree as a folder; - is the standard output, for a tree as a tar stream.
    #[arg(long, value_name = "PATH")]
    pub(crate) out: Option<PathBuf>,
    /// Become the owner too.
    #[arg(long)]
    pub(crate) claim: bool,
    /// With --claim: nobody else takes over for so long, if it is not renewed; 1s to 1h.
    #[arg(long, value_name = "TIME", requires = "claim", value_parser = lease)]
    pub(crate) lease: Option<Duration>,
    /// Without a quorum, by what the node knows: it may be old, and gives no ownership.
    #[arg(long, conflicts_with = "claim")]
    pub(crate) stale: bool,
    /// Only from there: the global tier.
    #[arg(long, value_enum, value_name = "SOURCE", conflicts_with = "stale")]
    pub(crate) from: Option<FromArg>,
    /// Write only these bytes; not of a tree's folder.
    #[arg(long, value_name = "OFFSET:LEN", value_parser = range, requires = "out")]
    pub(crate) range: Option<Range>,
    /// Replace what is at PATH.
    #[arg(long, requires = "out")]
    pub(crate) force: bool,
    /// Make PATH a read-only hard link to the node's copy; not of a tree.
    #[arg(long, requires = "out", conflicts_with = "range")]
    pub(crate) link: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LsArgs {
    /// Only names that start with this.
    pub(crate) prefix: Option<String>,
    /// Only what this node owns.
    #[arg(long, value_name = "NODE")]
    pub(crate) owner: Option<NodeName>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct NameArgs {
    /// The segment.
    pub(crate) name: Name,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RmArgs {
    /// The segment.
    pub(crate) name: Name,
    /// Only this version.
    #[arg(long, allow_negative_numbers = true, value_name = "V", value_parser = version)]
    pub(crate) version: Option<Version>,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Say what would be removed, and remove nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PinArgs {
    /// The segment.
    pub(crate) name: Name,
    /// The version to keep.
    #[arg(long, allow_negative_numbers = true, value_name = "V", value_parser = version)]
    pub(crate) version: Version,
}

#[derive(Debug, clap::Args)]
pub(crate) struct UnpinArgs {
    /// The segment.
    pub(crate) name: Name,
    /// Only this version.
    #[arg(long, allow_negative_numbers = true, value_name = "V", value_parser = version)]
    pub(crate) version: Option<Version>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct WatchArgs {
    /// Only of names that start with this.
    pub(crate) prefix: Option<String>,
    /// What happened at this revision, and since then; from now on unless given.
    #[arg(long, allow_negative_numbers = true, value_name = "REVISION")]
    pub(crate) from: Option<u64>,
}

fn endpoint(text: &str) -> Result<String, &'static str> {
    match text.trim() {
        "" => {
            Err("an endpoint is HOST:PORT or unix:PATH; without --endpoint, CAIRN_ENDPOINTS or the default is asked")
        }
        named => Ok(named.to_owned()),
    }
}

fn version(text: &str) -> Result<Version, std::num::ParseIntError> {
    text.parse().map(Version)
}

fn epoch(text: &str) -> Result<Epoch, std::num::ParseIntError> {
    text.parse().map(Epoch)
}

fn label(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err("a label is KEY=VALUE"),
    }
}

fn range(text: &str) -> Result<Range, &'static str> {
    let parsed = text.split_once(':').and_then(|(offset, length)| {
        let (offset, length) = (u64::from_str(offset).ok()?, u64::from_str(length).ok()?);
        offset.checked_add(length).map(|_| Range { offset, length })
    });
    parsed.ok_or("a range is OFFSET:LEN, both in bytes")
}

/// What was typed; or, when that is answered already (help, or an error), the exit code.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Args, ExitCode> {
    let words: Vec<OsString> = words.into_iter().collect();
    Args::try_parse_from(&words).map_err(|mut error| {
        // clap's own shows what a variable gave as if it had to be typed.
        error.insert(ContextKind::Usage, ContextValue::StyledStr(usage_of(&words)));
        let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
        let format = format_of(&words);
        if asked || format == Format::Table {
            // Nothing can be said about a stream that cannot be written to.
            let _ = error.print();
            return ExitCode::from(if asked { 0 } else { 2 });
        }
        let report = Report::usage(&error);
        Output::new(format).report(&report);
        ExitCode::from(report.exit)
    })
}

/// How the command that was meant is used.
fn usage_of(words: &[OsString]) -> StyledStr {
    let mut all = Args::command();
    all.build();
    let meant = words.iter().skip(1).fold(&all, |command, word| command.find_subcommand(word).unwrap_or(command));
    meant.clone().render_usage()
}

/// The format that was asked for, as far as it can be told from words that do not parse.
fn format_of(words: &[OsString]) -> Format {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let mut found = Format::Table;
    for (index, word) in words.iter().enumerate() {
        let value = match word.as_ref() {
            "--" => break,
            "-o" | "--output" => words.get(index + 1).map(AsRef::as_ref),
            word => word.strip_prefix("--output=").or_else(|| word.strip_prefix("-o")),
        };
        let value = value.map(|v| v.strip_prefix('=').unwrap_or(v));
        if let Some(format) = value.and_then(|v| <Format as ValueEnum>::from_str(v, false).ok()) {
            found = format;
        }
    }
    found
}

#[cfg(test)]
mod tests;
