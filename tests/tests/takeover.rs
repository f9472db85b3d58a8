//! The main job: what an application saved outlives its node, whichever node that is and whenever it dies.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cairn_tests::{Cluster, Run, files};
use rustix::process::Signal;
use serde_json::Value;

/// Every test here kills nodes of a cluster of its own; one cluster at a time is load enough.
static TURN: Mutex<()> = Mutex::new(());

const EXECUTORS: [&str; 3] = ["n1", "n2", "n3"];

/// An executor that is none of these.
fn other_than(names: &[&str]) -> &'static str {
    EXECUTORS.into_iter().find(|name| !names.contains(name)).unwrap()
}

fn save(cluster: &Cluster, node: &str, name: &str, file: &Path) -> Value {
    cluster.cairn(node, ["save".as_ref(), name.as_ref(), file.as_os_str()]).expect(0).json()
}

/// Takes a name over on `node`, into a new file.
fn take_over(cluster: &Cluster, node: &str, name: &str) -> (Value, PathBuf) {
    let out = cluster.scratch().join(format!("{node}-{}", name.replace('/', "-")));
    let args = ["load".as_ref(), name.as_ref(), "--claim".as_ref(), "--out".as_ref(), out.as_os_str()];
    (cluster.cairn(node, args).expect(0).json(), out)
}

/// Saves a database through `owner`, kills `victim`, and resumes on `heir`; then the old owner comes back.
fn story(cluster: &mut Cluster, owner: &str, victim: &str, heir: &str) {
    let database = files::sqlite(&cluster.scratch(), "bank.db", 20_000);
    let saved = save(cluster, owner, "bank/main", &database);
    assert_eq!((&saved["version"], &saved["epoch"], &saved["owner"]), (&1.into(), &1.into(), &owner.into()));

    cluster.kill(victim);
    let (loaded, resumed) = take_over(cluster, heir, "bank/main");
    assert_eq!((&loaded["claimed"], &loaded["owner"], &loaded["epoch"]), (&true.into(), &heir.into(), &2.into()));
    assert_eq!(loaded["digest"], files::digest(&database));
    files::same(&database, &resumed);
    assert_eq!(files::sqlite_check(&resumed), ("ok".into(), 20_000));

    // The application goes on from there, with as many copies as before.
    let next = files::sqlite(&cluster.scratch(), "next.db", 20_001);
    let saved = save(cluster, heir, "bank/main", &next);
    assert_eq!((&saved["version"], &saved["epoch"]), (&2.into(), &2.into()));
    assert_eq!(saved["replicas"].as_array().unwrap().len(), 2);

    // Whoever comes back learns that it is not the owner any more, and loads what came after it.
    if victim == owner {
        cluster.revive(victim);
        let args = ["save".as_ref(), "bank/main".as_ref(), database.as_os_str()];
        let refused = cluster.cairn(victim, args).expect(4).error();
        assert_eq!((&refused["code"], &refused["outcome"]), (&"conflict".into(), &"none".into()));
        let (loaded, back) = take_over(cluster, victim, "bank/main");
        assert_eq!((&loaded["version"], &loaded["epoch"]), (&2.into(), &3.into()));
        files::same(&next, &back);
    }
}

#[test]
fn the_owner_is_killed() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut cluster = Cluster::start(3, 1);
    let leader = cluster.leader("n1");
    let owner = other_than(&[&leader]);
    story(&mut cluster, owner, owner, other_than(&[&leader, owner]));
}

#[test]
fn the_leader_is_killed() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut cluster = Cluster::start(3, 1);
    let leader = cluster.leader("n1");
    let owner = other_than(&[&leader]);
    story(&mut cluster, owner, &leader, other_than(&[&leader, owner]));
    let heir = other_than(&[&leader, owner]);
    assert_ne!(cluster.leader(heir), leader, "another node leads by now");
}

#[test]
fn the_owner_that_leads_is_killed() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut cluster = Cluster::start(3, 1);
    let leader = cluster.leader("n1");
    story(&mut cluster, &leader, &leader, other_than(&[&leader]));
}

/// The segment that a process has open.
fn open_segment(pid: i32) -> Option<PathBuf> {
    fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten().find_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?;
        target.extension().is_some_and(|e| e == "seg").then_some(target)
    })
}

/// The bytes that a process has written, to files above all.
fn written(pid: i32) -> u64 {
    let counts = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    counts.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap().parse().unwrap()
}

#[test]
fn a_holder_is_killed_in_the_middle_of_a_load_and_another_one_goes_on() {
    const SIZE: u64 = 256 << 20;
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut cluster = Cluster::start(3, 1);
    let file = files::random(&cluster.scratch(), "large", SIZE, 1);
    // On a busy machine the load may be over before it was stopped: then once more, with another name.
    let resumed = (1..=5).any(|attempt| kill_a_source(&mut cluster, &file, SIZE, &format!("large-{attempt}")));
    assert!(resumed, "no load could be caught in the middle");
}

/// From here on a load has verified blocks, in bytes.
const BEGUN: u64 = 8 << 20;

/// Whether the kill came in the middle; if so, everything about the load is asserted.
fn kill_a_source(cluster: &mut Cluster, file: &Path, size: u64, name: &str) -> bool {
    let args = ["save".as_ref(), name.as_ref(), file.as_os_str(), "--replicas".as_ref(), "1".as_ref()];
    let saved = cluster.cairn("n1", args).expect(0).json();
    let holder = saved["replicas"][0]["node"].as_str().unwrap().to_owned();
    let loader = other_than(&["n1", &holder]);
    let pid = cluster.node(loader).pid;
    let before = written(pid);

    let out = cluster.scratch().join(format!("{name}.out"));
    let mut command = cluster.command(loader, ["load".as_ref(), name.as_ref(), "--out".as_ref(), out.as_os_str()]);
    let load = std::thread::spawn(move || Run::of(&mut command));
    // Stopped while it writes, it takes no more than the sockets hold, and a source has it open.
    while written(pid) - before < BEGUN && !load.is_finished() {
        std::hint::spin_loop();
    }
    cluster.signal(loader, Signal::STOP);
    let caught = open_segment(pid).filter(|_| (BEGUN..size - (64 << 20)).contains(&(written(pid) - before)));
    let source = ["n1", &holder].into_iter().find(|name| {
        let open = open_segment(cluster.node(name).pid);
        open.is_some_and(|path| fs::metadata(path).is_ok_and(|m| m.size() == size))
    });
    let Some((path, source)) = caught.zip(source.map(str::to_owned)) else {
        cluster.signal(loader, Signal::CONT);
        load.join().unwrap().expect(0);
        fs::remove_file(out).unwrap();
        cluster.cairn("n1", ["rm", name, "--yes"]).expect(0);
        return false;
    };
    let begun = fs::metadata(&path).unwrap().ino();
    cluster.kill(&source);
    cluster.signal(loader, Signal::CONT);

    let loaded = load.join().unwrap().expect(0).json();
    files::same(file, &out);
    let sources = loaded["sources"].as_array().unwrap();
    let given = |node: &str| {
        let of = sources.iter().filter(|s| s["node"] == node).map(|s| s["bytes"].as_u64().unwrap());
        of.sum::<u64>()
    };
    let other = if source == "n1" { &holder } else { "n1" };
    assert_eq!(sources.len(), 2, "{sources:?}");
    assert!(given(&source) >= files::BLOCK, "{sources:?}");
    assert_eq!(given(&source) + given(other), size, "nothing was sent twice: {sources:?}");
    let path = loaded["path"].as_str().unwrap();
    assert_eq!(fs::metadata(path).unwrap().ino(), begun, "it went on in the same file");
    true
}
