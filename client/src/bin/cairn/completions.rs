//! `cairn completions`

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Args;
use crate::output::Output;
use crate::report::Report;

pub(crate) fn run(shell: Shell, output: &Output) -> Result<u8, Report> {
    // Not straight to the standard output: it would panic when a pipe is closed.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "cairn", &mut script);
    output.print_plain(&script)?;
    Ok(0)
}
