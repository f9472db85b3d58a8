//! A cluster of processes.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::{Dev, cairnd, gone, nodes, refused, wait_until};

#[test]
fn dev_names_the_port_that_is_in_use() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    let dir = TempDir::new().unwrap();
    let new = dir.path().join("new");
    let made = cairnd(&["dev", "--base-port", &port.to_string(), "--dir"]).arg(&new).output().unwrap();
    refused(&made, 1, &[&format!("127.0.0.1:{port}"), "node n1", "service", "--base-port"]);
    assert!(!new.exists());
}

#[test]
fn dev_keeps_its_folder_and_its_nodes_end_with_it() {
    let dir = TempDir::new().unwrap();
    let dev = Dev::start(dir.path());
    let first = nodes(dir.path());
    let names: Vec<&str> = first.iter().filter_map(|n| n["name"].as_str()).collect();
    assert_eq!(names, ["n1", "s1"]);
    assert!(first.iter().all(|n| n["id"].is_u64() && n["pid"].is_u64() && n["http"].is_string()), "{first:?}");
    assert_eq!(first[1]["dir"], dir.path().join("s1").to_str().unwrap());

    // Killed without a word, it takes its nodes with it.
    dev.end(Signal::KILL);
    wait_until("the end of the nodes", || first.iter().all(|n| gone(&n["pid"])));

    // The same command starts the same cluster, on the same ports, and ends it when asked to.
    let dev = Dev::start(dir.path());
    let second = nodes(dir.path());
    let other = cairnd(&["dev", "--base-port", "0", "--dir"]).arg(dir.path()).output().unwrap();
    refused(&other, 4, &["another `cairnd dev`"]);
    let same = |key: &str| first.iter().zip(&second).all(|(a, b)| a[key] == b[key]);
    assert!(same("id") && same("endpoint") && same("dir") && !same("pid"), "{second:?}");
    assert_eq!(dev.end(Signal::TERM), Some(0));
    assert!(second.iter().all(|n| gone(&n["pid"])));
    // Another shape is another cluster.
    let dev = |words: &[&str]| cairnd(&["dev", "--dir"]).arg(dir.path()).args(words).output().unwrap();
    refused(&dev(&["--nodes", "2"]), 2, &["holds another cluster", "--nodes 1 --storage-nodes 1"]);
    let same = ["--nodes", "1", "--storage-nodes", "1"];
    refused(&dev(&[&same[..], &["--base-port", "20000"]].concat()), 2, &["not 20000", "--base-port"]);
    // A node that is missing is not made anew: the others know it.
    let (file, aside) = (dir.path().join("n1/node.toml"), dir.path().join("aside"));
    fs::rename(&file, &aside).unwrap();
    refused(&dev(&same), 4, &["node n1", "restore"]);
    fs::rename(&aside, &file).unwrap();
    fs::remove_dir_all(dir.path().join("s1")).unwrap();
    refused(&dev(&same), 4, &["node s1", "restore"]);
    assert!(!dir.path().join("s1").exists());
}

#[test]
fn dev_leaves_a_folder_alone_that_is_not_its_own() {
    let dir = TempDir::new().unwrap();
    for (folder, file) in [("a", "photos/me.jpg"), ("b", "n1/photo.jpg")] {
        let path = dir.path().join(folder).join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "x").unwrap();
        let made = cairnd(&["dev", "--base-port", "0", "--dir"]).arg(dir.path().join(folder)).output().unwrap();
        refused(&made, 4, &["not empty", "--dir"]);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
    let fifo = dir.path().join("fifo");
    mkfifoat(CWD, &fifo, Mode::from_raw_mode(0o600)).unwrap();
    for file in [dir.path().join("a/photos/me.jpg"), fifo] {
        refused(&cairnd(&["dev", "--dir"]).arg(&file).output().unwrap(), 2, &["not a folder"]);
    }
}

#[test]
fn dev_says_what_cannot_be_and_leaves_nothing() {
    let dir = TempDir::new().unwrap();
    let dev = |words: &[&str]| cairnd(&["dev"]).args(words).env("TMPDIR", dir.path()).output().unwrap();
    for (words, part) in [
        (["--nodes", "0"], "1..=99"),
        (["--nodes", "100"], "1..=99"),
        (["--storage-nodes", "100"], "0..=99"),
        (["--base-port", "65536"], "65535"),
        (["--base-port", "65530"], "--base-port 65524"),
        (["--dir", ""], "--dir"),
        (["--bogus", "x"], "cairnd dev --help"),
    ] {
        refused(&dev(&words), 2, &[part]);
    }
    let loud = cairnd(&["dev"]).env("CAIRN_LOG_LEVEL", "verbose").env("TMPDIR", dir.path()).output().unwrap();
    refused(&loud, 78, &["CAIRN_LOG_LEVEL", "debug"]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn dev_tidies_up_when_its_terminal_is_closed() {
    let dir = TempDir::new().unwrap();
    let words = ["dev", "--nodes", "1", "--storage-nodes", "0", "--base-port", "0"];
    // Whoever runs the tests may ignore the signal, under `nohup` for one; the program starts without that.
    let mut dev = Command::new("env");
    dev.arg("--default-signal=HUP").arg(env!("CARGO_BIN_EXE_cairnd")).args(words);
    let dev = Dev::spawn(dev.env("TMPDIR", dir.path()));
    let temporary = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    let all = nodes(&temporary);
    assert_eq!(dev.end(Signal::HUP), Some(0));
    assert!(all.iter().all(|n| gone(&n["pid"])));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
