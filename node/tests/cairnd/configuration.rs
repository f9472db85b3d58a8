//! A configuration that cannot be used.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{cairnd, config, refused, run, told};

#[test]
fn a_wrong_configuration_is_refused_before_anything_is_made() {
    let dir = TempDir::new().unwrap();
    let file = config(dir.path(), "capacty = \"1GiB\"");
    let word = file.to_str().unwrap();
    for command in [&["init", "--config", word][..], &["start", "--config", word]] {
        refused(&run(command), 78, &["node.capacty", "node.capacity", word]);
    }
    refused(&run(&["start", "--config", "/no/such.toml"]), 78, &["/no/such.toml"]);
    config(dir.path(), "");
    let open = ["init", "--config", word, "--set", "listen.rpc=0.0.0.0:7420"];
    refused(&run(&open), 78, &["listen.rpc", "listen.insecure"]);
    let by_variable = cairnd(&["init", "--config", word]).env("CAIRN_NODE_ROLE", "boss").output().unwrap();
    refused(&by_variable, 78, &["CAIRN_NODE_ROLE", "storage"]);
    assert!(!dir.path().join("data").exists());
}

#[test]
fn every_command_refuses_it_alike() {
    let dir = TempDir::new().unwrap();
    let file = config(dir.path(), "");
    let whole = fs::read_to_string(&file).unwrap();
    for (text, key, line) in [
        (format!("{whole}\n[log]\nlevel = \"verbose\"\n"), "log.level", "trace"),
        (whole.replace("127.0.0.1", "127.0.0.1:1"), "listen.rpc", "an address"),
        (whole.replace("rpc = \"127.0.0.1:", "rpc = \"127.0.0.1:9"), "listen.rpc", "65535"),
        (whole.replace("name = \"n1\"", "name = \"n 1\""), "node.name", "n 1"),
        (whole.replace("[listen]", "[listen"), "not TOML", "mend"),
    ] {
        fs::write(&file, &text).unwrap();
        let word = file.to_str().unwrap();
        for command in [
            &["init"][..],
            &["join", "--seed", "127.0.0.1:1"],
            &["start"],
            &["config", "check"],
            &["config", "print"],
        ] {
            let words = [command, &["--config", word]].concat();
            refused(&run(&words), 78, &[&format!("{word}:"), key, line]);
        }
    }
    assert!(!dir.path().join("data").exists());
}

#[test]
fn a_configuration_that_can_be_used_is_said_to_be() {
    let dir = TempDir::new().unwrap();
    let file = config(dir.path(), "");
    let output = run(&["config", "check", "--config", file.to_str().unwrap()]);
    assert_eq!(told(&output), (0, String::new()));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.lines().count() == 1 && said.contains(file.to_str().unwrap()), "{said}");
    assert!(!dir.path().join("data").exists());
}

#[test]
fn each_value_is_printed_with_where_it_came_from() {
    let dir = TempDir::new().unwrap();
    let file = config(dir.path(), "zone = \"z1\"");
    let word = file.to_str().unwrap();
    let words = ["config", "print", "--config", word, "--set", "raft.heartbeat=100ms"];
    let print = |more: &[&str]| {
        let output = cairnd(&[&words[..], more].concat()).env("CAIRN_LOG_FORMAT", "json").output().unwrap();
        assert_eq!(told(&output), (0, String::new()));
        String::from_utf8(output.stdout).unwrap()
    };
    let document: Value = serde_json::from_str(&print(&["-o", "json"])).unwrap();
    assert_eq!(document.as_object().unwrap().keys().collect::<Vec<_>>(), ["keys"]);
    let keys = document["keys"].as_array().unwrap();
    for (key, value, origin) in [
        ("node.zone", "z1", format!("{word}:4")),
        ("raft.heartbeat", "100ms", "flag".into()),
        ("log.format", "json", "CAIRN_LOG_FORMAT".into()),
        ("log.level", "info", "default".into()),
    ] {
        let expected = serde_json::json!({ "key": key, "value": value, "origin": origin });
        assert_eq!(keys.iter().find(|row| row["key"] == key), Some(&expected));
    }
    let lines: Vec<Value> = print(&["-o", "jsonl"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(&lines, keys);
    let table = print(&[]);
    assert!(table.starts_with("KEY") && table.lines().count() == keys.len() + 1, "{table}");
    let row: Vec<&str> =
        table.lines().find(|line| line.starts_with("log.level")).unwrap().split_whitespace().collect();
    assert_eq!(row, ["log.level", "info", "default"]);
}

#[test]
fn an_error_is_json_where_data_would_be() {
    let output = run(&["config", "print", "--config", "/no/such.toml", "-o", "json"]);
    assert_eq!(output.status.code(), Some(78));
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    let keys: Vec<&String> = error["error"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["code", "hint", "message", "outcome", "retryable"]);
    assert_eq!(error["error"]["code"], "configuration");
}

#[test]
fn the_default_is_the_example_and_can_be_used() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/config.example.toml");
    let output = run(&["config", "default"]);
    assert_eq!(told(&output), (0, String::new()));
    assert_eq!(output.stdout, fs::read(example).unwrap());
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("c.toml");
    fs::write(&file, output.stdout).unwrap();
    assert_eq!(run(&["config", "check", "--config", file.to_str().unwrap()]).status.code(), Some(0));
}
