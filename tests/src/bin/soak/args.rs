//! What can be typed.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// Puts a cluster of real processes into trouble, and checks that nothing acknowledged is lost.
///
/// Exit 0 if nothing is wrong, 1 if anything is, 77 if it could not be tried here.
#[derive(Debug, Parser)]
#[command(name = "soak", max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) trouble: Trouble,
    /// What is drawn: the same seed tries the same things, though not at the same moments.
    #[arg(long, global = true, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// How the result is printed.
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: Format,
    /// Where the nodes' folders lie; a temporary folder unless given. It stays if anything is wrong.
    #[arg(long, global = true)]
    pub(crate) dir: Option<PathBuf>,
    /// Use the programs in this folder as they are; else they are built.
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) programs: Option<PathBuf>,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// One JSON document.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Trouble {
    /// Kill nodes of a `cairnd dev` cluster, one or more at once, and start them again.
    Kill(KillArgs),
    /// End nodes at every step of their work, with a build that has crash points.
    Crash(CrashArgs),
    /// Cut the power: shut the nodes' file systems down without their logs, on ext4 or XFS images. Needs root.
    Power(PowerArgs),
    /// Kill the node that runs an application, with it, and measure how long nobody answers.
    Failover(FailoverArgs),
    /// Fill the disks of nodes, and give the space back. Needs root.
    Full(RoundArgs),
    /// Let system calls of nodes fail. Needs strace.
    Eio(RoundArgs),
    /// Let each fsync of nodes take long. Needs strace.
    Slow(RoundArgs),
    /// Stop nodes for longer than an election takes, and let them go on.
    Stall(RoundArgs),
    /// Cut nodes off from each other, in one direction or both. Needs root.
    Partition(RoundArgs),
}

impl Trouble {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Kill(_) => "kill",
            Self::Crash(_) => "crash",
            Self::Power(_) => "power",
            Self::Failover(_) => "failover",
            Self::Full(_) => "full",
            Self::Eio(_) => "eio",
            Self::Slow(_) => "slow",
            Self::Stall(_) => "stall",
            Self::Partition(_) => "partition",
        }
    }
}

/// How much.
#[derive(Debug, clap::Args)]
pub(crate) struct KillArgs {
    /// End after so many kills.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) kills: u64,
    /// End after so many seconds, audits not counted.
    #[arg(long, value_name = "N", default_value_t = 3600)]
    pub(crate) seconds: u64,
    /// Audit everything after so many kills.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) audit_every: u64,
}

/// How much.
#[derive(Debug, clap::Args)]
pub(crate) struct CrashArgs {
    /// End when each point was hit so often.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) hits: u64,
    /// End after so many seconds, audits not counted, whatever was hit by then.
    #[arg(long, value_name = "N")]
    pub(crate) seconds: Option<u64>,
    /// Only so many points, which the seed draws; all unless given.
    #[arg(long, value_name = "N")]
    pub(crate) sample: Option<usize>,
    /// Audit everything after so many hits.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) audit_every: u64,
}

/// How much.
#[derive(Debug, clap::Args)]
pub(crate) struct PowerArgs {
    /// End after so many cuts.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) rounds: u64,
    /// End after so many seconds.
    #[arg(long, value_name = "N", default_value_t = 4 * 3600)]
    pub(crate) seconds: u64,
    /// On which file system; half of the rounds on each unless given.
    #[arg(long, value_enum)]
    pub(crate) fs: Option<FileSystem>,
}

/// How much.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct FailoverArgs {
    /// End after so many rounds.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) rounds: u64,
    /// End after so many seconds.
    #[arg(long, value_name = "N", default_value_t = 3600)]
    pub(crate) seconds: u64,
    /// The agents' lease.
    #[arg(long, value_name = "TIME", default_value = "2s")]
    pub(crate) lease: String,
    /// With a state of so many MiB, which is only there: until the command is started, instead of until it answers.
    #[arg(long, value_name = "N")]
    pub(crate) mib: Option<u64>,
}

/// A file system that can be shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FileSystem {
    /// ext4.
    Ext4,
    /// XFS.
    Xfs,
}

impl FileSystem {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }
}

/// How much.
#[derive(Debug, clap::Args)]
pub(crate) struct RoundArgs {
    /// End after so many rounds.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) rounds: u64,
    /// End after so many seconds.
    #[arg(long, value_name = "N", default_value_t = 3600)]
    pub(crate) seconds: u64,
    /// Audit everything after so many rounds.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) audit_every: u64,
}
