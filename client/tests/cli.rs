//! The `cairn` command, as a process.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

fn cairn(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
    command.args(args).stdin(Stdio::null()).env_remove("CAIRN_ENDPOINTS").env_remove("CAIRN_EPOCH");
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The error on stderr, with nothing on stdout.
fn error(output: &Output) -> Value {
    assert_eq!(text(&output.stdout), "");
    let value: Value = serde_json::from_slice(&output.stderr).unwrap();
    let error = value["error"].clone();
    for key in ["code", "message", "hint", "retryable", "outcome"] {
        assert!(error.get(key).is_some(), "{key} is missing in {error}");
    }
    error
}

#[test]
fn help_lists_exactly_what_is_built() {
    let listed = |args: &[&str]| -> Vec<String> {
        let output = cairn(args);
        assert_eq!(output.status.code(), Some(0));
        let lines = text(&output.stdout).lines().skip_while(|line| *line != "Commands:").skip(1);
        lines.take_while(|line| !line.is_empty()).map(|line| line.split_whitespace().next().unwrap().into()).collect()
    };
    let all = [
        "save",
        "load",
        "ls",
        "show",
        "history",
        "rm",
        "pin",
        "unpin",
        "watch",
        "claim",
        "renew",
        "release",
        "run",
        "follow",
        "node",
        "cluster",
        "global",
        "meta",
        "bench",
        "completions",
    ];
    assert_eq!(listed(&["--help"]), all);
    assert_eq!(listed(&["node", "--help"]), ["ls", "show", "drain", "undrain", "remove", "check"]);
    assert_eq!(listed(&["cluster", "--help"]), ["status", "peers", "health", "repairs", "recover", "recovery"]);
    assert_eq!(listed(&["global", "--help"]), ["status", "backup", "adopt"]);
    assert_eq!(listed(&["meta", "--help"]), ["backup", "inspect", "restore"]);
    assert_eq!(listed(&["bench", "--help"]), ["save", "load", "small", "meta", "memory", "many", "repair", "lead"]);
    let help = |command| text(&cairn(&[command, "--help"]).stdout).to_owned();
    for word in ["--durability", "doctor"] {
        assert!(!help("save").contains(&format!("{word} ")) && !help("load").contains(&format!("{word} ")), "{word}");
    }
}

#[test]
fn an_invalid_name_is_a_usage_error() {
    for args in [["show", "../etc", "-o", "json"], ["-o", "json", "show", "a//b"]] {
        let output = cairn(&args);
        assert_eq!(output.status.code(), Some(2));
        let error = error(&output);
        assert_eq!((&error["code"], &error["outcome"]), (&Value::from("invalid"), &Value::from("none")));
    }
    let output = cairn(&["show", "../etc"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).starts_with("error: "));
}

#[test]
fn what_a_variable_gives_need_not_be_typed() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
    command.args(["save", "a"]).env("CAIRN_ENDPOINTS", "a:1").env("CAIRN_EPOCH", "1");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = text(&output.stderr);
    assert!(told.contains("Usage: cairn save [OPTIONS] <NAME> <FILE|DIR|->\n"), "{told}");
}

#[test]
fn a_prefix_that_no_name_has_is_a_usage_error() {
    for prefix in ["/x", "a\nb", "a//", &"n".repeat(256)] {
        let output = cairn(&["-o", "json", "ls", prefix]);
        assert_eq!(output.status.code(), Some(2), "{prefix:?}");
        let error = error(&output);
        assert_eq!((&error["code"], error["hint"].is_string()), (&Value::from("invalid"), true), "{error}");
    }
}

#[test]
fn without_a_node_it_tries_until_the_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = format!("unix:{}", dir.path().join("nobody").display());
    let file = dir.path().join("state");
    std::fs::write(&file, "state").unwrap();
    for command in
        [vec!["ls"], vec!["save", "a", file.to_str().unwrap()], vec!["load", "a"], vec!["rm", "a", "--yes"]]
    {
        let start = Instant::now();
        let output = cairn(&[&["--endpoint", &nobody, "--timeout", "400ms", "-o", "json"], &command[..]].concat());
        assert_eq!(output.status.code(), Some(5), "{command:?}");
        assert!(start.elapsed() >= Duration::from_millis(400) && start.elapsed() < Duration::from_secs(5));
        let error = error(&output);
        assert_eq!((&error["code"], &error["outcome"]), (&Value::from("unavailable"), &Value::from("none")));
        assert!(error["message"].as_str().unwrap().contains(&nobody));
        assert!(error["hint"].as_str().unwrap().contains("is cairnd running"));
    }
}

#[test]
fn what_cannot_be_saved_is_said_before_any_node_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_str().unwrap();
    for (file, code, exit) in [("-", "invalid", 2), (folder, "invalid", 2), ("/no/such/file", "io", 1)] {
        let output = cairn(&["-o", "json", "save", "a", "--move", file]);
        assert_eq!(output.status.code(), Some(exit), "{file}");
        let error = error(&output);
        assert_eq!(error["code"], code);
        assert!(error["hint"].is_string(), "{error}");
        assert!(exit == 1 || error["message"].as_str().unwrap().contains("moved"), "{error}");
    }
}

#[test]
fn an_existing_output_is_refused_before_any_node_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    std::fs::write(&path, "old").unwrap();
    let output = cairn(&["-o", "json", "load", "a", "--claim", "--out", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(error(&output)["hint"].as_str().unwrap().contains("--force"));
    assert_eq!(std::fs::read(path).unwrap(), b"old");
}

#[test]
fn removing_needs_yes_where_nobody_can_be_asked() {
    let output = cairn(&["-o", "json", "rm", "a"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(error(&output)["hint"].as_str().unwrap().contains("--yes"));
}

#[test]
fn completions_are_printed_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = cairn(&["completions", shell]);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""), "{shell}");
        let script = text(&output.stdout);
        assert!(["cairn", "save", "unpin"].iter().all(|word| script.contains(word)), "{shell}: {script}");
    }
    let output = cairn(&["-o", "json", "completions", "tcsh"]);
    assert_eq!((output.status.code(), &error(&output)["code"]), (Some(2), &Value::from("invalid")));
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let dir = tempfile::tempdir().unwrap();
    let output = cairn(&["man", dir.path().to_str().unwrap()]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    for (page, word) in [("cairn.1", "cairn"), ("cairn-save.1", "replicas"), ("cairn-node-ls.1", "state")] {
        let page = std::fs::read_to_string(dir.path().join(page)).unwrap();
        assert!(page.contains(".TH") && page.contains(word), "{page}");
    }
    assert!(!dir.path().join("cairn-man.1").exists(), "what is hidden has no page");
    let output = cairn(&["-o", "json", "man", "/no/such/folder"]);
    assert_eq!((output.status.code(), &error(&output)["code"]), (Some(1), &Value::from("io")));
}
