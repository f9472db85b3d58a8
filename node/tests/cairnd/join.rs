//! Becoming a member: of the right cluster, once, and without traces if it fails.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Output;

use tempfile::TempDir;

use crate::harness::{Dev, config, nodes, refused, run, told};

fn join(file: &Path, seed: &str) -> Output {
    run(&["join", "--config", file.to_str().unwrap(), "--seed", seed])
}

fn rename(file: &Path, name: &str) {
    let text = fs::read_to_string(file).unwrap();
    fs::write(file, text.replace("\"n1\"", &format!("\"{name}\""))).unwrap();
}

#[test]
fn without_a_member_that_answers_nothing_is_made() {
    let dir = TempDir::new().unwrap();
    let file = config(dir.path(), "");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    // It speaks first, and something else.
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let (silent_at, stranger_at) = (silent.local_addr().unwrap(), stranger.local_addr().unwrap());
    std::thread::spawn(move || {
        use std::io::Write;
        let greet = |mut stream: std::net::TcpStream| {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
            stream
        };
        // Held open: what matters is what it says.
        stranger.incoming().flatten().map(greet).collect::<Vec<_>>()
    });
    std::thread::scope(|scope| {
        for seed in [closed, silent_at.to_string(), stranger_at.to_string()] {
            let file = &file;
            scope.spawn(move || refused(&join(file, &seed), 5, &[&seed, "--seed"]));
        }
    });
    refused(&join(&file, "nowhere"), 2, &["nowhere", "HOST:PORT"]);
    assert!(!dir.path().join("data").exists());
    assert!(run(&["init", "--config", file.to_str().unwrap()]).status.success());
}

#[test]
fn a_member_is_told_so_and_a_stranger_is_refused() {
    let dir = TempDir::new().unwrap();
    let _dev = Dev::start(dir.path());
    let seed = nodes(dir.path())[0]["endpoint"].as_str().unwrap().to_owned();
    let again = join(&dir.path().join("s1/cairnd.toml"), &seed);
    assert!(again.status.success(), "{:?}", told(&again));
    assert!(String::from_utf8_lossy(&again.stdout).contains("has joined already"));

    let other = TempDir::new().unwrap();
    let file = config(other.path(), "");
    assert!(run(&["init", "--config", file.to_str().unwrap()]).status.success());
    refused(&join(&file, &seed), 4, &["empty folder"]);

    // A name that is taken: nothing is made, and under another name it may join.
    let joiner = TempDir::new().unwrap();
    let file = config(joiner.path(), "");
    refused(&join(&file, &seed), 4, &["n1", "node.name"]);
    let data = joiner.path().join("data");
    assert!(!data.exists());
    rename(&file, "late");
    assert!(join(&file, &seed).status.success());
    refused(&run(&["init", "--config", file.to_str().unwrap()]), 4, &["cairnd start"]);

    // A join whose last step was lost gets the same id again.
    let identity = data.join("node.toml");
    let before = fs::read_to_string(&identity).unwrap();
    let incarnation = before.lines().find_map(|line| line.strip_prefix("incarnation = ")).unwrap();
    fs::write(data.join("joining"), incarnation.trim_matches('"')).unwrap();
    fs::remove_file(&identity).unwrap();
    refused(&run(&["init", "--config", file.to_str().unwrap()]), 4, &["repeat the join"]);
    assert!(join(&file, &seed).status.success());
    assert_eq!(fs::read_to_string(&identity).unwrap(), before);
    assert!(join(&file, &seed).status.success());
}
