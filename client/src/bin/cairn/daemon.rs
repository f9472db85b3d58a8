//! Where the daemon's program is.

use std::env;
use std::path::Path;

use crate::report::Report;

/// The file of a program of this name: in the folders of PATH.
pub(crate) fn on_path(name: &str) -> Option<Box<Path>> {
    let path = env::var_os("PATH")?;
    let mut files = env::split_paths(&path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(name));
    files.find(|file| file.is_file()).map(Into::into)
}

/// `cairnd`: beside this program, as it is installed; else wherever PATH leads. `hint` says what to do without one.
pub(crate) fn find_cairnd(hint: &str) -> Result<Box<Path>, Report> {
    let beside = env::current_exe().ok().map(|own| own.with_file_name("cairnd")).filter(|file| file.is_file());
    beside.map(Into::into).or_else(|| on_path("cairnd")).ok_or_else(|| Report {
        hint: Some(hint.into()),
        ..Report::internal("there is no cairnd beside cairn or on PATH")
    })
}
