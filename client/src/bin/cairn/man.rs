//! `cairn man`: for those who make packages.

use std::path::Path;

use clap::CommandFactory;

use crate::args::Args;
use crate::report::Report;

/// A page for each command that `--help` lists.
pub(crate) fn run(dir: &Path) -> Result<u8, Report> {
    clap_mangen::generate_to(Args::command(), dir).map_err(|error| Report {
        code: "io".into(),
        hint: Some("name a folder that exists".into()),
        ..Report::internal(format!("cannot write the manual into {}: {error}", dir.display()))
    })?;
    Ok(0)
}
