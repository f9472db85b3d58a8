//! What a start finds in its folder, and what it takes from the system.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use rustix::fs::{CWD, Mode, mkfifoat};
use tempfile::TempDir;

use crate::harness::{Dev, Running, cairnd, initialised, nodes, refused, run};

fn fifo(path: &Path) {
    mkfifoat(CWD, path, Mode::from_raw_mode(0o600)).unwrap();
}

#[test]
fn what_is_no_file_is_named_and_does_not_make_it_wait() {
    let dir = TempDir::new().unwrap();
    let file = initialised(dir.path());
    let (data, word) = (dir.path().join("data"), file.to_str().unwrap());
    for name in ["node.toml", "lock", "log-begun", "log/x", "catalogue/db", "snapshots/state"] {
        let (path, aside) = (data.join(name), dir.path().join("aside"));
        let kept = path.exists();
        if kept {
            fs::rename(&path, &aside).unwrap();
        }
        fifo(&path);
        refused(&run(&["start", "--config", word]), 1, &[path.to_str().unwrap(), "not a regular file"]);
        fs::remove_file(&path).unwrap();
        let socket = UnixListener::bind(&path).unwrap();
        refused(&run(&["start", "--config", word]), 1, &[path.to_str().unwrap(), "not a regular file"]);
        drop(socket);
        fs::remove_file(&path).unwrap();
        if matches!(name, "node.toml" | "lock") {
            fs::create_dir(&path).unwrap();
            refused(&run(&["start", "--config", word]), 1, &[path.to_str().unwrap()]);
            fs::remove_dir(&path).unwrap();
        }
        if kept {
            fs::rename(&aside, &path).unwrap();
        }
    }
    fs::remove_file(data.join("spool/.node")).unwrap();
    fs::create_dir(data.join("spool/.node")).unwrap();
    refused(&run(&["start", "--config", word]), 1, &["spool/.node"]);
    fs::remove_dir(data.join("spool/.node")).unwrap();
}

#[test]
fn what_a_newer_program_wrote_stops_it_and_stays_as_it_is() {
    let dir = TempDir::new().unwrap();
    let file = initialised(dir.path());
    let (data, word) = (dir.path().join("data"), file.to_str().unwrap());
    let (log, socket) = (dir.path().join("log"), data.join("cairnd.sock"));
    drop(Running::start(&mut cairnd(&["start", "--config", word]), &log, &socket));
    let identity = fs::read(data.join("node.toml")).unwrap();

    // Its first record: kind, version 2, an empty body.
    let snapshot = [b"RAFT".as_slice(), &2_u16.to_le_bytes(), &[0; 8]].concat();
    fs::write(data.join("snapshots/state"), &snapshot).unwrap();
    let wal = || {
        let entries = fs::read_dir(data.join("log")).unwrap().map(|entry| entry.unwrap().path());
        let mut chunks: Vec<_> = entries.filter(|path| path.extension().is_some_and(|of| of == "wal")).collect();
        chunks.sort();
        chunks.into_iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>()
    };
    let before = wal();
    assert!(before.iter().any(|chunk| !chunk.is_empty()));
    refused(
        &run(&["start", "--config", word]),
        1,
        &["snapshot", "version 2", "a newer cairnd", "nothing was changed"],
    );
    assert_eq!(fs::read(data.join("snapshots/state")).unwrap(), snapshot);
    assert_eq!(wal(), before);
    fs::remove_file(data.join("snapshots/state")).unwrap();

    let newer = String::from_utf8(identity).unwrap().replace("version = 1", "version = 2");
    fs::write(data.join("node.toml"), &newer).unwrap();
    for command in ["start", "init"] {
        refused(&run(&[command, "--config", word]), 1, &["version 2", "a newer cairnd", "nothing was changed"]);
    }
    assert_eq!(fs::read_to_string(data.join("node.toml")).unwrap(), newer);
    assert_eq!(wal(), before);
}

#[test]
fn a_log_that_was_lost_in_the_first_run_is_noticed() {
    let dir = TempDir::new().unwrap();
    let file = initialised(dir.path());
    let (data, word) = (dir.path().join("data"), file.to_str().unwrap());
    let run_once = || {
        let socket = data.join("cairnd.sock");
        // That of the run before would be taken for this one's.
        let _ = fs::remove_file(&socket);
        drop(Running::start(&mut cairnd(&["start", "--config", word]), &dir.path().join("log"), &socket));
    };
    let lose_log = || {
        fs::remove_dir_all(data.join("log")).unwrap();
        fs::create_dir(data.join("log")).unwrap();
    };
    run_once();
    // As a power cut leaves it before the mark is written, or a cairnd from before there was one.
    let mark = fs::read(data.join("log-begun")).unwrap();
    fs::remove_file(data.join("log-begun")).unwrap();
    run_once();
    assert_eq!(fs::read(data.join("log-begun")).unwrap(), mark);

    lose_log();
    let refuses = || {
        refused(&run(&["start", "--config", word]), 1, &["this node ran before", "join as a new node"]);
        let checked = run(&["fsck", "--dir", data.to_str().unwrap()]);
        let told = String::from_utf8_lossy(&checked.stdout);
        assert!(checked.status.code() == Some(6) && told.contains("it is empty, and the node ran before"), "{told}");
    };
    refuses();
    refuses();
    // A damaged mark is one all the same.
    fs::write(data.join("log-begun"), "x").unwrap();
    refuses();
    // That of another life is what an emptied folder has: this life's log was never begun.
    fs::write(data.join("log-begun"), "00000000-0000-0000-0000-000000000001\n").unwrap();
    lose_log();
    run_once();
    assert_eq!(fs::read(data.join("log-begun")).unwrap(), mark);
}

#[test]
fn the_spool_is_marked_anew_and_rid_of_what_clients_left_long_ago() {
    let dir = TempDir::new().unwrap();
    let file = initialised(dir.path());
    let data = dir.path().join("data");
    let spool = data.join("spool");
    let mark = fs::read_to_string(spool.join(".node")).unwrap();
    fs::remove_file(spool.join(".node")).unwrap();
    fifo(&spool.join(".node"));
    let (left, own) = (spool.join("cairn-00000000000000000000000000000abc.part"), spool.join("state.db"));
    for path in [&left, &own] {
        fs::write(path, "x").unwrap();
        fs::File::options().append(true).open(path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    }
    let mut start = cairnd(&["start", "--config", file.to_str().unwrap()]);
    let _node = Running::start(&mut start, &dir.path().join("log"), &data.join("cairnd.sock"));
    assert_eq!(fs::read_to_string(spool.join(".node")).unwrap(), mark);
    assert!(!left.exists() && own.exists());
}

#[test]
fn it_opens_as_many_files_as_it_may_and_says_if_they_are_few() {
    let dir = TempDir::new().unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -Sn 500 && ulimit -Hn 2000 && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_cairnd")]);
    shell.args(["dev", "--nodes", "1", "--storage-nodes", "0", "--base-port", "0", "--dir"]).arg(dir.path());
    let _dev = Dev::spawn(&mut shell);
    let node = nodes(dir.path()).remove(0);
    let limits = fs::read_to_string(format!("/proc/{}/limits", node["pid"])).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().nth(3), Some("2000"), "{line}");
    let log = fs::read_to_string(dir.path().join("n1/cairnd.log")).unwrap();
    assert!(log.contains("only 2000 files"), "{log}");
}
