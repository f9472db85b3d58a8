//! Real files come back bit for bit, and the programs that wrote them accept them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use cairn_tests::files::BLOCK;
use cairn_tests::{Cluster, Run, Shared, bins, files};

static CLUSTER: Shared = Shared::new(3, 1);

/// Saves a file through n1, loads it on another node into a file of its own, and compares.
fn there_and_back(cluster: &Cluster, name: &str, file: &Path) -> PathBuf {
    let saved = cluster.cairn("n1", ["save".as_ref(), name.as_ref(), file.as_os_str()]).expect(0).json();
    // Not the saver's word: a hash of the file by BLAKE3 itself.
    assert_eq!(saved["digest"], files::digest(file), "{name}");
    assert_eq!(saved["size"], fs::metadata(file).unwrap().len(), "{name}");
    let elsewhere = if saved["replicas"].to_string().contains("n2") { "n3" } else { "n2" };
    let out = cluster.scratch().join(format!("{name}-back"));
    let mut command = cluster.command(elsewhere, ["load", name, "--out"]);
    let loaded = Run::of(command.arg(&out)).expect(0).json();
    assert_eq!((&loaded["digest"], &loaded["size"]), (&saved["digest"], &saved["size"]), "{name}");
    files::same(Path::new(loaded["path"].as_str().unwrap()), file);
    files::same(&out, file);
    out
}

#[test]
fn an_sqlite_database_passes_sqlites_own_check() {
    let cluster = CLUSTER.get();
    let database = files::sqlite(&cluster.scratch(), "accounts.db", 200_000);
    let back = there_and_back(&cluster, "accounts", &database);
    assert_eq!(files::sqlite_check(&back), ("ok".into(), 200_000));
    let sum = |path: &Path| -> i64 {
        let db = rusqlite::Connection::open(path).unwrap();
        db.query_row("SELECT sum(balance * id) FROM account", [], |row| row.get(0)).unwrap()
    };
    assert_eq!(sum(&back), sum(&database));
}

#[test]
fn an_executable_runs() {
    let cluster = CLUSTER.get();
    for (name, program) in [("cairnd", bins::cairnd()), ("cairn", bins::cairn())] {
        let back = there_and_back(&cluster, name, &program);
        fs::set_permissions(&back, fs::Permissions::from_mode(0o755)).unwrap();
        let version = |path: &Path| Run::of(Command::new(path).arg("--version")).expect(0).text();
        assert_eq!(version(&back), version(&program));
        assert!(version(&back).starts_with(name));
    }
}

#[test]
fn every_size_around_a_block_comes_back() {
    let cluster = CLUSTER.get();
    for size in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 7 * BLOCK + 4095] {
        let name = format!("size-{size}");
        there_and_back(&cluster, &name, &files::random(&cluster.scratch(), &name, size, size));
    }
}

#[test]
fn a_large_file_comes_back() {
    let cluster = CLUSTER.get();
    there_and_back(&cluster, "large", &files::random(&cluster.scratch(), "large", 256 * BLOCK, 3));
}

#[test]
fn a_file_of_holes_and_one_of_zeros_are_the_same_bytes() {
    let cluster = CLUSTER.get();
    let (holes, zeros) = (cluster.scratch().join("holes"), cluster.scratch().join("zeros"));
    fs::File::create(&holes).unwrap().set_len(3 * BLOCK + 5).unwrap();
    fs::write(&zeros, vec![0; usize::try_from(3 * BLOCK + 5).unwrap()]).unwrap();
    files::same(&there_and_back(&cluster, "holes", &holes), &there_and_back(&cluster, "zeros", &zeros));
}
