//! The `cairnd` program, as an operator meets it: a file for each part of what it does.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]
#![allow(clippy::disallowed_methods, reason = "real processes and files: outside the seams")]

mod configuration;
mod dev;
mod folder;
mod harness;
mod join;
mod start;

use crate::harness::run;

#[test]
fn help_lists_what_is_built_and_nothing_else() {
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names: Vec<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["demo", "dev", "init", "join", "start", "config"]);
}
