//! The `cairnd` program, as an operator meets it: a file for each part of what it does.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]
#![allow(clippy::disallowed_methods, reason = "real processes and files: outside the seams")]

mod configuration;
mod damage;
mod dev;
mod folder;
mod harness;
mod join;
mod start;

use tempfile::TempDir;

use crate::harness::{refused, run};

#[test]
fn help_lists_what_is_built_and_nothing_else() {
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names: Vec<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["demo", "dev", "init", "join", "start", "config", "recover", "fsck"]);
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let dir = TempDir::new().unwrap();
    assert!(run(&["man", dir.path().to_str().unwrap()]).status.success());
    for page in ["cairnd.1", "cairnd-start.1", "cairnd-config-print.1"] {
        assert!(std::fs::read_to_string(dir.path().join(page)).unwrap().contains(".TH"), "{page}");
    }
    assert!(!dir.path().join("cairnd-demo-app.1").exists(), "what is hidden has no page");
    refused(&run(&["man", "/no/such/folder"]), 1, &["/no/such/folder"]);
}
