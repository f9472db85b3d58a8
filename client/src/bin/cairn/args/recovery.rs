//! Backups of what a cluster knows, and clusters that begin with one.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum MetaCommand {
    /// Write all names, versions and digests to a file, but no bytes of any copy.
    Backup(BackupArgs),
    /// Show what a backup holds, and whether it is whole.
    Inspect(InspectArgs),
    /// Begin a new cluster, which has no segments yet, with what a backup holds. May be repeated.
    ///
    /// Nodes that join with their old folders (`cairnd join --adopt`) bring the copies along. Nobody owns anything at first:
    /// `cairn claim` takes over, in an epoch above all that there were.
    Restore(RestoreArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct RecoverArgs {
    /// The configuration of the node, in TOML.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Set a key of the configuration, above the file and the variables. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Say what is known here and what may be lost, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RecoveryArgs {
    /// End it: what no segment refers to is deleted again in time, and what lacks copies is repaired.
    #[arg(long)]
    pub(crate) end: bool,
    /// Do not ask.
    #[arg(long, requires = "end")]
    pub(crate) yes: bool,
    /// Say how far it is, and end nothing.
    #[arg(long, requires = "end")]
    pub(crate) dry_run: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct BackupArgs {
    /// The file to write.
    pub(crate) file: PathBuf,
    /// Replace what is there.
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// The backup.
    pub(crate) file: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// The backup.
    pub(crate) file: PathBuf,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Say what would be restored, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}
