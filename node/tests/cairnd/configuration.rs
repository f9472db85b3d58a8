//! A configuration that cannot be used.

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
