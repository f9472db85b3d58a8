//! A configuration that cannot be used.

use std::fs;

use tempfile::TempDir;

use crate::harness::{cairnd, config, refused, run};

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
fn init_join_and_start_refuse_it_alike() {
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
        for command in [&["init"][..], &["join", "--seed", "127.0.0.1:1"], &["start"]] {
            let words = [command, &["--config", word]].concat();
            refused(&run(&words), 78, &[&format!("{word}:"), key, line]);
        }
    }
    assert!(!dir.path().join("data").exists());
}
