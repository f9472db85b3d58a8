//! `cairnd man`: for those who make packages.

use std::path::Path;

use clap::CommandFactory;

use crate::args::Args;
use crate::failure::Failure;

/// A page for each command that `--help` lists.
pub(crate) fn run(dir: &Path) -> Result<(), Failure> {
    let doing = format!("cannot write the manual into {}", dir.display());
    let written = clap_mangen::generate_to(Args::command(), dir);
    written.map_err(Failure::io(doing)).map_err(|failure| failure.hint("name a folder that exists"))
}
