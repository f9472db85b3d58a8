//! A node's folder: made once, and only then used.

use std::fs;
use std::net::TcpListener;

use tempfile::TempDir;

use crate::harness::{config, refused, run, told};

#[test]
fn a_folder_is_initialised_once_and_only_then_started() {
    let dir = TempDir::new().unwrap();
    let file = config(dir.path(), "");
    let word = file.to_str().unwrap();
    refused(&run(&["start", "--config", word]), 1, &["cairnd init", "cairnd join"]);
    let made = run(&["init", "--config", word]);
    assert!(made.status.success(), "{:?}", told(&made));
    let identity = fs::read_to_string(dir.path().join("data/node.toml")).unwrap();
    refused(&run(&["init", "--config", word]), 4, &["cairnd start"]);
    assert_eq!(fs::read_to_string(dir.path().join("data/node.toml")).unwrap(), identity);
    // A port that another process has.
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap().to_string();
    refused(&run(&["start", "--config", word, "--set", &format!("listen.rpc={taken}")]), 1, &[&taken]);
}

#[test]
fn an_init_that_was_interrupted_is_repeated_and_a_lost_identity_is_not_replaced() {
    let dir = TempDir::new().unwrap();
    let file = config(dir.path(), "");
    let word = file.to_str().unwrap();
    assert!(run(&["init", "--config", word]).status.success());
    let identity = dir.path().join("data/node.toml");
    fs::remove_file(&identity).unwrap();
    assert!(run(&["init", "--config", word]).status.success(), "only folders were there");
    fs::write(dir.path().join("data/log/r-0.wal"), "x").unwrap();
    fs::remove_file(&identity).unwrap();
    refused(&run(&["init", "--config", word]), 4, &["node.toml is gone"]);
}
