//! What cannot be saved: said clearly, nothing committed, the name free, the source as it was, the spool empty.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use cairn_tests::{Cluster, Run, Shared, files};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;

static CLUSTER: Shared = Shared::new(3, 0);

fn save(cluster: &Cluster, name: &str, file: &Path, more: &[&str]) -> Run {
    let mut command = cluster.command("n1", ["save", name]);
    Run::of(command.arg(file).args(more))
}

/// Ends what writes beside a test, however the test ends.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Insists that nothing came of it.
fn refused(cluster: &Cluster, name: &str, run: Run, exit: i32, code: &str, why: &str) -> Value {
    let run = run.expect(exit);
    assert!(run.stdout.is_empty());
    let error = run.error();
    assert_eq!((&error["code"], &error["outcome"]), (&code.into(), &"none".into()), "{error}");
    assert!(error["message"].as_str().unwrap().contains(why), "{why:?} is not in {error}");
    free(cluster, name);
    error
}

/// The name is as free as if nobody had asked, and no bytes are left.
fn free(cluster: &Cluster, name: &str) {
    assert_eq!(cluster.cairn("n1", ["show", name]).expect(3).error()["code"], "not_found");
    let file = files::random(&cluster.scratch(), &format!("proof-{name}"), 10, 1);
    let saved = save(cluster, name, &file, &["--if-version", "0"]).expect(0).json();
    assert_eq!(saved["version"], 1);
}

#[test]
fn what_is_not_there_or_not_a_file_is_refused() {
    let cluster = CLUSTER.get();
    let dir = cluster.scratch().join("odd");
    fs::create_dir(&dir).unwrap();
    let at = |name: &str| dir.join(name);
    symlink("nowhere", at("dangling")).unwrap();
    symlink(".", at("to-folder")).unwrap();
    mknodat(CWD, at("fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    let cases = [
        ("missing", 1, "io", "No such file"),
        ("dangling", 1, "io", "No such file"),
        ("fifo", 2, "invalid", "is a pipe"),
        ("socket", 2, "invalid", "is a socket"),
        ("/dev/zero", 2, "invalid", "is a device"),
        ("/dev/null", 2, "invalid", "is a device"),
        ("missing/below", 1, "io", "No such file"),
    ];
    for (index, (file, exit, code, why)) in cases.into_iter().enumerate() {
        for (how, more) in [("copied", &[][..]), ("moved", &["--move"][..])] {
            let name = format!("odd-{how}-{index}");
            let error = refused(&cluster, &name, save(&cluster, &name, &at(file), more), exit, code, why);
            assert!(error["message"].as_str().unwrap().contains(file.trim_start_matches('.')), "{error}");
            assert!(error["hint"].is_string(), "{error}");
        }
    }
    // A folder is saved as a tree, but not what is odd in it; and it is not moved.
    for (index, file) in [".", "to-folder"].into_iter().enumerate() {
        for (how, more, why) in [("tree", &[][..], "fifo is a pipe"), ("moved", &["--move"][..], "is a directory")] {
            let name = format!("folder-{how}-{index}");
            refused(&cluster, &name, save(&cluster, &name, &at(file), more), 2, "invalid", why);
        }
    }
    for name in ["fifo", "socket", "dangling", "to-folder"] {
        assert!(at(name).symlink_metadata().is_ok(), "{name} is still there");
    }
}

#[test]
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn what_this_user_may_not_read_is_refused() {
    const NOBODY: u32 = 65534;
    let cluster = CLUSTER.get();
    let file = files::random(&cluster.scratch(), "secret", 1000, 3);
    fs::set_permissions(&file, Permissions::from_mode(0o000)).unwrap();
    let mut command = cluster.command("n1", ["save", "secret"]);
    command.arg(&file);
    if rustix::process::getuid().is_root() {
        // Root may read everything, so somebody else asks; the program must be within that user's reach.
        command.uid(NOBODY).gid(NOBODY);
        let probe = std::process::Command::new(cairn_tests::bins::cairn()).arg("--version").uid(NOBODY).output();
        if !probe.is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: another user cannot run the program from where it was built");
            return;
        }
    }
    let run = Run::of(&mut command);
    refused(&cluster, "secret", run, 1, "io", "Permission denied");
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().len(), 1000);
}

#[test]
fn a_file_that_changes_while_it_is_read_is_not_saved() {
    let cluster = CLUSTER.get();
    let path = files::random(&cluster.scratch(), "restless", 64 << 20, 4);
    let file = fs::File::options().write(true).open(&path).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = End(&over);
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                file.write_all_at(b"x", 1 << 20).unwrap();
            }
        });
        refused(&cluster, "restless", save(&cluster, "restless", &path, &[]), 1, "io", "changed while it was read");
        // One that was moved is read by the node, which finds it out.
        let run = save(&cluster, "restless-moved", &path, &["--move"]);
        // Or the client does, if it changes before it was moved.
        let code = run.error()["code"].as_str().unwrap().to_owned();
        assert!(["internal", "io"].contains(&code.as_str()), "{code}");
        refused(&cluster, "restless-moved", run, 1, &code, "changed while it was");
        assert_eq!(fs::metadata(&path).unwrap().len(), 64 << 20, "the file is where it was");
    });
}

#[test]
fn a_file_that_grows_without_end_fills_nothing() {
    let cluster = CLUSTER.get();
    let path = files::random(&cluster.scratch(), "growing", 16 << 20, 5);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = End(&over);
        scope.spawn(|| {
            let mut file = fs::File::options().append(true).open(&path).unwrap();
            while !over.load(Ordering::Relaxed) {
                file.write_all(b"more").unwrap();
            }
        });
        let run = save(&cluster, "growing", &path, &[]);
        refused(&cluster, "growing", run, 1, "io", "changed while it was read");
    });
}

#[test]
fn the_source_of_a_refused_save_stays_as_it_was() {
    let cluster = CLUSTER.get();
    let file = files::random(&cluster.scratch(), "kept", 3 * files::BLOCK, 6);
    fs::set_permissions(&file, Permissions::from_mode(0o604)).unwrap();
    let (digest, before) = (files::digest(&file), fs::metadata(&file).unwrap());
    // Refused by the cluster, after the bytes were put into the spool.
    for more in [&["--if-version", "4"][..], &["--if-version", "4", "--move"], &["--replicas", "9", "--move"]] {
        let error = save(&cluster, "kept", &file, more);
        assert!([4, 7].contains(&error.code), "{error:?}");
        let after = fs::metadata(&file).unwrap();
        assert_eq!(files::digest(&file), digest);
        assert_eq!(after.permissions(), before.permissions());
        assert_eq!(after.modified().unwrap(), before.modified().unwrap());
    }
    free(&cluster, "kept");
    // And one that is taken is gone when it is saved, not before.
    save(&cluster, "kept", &file, &["--move"]).expect(0);
    assert!(!file.exists());
    let out = cluster.scratch().join("kept.out");
    let args = ["load".as_ref(), "kept".as_ref(), "--out".as_ref(), out.as_os_str()];
    cluster.cairn("n2", args).expect(0);
    assert_eq!(files::digest(&out), digest);
}
