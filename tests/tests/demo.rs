//! `cairnd demo`: the whole story, and nothing of it is left behind.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use cairn_tests::cluster::gone;
use cairn_tests::run::Run;
use cairn_tests::wait::until;
use cairn_tests::{bins, files};
use rustix::fs::{CWD, Mode, mkfifoat};

/// A demo whose temporary folder is made in `folder`.
fn demo(folder: &Path) -> Command {
    let mut command = Command::new(bins::cairnd());
    command.arg("demo").env("TMPDIR", folder);
    command
}

/// The processes that were started with this folder in their command line.
fn processes(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        if words.contains(&folder.display().to_string()) {
            found.push(words);
        }
    }
    found
}

/// Insists that no process and no file is left.
#[track_caller]
fn nothing_is_left(folder: &Path) {
    until("every process has ended", || processes(folder).is_empty().then_some(()));
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0, "the folder is gone");
}

#[test]
fn it_tells_the_whole_story_of_its_own_executable() {
    let folder = tempfile::tempdir().unwrap();
    let told = Run::of(&mut demo(folder.path())).expect(0).text();
    let digest = files::digest(&bins::cairnd());
    assert!(told.matches(&digest).count() >= 2, "the digest is told at the save and at the load: {told}");
    for word in ["n1", "n2", "n3", "s1", "pid", "SIGKILL", "durable", "identical"] {
        assert!(told.contains(word), "{word} is missing: {told}");
    }
    let after_pid = told.split("pid ").skip(1);
    let pids = after_pid.filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
    let pids: Vec<i32> = pids.collect();
    assert!(pids.len() >= 3, "the application, its successor and the node that was killed: {told}");
    assert!(pids.iter().all(|pid| gone(*pid)), "{pids:?}");
    nothing_is_left(folder.path());
}

#[test]
fn it_takes_any_regular_file() {
    let (folder, input) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = files::sqlite(input.path(), "accounts.db", 500);
    let told = Run::of(demo(folder.path()).arg(&file)).expect(0).text();
    assert!(told.contains(&files::digest(&file)), "{told}");
    let empty = files::random(input.path(), "empty", 0, 0);
    Run::of(demo(folder.path()).arg(&empty)).expect(0);
    nothing_is_left(folder.path());
}

#[test]
fn what_cannot_be_saved_is_refused_before_anything_is_made() {
    let (folder, input) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let fifo = input.path().join("fifo");
    mkfifoat(CWD, &fifo, Mode::from_raw_mode(0o600)).unwrap();
    let sealed = files::random(input.path(), "sealed", 10, 0);
    std::fs::set_permissions(&sealed, std::fs::Permissions::from_mode(0o000)).unwrap();
    let mut refused = vec![
        (input.path().to_path_buf(), "not a regular file"),
        (fifo, "not a regular file"),
        (input.path().join("missing"), "No such file"),
    ];
    // Nothing is sealed from root.
    if std::fs::File::open(&sealed).is_err() {
        refused.push((sealed, "Permission denied"));
    }
    for (path, why) in refused {
        let told = Run::of(demo(folder.path()).arg(&path)).expect(2).stderr;
        assert!(told.contains(&path.display().to_string()) && told.contains(why), "{told}");
        assert!(told.contains("hint: ") && !told.contains("os error"), "{told}");
    }
    nothing_is_left(folder.path());
}

/// Starts a demo and waits until its nodes run.
fn begun(folder: &Path) -> Child {
    let mut child = demo(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    lines.find(|line| line.starts_with("s1")).expect("the nodes are told");
    // Who reads on keeps the demo from stopping at a closed pipe.
    std::thread::spawn(move || lines.count());
    child
}

#[test]
fn no_process_survives_it_however_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = begun(folder.path());
    child.kill().unwrap();
    child.wait().unwrap();
    until("its nodes died with it", || processes(folder.path()).is_empty().then_some(()));

    let folder = tempfile::tempdir().unwrap();
    let mut child = begun(folder.path());
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    child.wait().unwrap();
    nothing_is_left(folder.path());
}
