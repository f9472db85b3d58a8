//! What can be typed after `cairn bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use super::size::size_of;

/// Fewer runs than this give no result worth keeping.
pub(super) const RUNS_WORTH_KEEPING: u32 = 5;
/// The most runs of one measurement.
const RUNS_MAX: i64 = 1000;
/// The most clients at once; each has a connection of its own.
const CLIENTS_MAX: i64 = 1024;
/// The most nodes that one save goes to.
const REPLICAS_MAX: i64 = 8;
/// The most segments that are registered.
const SEGMENTS_MAX: u64 = 10_000_000;
/// The most segments that are lost with a node; each has its bytes.
const LOST_MAX: u64 = 100_000;

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Save one large file to other nodes, beside the machine's limit and rsync --fsync.
    ///
    /// The file is moved (--move), and lies in memory and on the disk before. The limit sends it with sendfile to as many
    /// receivers, which write it past the page cache and fdatasync.
    Save(SaveArgs),
    /// Load one large file on a node without a copy, beside the machine's limit and rsync --fsync.
    ///
    /// Into the node's local storage, without --out, from a disk and not from memory, for every contestant.
    Load(TransferArgs),
    /// Save small files again and again, each client under its own name, beside the limit.
    Small(SmallArgs),
    /// Change metadata only, with one client and with many, beside etcd with three members.
    ///
    /// One operation is one claim of a name: one entry, written to the logs of a majority and applied; through a node
    /// that does not lead, a look-up with the word of a majority comes before. An operation of etcd is one put of 1 KiB
    /// over gRPC.
    Meta(MetaArgs),
    /// The most memory that each node ever used, after a save and a load of one large file.
    Memory(MemoryArgs),
    /// Register very many segments, in a cluster of its own.
    ///
    /// Tells the memory of the nodes, how many linearizable look-ups a second they answer, and how long a backup of the metadata,
    /// a node that was killed, and a node that joins take.
    Many(ManyArgs),
    /// Lose a node, until its copies are there again.
    ///
    /// One of five, in a cluster of its own. It has all the segments, and each has one other copy. Small files are saved before
    /// and meanwhile, unless the repair is unthrottled.
    Repair(RepairArgs),
    /// Kill a leader, and have one hand over.
    ///
    /// In a cluster of its own, and again and again. After the kill a small file is saved through another node. While a leader
    /// hands over names are claimed through another node: the longest claim counts.
    Lead(LeadArgs),
}

impl BenchCommand {
    pub(super) fn common(&self) -> &Common {
        match self {
            Self::Save(args) => &args.transfer.common,
            Self::Load(args) => &args.common,
            Self::Small(args) => &args.common,
            Self::Meta(args) => &args.common,
            Self::Memory(args) => &args.common,
            Self::Many(args) => &args.common,
            Self::Repair(args) => &args.common,
            Self::Lead(args) => &args.common,
        }
    }
}

/// What all measurements have. Without --endpoint and CAIRN_ENDPOINTS each starts three nodes of its own.
#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// Where to put a folder for what is written on the way; by default beside the node's spool, or among the temporary
    /// files if the nodes are started. Best on the file system of the nodes.
    #[arg(long)]
    pub(super) dir: Option<PathBuf>,
    /// Measure without the programs that it is compared with.
    #[arg(long)]
    pub(super) without_peers: bool,
}

/// How often.
#[derive(Debug, clap::Args)]
pub(crate) struct Runs {
    /// How often each contestant runs, in turn; fewer than 5 are only a look.
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value_t = RUNS_WORTH_KEEPING, value_parser = clap::value_parser!(u32).range(1..=RUNS_MAX))]
    pub(super) runs: u32,
}

/// How long one run lasts.
#[derive(Debug, clap::Args)]
pub(crate) struct Span {
    /// How long one run lasts, in seconds.
    #[arg(long = "seconds", allow_negative_numbers = true, value_name = "S", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(super) seconds: u32,
}

impl Span {
    pub(super) fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct SaveArgs {
    /// Copies on so many other nodes.
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=REPLICAS_MAX))]
    pub(super) replicas: u8,
    #[command(flatten)]
    pub(super) transfer: TransferArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TransferArgs {
    /// How large the file is: bytes, or a number with KiB, MiB or GiB.
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = size_of)]
    pub(super) size: u64,
    #[command(flatten)]
    pub(super) runs: Runs,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SmallArgs {
    /// How large each file is: bytes, or a number with KiB, MiB or GiB.
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = size_of)]
    pub(super) size: u64,
    /// How many clients save at once.
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=CLIENTS_MAX))]
    pub(super) clients: u32,
    /// Copies on so many other nodes.
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=REPLICAS_MAX))]
    pub(super) replicas: u8,
    #[command(flatten)]
    pub(super) span: Span,
    #[command(flatten)]
    pub(super) runs: Runs,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct MetaArgs {
    /// How many clients there are at once, beside the measurement with one.
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=CLIENTS_MAX))]
    pub(super) clients: u32,
    #[command(flatten)]
    pub(super) span: Span,
    #[command(flatten)]
    pub(super) runs: Runs,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct MemoryArgs {
    /// How large the file is: bytes, or a number with KiB, MiB or GiB.
    #[arg(long, value_name = "SIZE", default_value = "8GiB", value_parser = size_of)]
    pub(super) size: u64,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ManyArgs {
    /// How many segments.
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=SEGMENTS_MAX))]
    pub(super) segments: u64,
    /// How many clients look segments up at once.
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=CLIENTS_MAX))]
    pub(super) clients: u32,
    #[command(flatten)]
    pub(super) span: Span,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RepairArgs {
    /// How many segments the lost node has.
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=LOST_MAX))]
    pub(super) segments: u64,
    /// How large each is: bytes, or a number with KiB, MiB or GiB.
    #[arg(long, value_name = "SIZE", default_value = "10MiB", value_parser = size_of)]
    pub(super) size: u64,
    /// Repair as fast as it goes, instead of within the default repair.rate and repair.transfers.
    #[arg(long)]
    pub(super) unthrottled: bool,
    /// The repair.rate of each node: bytes a second, or a number with KiB, MiB or GiB; by default as it is configured.
    #[arg(long, value_name = "SIZE", conflicts_with = "unthrottled", value_parser = size_of)]
    pub(super) rate: Option<u64>,
    /// How many clients save small files before and meanwhile.
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value_t = 8, conflicts_with = "unthrottled", value_parser = clap::value_parser!(u32).range(1..=CLIENTS_MAX))]
    pub(super) clients: u32,
    #[command(flatten)]
    pub(super) span: Span,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LeadArgs {
    #[command(flatten)]
    pub(super) runs: Runs,
    #[command(flatten)]
    pub(super) common: Common,
}
