//! The global tier.

use std::path::PathBuf;

use cairn_store::id::ClusterId;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum GlobalCommand {
    /// Show which nodes reach the global tier, what lies there, and what waits to be put there.
    Status,
    /// Fetch the newest backup of a cluster's metadata, for `cairn meta restore`.
    ///
    /// With what the cluster's manifests tell of the time since.
    Backup(StoredArgs),
    /// Begin a new cluster with what another one's manifests there tell.
    ///
    /// It has no segments yet. May be repeated. Where there is a backup, `cairn global backup` and `cairn meta restore` know more:
    /// pins, and versions that are not archived.
    Adopt(AdoptArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct StoredArgs {
    /// The file to write.
    pub(crate) file: PathBuf,
    /// Whose; needed if there is more than one other cluster.
    #[arg(long, value_name = "ID")]
    pub(crate) cluster: Option<ClusterId>,
    /// Replace what is there.
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct AdoptArgs {
    /// Whose; needed if there is more than one other cluster.
    #[arg(long, value_name = "ID")]
    pub(crate) cluster: Option<ClusterId>,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Say what would be taken over, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}
