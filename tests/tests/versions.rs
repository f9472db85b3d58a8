//! A new version is committed atomically: by the owner, in its epoch, on the head that it knows; or not at all.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use cairn_tests::wait::until;
use cairn_tests::{Cluster, Run, Shared, files};
use serde_json::Value;

static CLUSTER: Shared = Shared::new(3, 1);

/// A file whose every word is `number`: a mix of two versions cannot be taken for either.
fn self_describing(dir: &Path, number: u64) -> PathBuf {
    let path = dir.join(format!("describes-itself-{number}"));
    fs::write(&path, number.to_le_bytes().repeat(3 * (1 << 17) + 5)).unwrap();
    path
}

fn described_by(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    assert!(rest.is_empty() && words.len() == 3 * (1 << 17) + 5, "{} bytes", bytes.len());
    let first = words[0];
    assert!(words.iter().all(|word| *word == first), "a mix of versions");
    u64::from_le_bytes(first)
}

fn save(cluster: &Cluster, node: &str, name: &str, file: &Path, more: &[&str]) -> Run {
    let mut command = cluster.command(node, ["save", name]);
    Run::of(command.arg(file).args(more))
}

/// A small file of its own for each text.
fn small(cluster: &Cluster, text: &str) -> PathBuf {
    let path = cluster.scratch().join(format!("small-{}", blake3::hash(text.as_bytes()).to_hex()));
    fs::write(&path, text).unwrap();
    path
}

fn versions(cluster: &Cluster, node: &str, name: &str) -> Vec<u64> {
    let shown = cluster.show(node, name);
    shown["versions"].as_array().unwrap().iter().map(|v| v["version"].as_u64().unwrap()).collect()
}

fn conflict(run: Run) -> Value {
    let run = run.expect(4);
    let error = run.error();
    assert_eq!((&error["code"], &error["outcome"]), (&"conflict".into(), &"none".into()), "{error}");
    assert!(run.stdout.is_empty());
    error
}

#[test]
fn readers_see_the_old_version_or_the_new_one_and_never_a_mix() {
    const LAST: u64 = 12;
    let cluster = CLUSTER.get();
    let scratch = cluster.scratch();
    save(&cluster, "n1", "atomic", &self_describing(&scratch, 1), &["--keep", "1"]).expect(0);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for node in ["n2", "n3"] {
            let (cluster, over) = (&cluster, &over);
            scope.spawn(move || {
                let mut newest = 0;
                loop {
                    // Looked at first: a load that begins when all is saved sees the last one.
                    let last = over.load(Ordering::SeqCst);
                    let loaded = cluster.cairn(node, ["load", "atomic", "--out", "-"]).expect(0);
                    let seen = described_by(&loaded.stdout);
                    let told: Value = serde_json::from_str(&loaded.stderr).unwrap();
                    assert_eq!(told["version"], seen, "it is what it is said to be");
                    assert_eq!(told["digest"], blake3::hash(&loaded.stdout).to_hex().as_str());
                    assert!(seen >= newest, "{node} saw {newest}, then {seen}");
                    newest = seen;
                    if last {
                        assert_eq!(newest, LAST);
                        return;
                    }
                }
            });
        }
        for number in 2..=LAST {
            let file = self_describing(&scratch, number);
            let saved = save(&cluster, "n1", "atomic", &file, &["--keep", "1"]);
            if saved.code != 0 || number == LAST {
                over.store(true, Ordering::SeqCst);
            }
            assert_eq!(saved.expect(0).json()["version"], number);
        }
    });
}

#[test]
fn versions_count_without_gaps_whatever_is_refused_between_them() {
    let cluster = CLUSTER.get();
    let file = small(&cluster, "counted");
    for version in 1..=3_u64 {
        let saved = save(&cluster, "n2", "counted", &file, &["--keep", "9"]).expect(0).json();
        assert_eq!(saved["version"], version);
        conflict(save(&cluster, "n2", "counted", &file, &["--if-version", "7"]));
        conflict(save(&cluster, "n2", "counted", &file, &["--epoch", "9"]));
        conflict(save(&cluster, "n1", "counted", &file, &[]));
    }
    assert_eq!(versions(&cluster, "n3", "counted"), [1, 2, 3]);
}

#[test]
fn the_newest_k_versions_are_kept_and_older_bytes_go() {
    let cluster = CLUSTER.get();
    let files: Vec<_> =
        (1..=4).map(|n| files::random(&cluster.scratch(), &format!("kept-{n}"), 100_000, n)).collect();
    for file in &files {
        save(&cluster, "n1", "kept", file, &["--keep", "2"]).expect(0);
    }
    assert_eq!(versions(&cluster, "n2", "kept"), [3, 4]);
    let old = files::digest(&files[0]);
    for node in ["n1", "n2", "n3", "s1"] {
        until("the bytes of the first version are gone", || cluster.copy_on(node, &old).is_none().then_some(()));
    }
    let gone = cluster.cairn("n2", ["load", "kept", "--version", "2"]).expect(3).error();
    assert_eq!(gone["code"], "not_found");
    for version in [3, 4] {
        let out = cluster.scratch().join(format!("kept-out-{version}"));
        let number = version.to_string();
        let args = ["load".as_ref(), "kept".as_ref(), "--version".as_ref(), number.as_ref(), "--out".as_ref()];
        let loaded = cluster.cairn("n3", args.into_iter().chain([out.as_os_str()])).expect(0).json();
        assert_eq!(loaded["version"], version);
        files::same(&files[version - 1], &out);
    }
    let saved = save(&cluster, "n1", "kept", &files[0], &["--keep", "1"]).expect(0).json();
    assert_eq!(saved["version"], 5);
    assert_eq!(versions(&cluster, "n2", "kept"), [5]);
}

#[test]
fn if_version_is_the_head_that_must_stand() {
    let cluster = CLUSTER.get();
    let file = small(&cluster, "expected");
    conflict(save(&cluster, "n1", "expected", &file, &["--if-version", "3"]));
    cluster.cairn("n1", ["show", "expected"]).expect(3);
    assert_eq!(save(&cluster, "n1", "expected", &file, &["--if-version", "0"]).expect(0).json()["version"], 1);
    conflict(save(&cluster, "n1", "expected", &file, &["--if-version", "0"]));
    assert_eq!(save(&cluster, "n1", "expected", &file, &["--if-version", "1"]).expect(0).json()["version"], 2);
    conflict(save(&cluster, "n1", "expected", &file, &["--if-version", "1"]));
    assert_eq!(cluster.show("n2", "expected")["head"], 2);
}

#[test]
fn of_two_saves_on_the_same_head_one_is_committed() {
    let cluster = CLUSTER.get();
    let (a, b) = (small(&cluster, "raced a"), small(&cluster, "raced b"));
    save(&cluster, "n1", "raced", &a, &[]).expect(0);
    let codes: Vec<i32> = std::thread::scope(|scope| {
        let racing: Vec<_> = [&a, &b]
            .map(|file| scope.spawn(|| save(&cluster, "n1", "raced", file, &["--if-version", "1"]).code))
            .into_iter()
            .collect();
        racing.into_iter().map(|save| save.join().unwrap()).collect()
    });
    assert!(codes == [0, 4] || codes == [4, 0], "{codes:?}");
    assert_eq!(cluster.show("n1", "raced")["head"], 2);
}

#[test]
fn a_load_with_claim_raises_the_epoch_and_ends_the_old_ownership() {
    let cluster = CLUSTER.get();
    let file = small(&cluster, "claimed");
    save(&cluster, "n1", "claimed", &file, &[]).expect(0);
    let loaded = cluster.cairn("n2", ["load", "claimed", "--claim"]).expect(0).json();
    assert_eq!((&loaded["claimed"], &loaded["owner"], &loaded["epoch"]), (&true.into(), &"n2".into(), &2.into()));
    let refused = conflict(save(&cluster, "n1", "claimed", &file, &[]));
    assert!(refused["message"].as_str().unwrap().contains("n2"), "{refused}");
    conflict(save(&cluster, "n1", "claimed", &file, &["--epoch", "1"]));
    let saved = save(&cluster, "n2", "claimed", &file, &[]).expect(0).json();
    assert_eq!((&saved["version"], &saved["epoch"], &saved["owner"]), (&2.into(), &2.into(), &"n2".into()));
    let shown = cluster.show("n3", "claimed");
    assert_eq!((&shown["owner"], &shown["epoch"], &shown["head"]), (&"n2".into(), &2.into(), &2.into()));
}

#[test]
fn ownership_is_claimed_and_released_without_bytes() {
    let cluster = CLUSTER.get();
    let file = small(&cluster, "released");
    save(&cluster, "n1", "released", &file, &[]).expect(0);
    conflict(cluster.cairn("n1", ["release", "released", "--epoch", "2"]));
    cluster.cairn("n1", ["release", "released", "--epoch", "1"]).expect(0);
    let shown = cluster.show("n2", "released");
    assert_eq!((&shown["owner"], &shown["epoch"]), (&Value::Null, &1.into()));
    let refused = conflict(save(&cluster, "n1", "released", &file, &[]));
    assert!(refused["message"].as_str().unwrap().contains("nobody owns it"), "{refused}");
    conflict(cluster.cairn("n1", ["release", "released", "--epoch", "1"]));

    let claimed = cluster.cairn("n3", ["claim", "released"]).expect(0).json();
    assert_eq!((&claimed["owner"], &claimed["epoch"], &claimed["head"]), (&"n3".into(), &2.into(), &1.into()));
    assert_eq!(save(&cluster, "n3", "released", &file, &[]).expect(0).json()["version"], 2);
    let again = cluster.cairn("n1", ["claim", "released"]).expect(0).json();
    assert_eq!((&again["owner"], &again["epoch"], &again["head"]), (&"n1".into(), &3.into(), &2.into()));
    conflict(cluster.cairn("s1", ["claim", "released"]));
}

#[test]
fn a_save_in_a_stale_epoch_is_refused() {
    let cluster = CLUSTER.get();
    let file = small(&cluster, "fenced");
    conflict(save(&cluster, "n1", "fenced", &file, &["--epoch", "1"]));
    save(&cluster, "n1", "fenced", &file, &[]).expect(0);
    cluster.cairn("n1", ["claim", "fenced"]).expect(0);
    // The same node owns it still; what the application holds is an older ownership.
    let refused = conflict(save(&cluster, "n1", "fenced", &file, &["--epoch", "1"]));
    assert!(refused["message"].as_str().unwrap().contains("is 2"), "{refused}");
    let mut by_variable = cluster.command("n1", ["save", "fenced"]);
    conflict(Run::of(by_variable.arg(&file).env("CAIRN_EPOCH", "1")));
    let mut by_variable = cluster.command("n1", ["save", "fenced"]);
    assert_eq!(Run::of(by_variable.arg(&file).env("CAIRN_EPOCH", "2")).expect(0).json()["epoch"], 2);
    assert_eq!(save(&cluster, "n1", "fenced", &file, &["--epoch", "2"]).expect(0).json()["version"], 3);
}

#[test]
fn a_name_that_is_registered_again_starts_above_its_last_epoch() {
    let cluster = CLUSTER.get();
    let file = small(&cluster, "reborn");
    let first = save(&cluster, "n1", "reborn", &file, &[]).expect(0).json();
    cluster.cairn("n2", ["claim", "reborn"]).expect(0);
    cluster.cairn("n3", ["rm", "reborn", "--yes"]).expect(0);
    cluster.cairn("n1", ["show", "reborn"]).expect(3);
    cluster.cairn("n1", ["load", "reborn"]).expect(3);
    let again = save(&cluster, "n3", "reborn", &file, &["--if-version", "0"]).expect(0).json();
    assert_eq!((&again["version"], &again["epoch"], &again["owner"]), (&1.into(), &3.into(), &"n3".into()));
    assert_ne!(again["segment"], first["segment"]);
}

#[test]
fn the_same_request_gives_the_same_version() {
    let cluster = CLUSTER.get();
    let file = small(&cluster, "repeated");
    let request = ["--request-id", "nightly-2026-01-01"];
    let first = save(&cluster, "n1", "repeated", &file, &request).expect(0).json();
    let again = save(&cluster, "n1", "repeated", &file, &request).expect(0).json();
    for key in ["segment", "version", "epoch", "digest", "owner"] {
        assert_eq!(first[key], again[key], "{key}");
    }
    assert_eq!(versions(&cluster, "n1", "repeated"), [1]);
    // At the same time, too.
    let request = ["--request-id", "nightly-2026-01-02"];
    let both: Vec<Value> = std::thread::scope(|scope| {
        let asked: Vec<_> =
            (0..2).map(|_| scope.spawn(|| save(&cluster, "n1", "repeated", &file, &request))).collect();
        asked.into_iter().map(|save| save.join().unwrap().expect(0).json()["version"].clone()).collect()
    });
    assert_eq!(both, [2, 2]);
    assert_eq!(cluster.show("n1", "repeated")["head"], 2);
    conflict(save(&cluster, "n1", "another-name", &file, &request));
    assert!(cluster.spooled("n1").iter().all(|name| name.starts_with("cairn-")), "only what is under way");
}

#[test]
fn a_pinned_version_is_kept_whatever_comes_after_it() {
    let cluster = CLUSTER.get();
    let files: Vec<_> =
        (1..=4).map(|n| files::random(&cluster.scratch(), &format!("pinned-{n}"), 100_000, 40 + n)).collect();
    let saved = |file: &PathBuf| save(&cluster, "n1", "pinned", file, &["--keep", "1"]).expect(0);
    saved(&files[0]);
    cluster.cairn("n2", ["pin", "pinned", "--version", "1"]).expect(0);
    files[1..].iter().for_each(|file| drop(saved(file)));
    assert_eq!(versions(&cluster, "n3", "pinned"), [1, 4]);
    for more in ["--yes", "--dry-run"] {
        let error = conflict(cluster.cairn("n1", ["rm", "pinned", "--version", "1", more]));
        assert!(error["hint"].as_str().unwrap().contains("cairn unpin pinned --version 1"), "{error}");
    }
    let out = cluster.scratch().join("pinned-out");
    let words = ["load".as_ref(), "pinned".as_ref(), "--version=1".as_ref(), "--out".as_ref(), out.as_os_str()];
    cluster.cairn("n3", words).expect(0);
    files::same(&out, &files[0]);

    // What only the pin held goes, bytes and all.
    cluster.cairn("n3", ["unpin", "pinned"]).expect(0);
    assert_eq!(versions(&cluster, "n1", "pinned"), [4]);
    let old = files::digest(&files[0]);
    for node in ["n1", "n2", "n3", "s1"] {
        until("the bytes of the unpinned version are gone", || cluster.copy_on(node, &old).is_none().then_some(()));
    }
    cluster.cairn("n1", ["unpin", "pinned", "--version", "1"]).expect(3);
    saved(&files[0]);
    assert_eq!(versions(&cluster, "n2", "pinned"), [5]);
}
