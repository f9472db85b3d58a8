//! `cairn cluster recover`: the daemon's program does it, because only that can read a node's log.

use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::ValueEnum;

use crate::args::{Globals, RecoverArgs};
use crate::daemon::find_cairnd;
use crate::report::Report;

/// Becomes `cairnd recover`; returns only if that cannot be started.
pub(crate) fn run(globals: &Globals, args: &RecoverArgs) -> Result<u8, Report> {
    let RecoverArgs { config, set, yes, dry_run } = args;
    let program = find_cairnd("run it where the node is installed")?;
    let format = globals.output.to_possible_value();
    let mut command = Command::new(program.as_ref());
    command.arg("recover").arg("--config").arg(config);
    command.args(set.iter().flat_map(|set| ["--set", set]));
    command.args(format.iter().flat_map(|format| ["-o", format.get_name()]));
    command.args(yes.then_some("--yes")).args(dry_run.then_some("--dry-run"));
    let error = command.exec();
    Err(Report::internal(format!("cannot start {}: {error}", program.display())))
}
