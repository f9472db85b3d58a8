//! Nodes.

use cairn_client::api::NodeState;
use cairn_store::node::NodeName;
use clap::{Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// List the nodes.
    Ls(NodeLsArgs),
    /// Show everything about a node.
    Show(NodeNameArgs),
    /// Empty a node: its copies are made again elsewhere.
    ///
    /// What it owns has no owner any more; the next claim takes it over. Waits until nothing is left on it, and says what is
    /// in the way. It goes on if nobody waits.
    Drain(DrainArgs),
    /// End the emptying of a node: it takes copies again.
    Undrain(NodeNameArgs),
    /// Remove a node from the cluster, for good.
    ///
    /// Its machine may join again as another node, with an empty folder. Refused while the last good copy of something is on
    /// it, or the voters that are up would be too few.
    Remove(NodeRemoveArgs),
    /// Exit with 0 if a node may be stopped now, else with 1 and the reasons.
    Check(NodeCheckArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct NodeLsArgs {
    /// Only nodes in this state.
    #[arg(long, value_enum)]
    pub(crate) state: Option<StateArg>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct NodeNameArgs {
    /// The node.
    pub(crate) node: NodeName,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DrainArgs {
    /// The node.
    pub(crate) node: NodeName,
    /// Do not wait.
    #[arg(long)]
    pub(crate) detach: bool,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Say what would be to do, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct NodeRemoveArgs {
    /// The node.
    pub(crate) node: NodeName,
    /// Also with the last copies on it, if it is down: what only it had is lost.
    #[arg(long)]
    pub(crate) force: bool,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Say what would be lost, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct NodeCheckArgs {
    /// The node.
    pub(crate) node: NodeName,
    /// Whether it may be stopped for a while: what is checked unless something else is asked for.
    #[arg(long)]
    maintenance: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StateArg {
    Up,
    Down,
    Draining,
}

impl From<StateArg> for NodeState {
    fn from(state: StateArg) -> Self {
        match state {
            StateArg::Up => Self::Up,
            StateArg::Down => Self::Down,
            StateArg::Draining => Self::Draining,
        }
    }
}
