//! What can be typed.

use std::path::PathBuf;

use cairn_store::name::Name;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use crate::failure::USAGE;
use crate::output::{self, Format};

/// Keeps copies of what applications save, together with other nodes.
#[derive(Debug, Parser)]
#[command(name = "cairnd", version, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Watch the whole story: a save, the owner killed, a load on another node.
    Demo(DemoArgs),
    /// Run a cluster of processes on this machine, until Ctrl-C.
    Dev(DevArgs),
    /// Make this node the first of a new cluster.
    Init(InitArgs),
    /// Make this node a member of a cluster. May be repeated.
    Join(JoinArgs),
    /// Run a node that was initialised or has joined.
    Start(StartArgs),
    /// Look at a configuration, without a node.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Begin a new cluster with what a stopped node knows, if most voters are lost.
    ///
    /// The node must not run. Names, versions and digests go into a backup, which `cairn meta restore` brings into the new
    /// cluster; copies stay where they are, and are taken over. What the others agreed on and this node never heard is lost.
    Recover(RecoverArgs),
    /// Check the folder of a node that does not run; nothing is changed.
    ///
    /// Every block of every copy, the log and the metadata. Exit 6 if anything is damaged or lost.
    Fsck(FsckArgs),
    /// List the places at which a test lets the process end.
    #[cfg(all(feature = "crash-points", debug_assertions))]
    #[command(hide = true)]
    CrashPoints,
    /// Write the manual's pages into a folder.
    #[command(hide = true)]
    Man {
        /// The folder.
        dir: PathBuf,
    },
    /// An application of the demo.
    #[command(hide = true)]
    DemoApp(AppArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct NodeArgs {
    /// The configuration, in TOML.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Set a key of the configuration, above the file and the variables. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct InitArgs {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// Keep the copies that a folder holds from a former cluster: a restored one takes them over.
    #[arg(long)]
    pub(crate) adopt: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RecoverArgs {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Say what is known here and what may be lost, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How to print: for people, as one JSON document, or as one JSON object a line.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: Format,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say whether `start` would take it: exit 78 if not.
    Check(NodeArgs),
    /// Show every key, its value, and where that came from: a flag, a variable, a line of the file, or the default.
    Print(PrintArgs),
    /// Print a commented configuration with every default.
    Default,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PrintArgs {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// How to print: for people, as one JSON document, or as one JSON object a line.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: Format,
}

#[derive(Debug, clap::Args)]
pub(crate) struct FsckArgs {
    /// The node's folder: `node.dir` of its configuration.
    #[arg(long, required_unless_present = "config")]
    pub(crate) dir: Option<PathBuf>,
    /// The configuration of the node, in TOML, instead of its folder.
    #[arg(long, value_name = "FILE", conflicts_with = "dir")]
    pub(crate) config: Option<PathBuf>,
    /// Compare the global tier too, and read every object there: that of `global.url`, or of a cairnd.toml in the folder, unless its
    /// URL is given.
    #[arg(long, value_name = "URL", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) global: Option<String>,
    /// How to print: for people, as one JSON document, or as one JSON object for each finding.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: Format,
}

#[derive(Debug, clap::Args)]
pub(crate) struct JoinArgs {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// Members of the cluster: one that answers is enough.
    #[arg(long, value_name = "HOST:PORT", required = true, num_args = 1.., value_delimiter = ',')]
    pub(crate) seed: Vec<String>,
    /// Bring along the copies that the folder holds from a former cluster, if this one was restored from it.
    #[arg(long)]
    pub(crate) adopt: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct StartArgs {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// End, at once, with the parent, which has this process id.
    #[arg(long, value_name = "PID", hide = true)]
    pub(crate) die_with_parent: Option<u32>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DevArgs {
    /// How many nodes that run applications: n1, n2, …
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=99))]
    pub(crate) nodes: u16,
    /// How many nodes that only hold copies: s1, s2, …
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(0..=99))]
    pub(crate) storage_nodes: u16,
    /// Where the nodes' folders lie, and stay: a new or empty folder, or that of an earlier `dev` with the same nodes.
    /// Without it, a temporary one that is removed at exit.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// The first of three ports for each node; 0 picks free ones. 7420 unless DIR holds a cluster already.
    #[arg(long, value_name = "P")]
    pub(crate) base_port: Option<u16>,
    /// Set a key of every node's configuration, for this run. May be repeated.
    ///
    /// A node that `cairnd start` brings back does not have it.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// End, at once and with all nodes, with the parent, which has this process id.
    #[arg(long, value_name = "PID", hide = true)]
    pub(crate) die_with_parent: Option<u32>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// What to save; by default this very program.
    pub(crate) file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct AppArgs {
    #[arg(long)]
    pub(crate) endpoint: String,
    #[arg(long)]
    pub(crate) die_with_parent: u32,
    #[command(subcommand)]
    pub(crate) command: AppCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AppCommand {
    /// Saves FILE under NAME.
    Save { name: Name, file: PathBuf },
    /// Takes NAME over, and resumes from it at FILE.
    Load { name: Name, file: PathBuf },
}

impl Command {
    /// How to print: errors too.
    pub(crate) fn format(&self) -> Format {
        match self {
            Self::Config { command: ConfigCommand::Print(args) } => args.output,
            Self::Fsck(args) => args.output,
            Self::Recover(args) => args.output,
            _ => Format::Table,
        }
    }
}

/// What was typed; else the exit code, and everything is said.
pub(crate) fn parse() -> Result<Args, u8> {
    Args::try_parse().map_err(|error| {
        let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
        if asked || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            // Nothing can be said about a stream that cannot be written to.
            let _ = error.print();
            return if asked { 0 } else { USAGE };
        }
        let text = error.render().to_string();
        let (what, _) = text.split_once("\n\nFor more information").unwrap_or((&text, ""));
        let known = |word: &String| Args::command().find_subcommand(word).is_some_and(|found| !found.is_hide_set());
        let command = std::env::args().nth(1).filter(known).map(|word| format!("{word} ")).unwrap_or_default();
        output::note(&format!("{}\nhint: see `cairnd {command}--help`", what.trim_end()));
        USAGE
    })
}
