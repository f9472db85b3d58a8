//! A log that is damaged: what the check says of it, and what the start does.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Output;

use cairn_node::raft::log::{LogTuning, WalLog};
use cairn_node::raft::types::{LogEntry, LogId, Types};
use openraft::EntryPayload;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use openraft::type_config::alias::CommittedLeaderIdOf;
use tempfile::TempDir;

use crate::harness::{Running, cairnd, initialised, refused, run, told, wait_until};

/// A node that ran once, and was killed.
struct Node {
    dir: TempDir,
    config: PathBuf,
}

impl Node {
    fn that_ran() -> Self {
        let dir = TempDir::new().unwrap();
        let config = initialised(dir.path());
        let node = Self { dir, config };
        node.run();
        node
    }

    /// Runs until it leads its cluster, and is killed; gives what it told.
    fn run(&self) -> String {
        let (told, socket) = (self.dir.path().join("told"), self.data().join("cairnd.sock"));
        let mut start = cairnd(&["start", "--config", self.config.to_str().unwrap()]);
        let running = Running::start(&mut start, &told, &socket);
        let text = fs::read_to_string(&self.config).unwrap();
        let address = text.lines().find_map(|line| line.strip_prefix("http = ")).unwrap().trim_matches('"');
        wait_until("the node's word that it can serve", || {
            let mut asked = TcpStream::connect(address).unwrap();
            asked.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").unwrap();
            let mut answer = String::new();
            asked.read_to_string(&mut answer).unwrap();
            answer.split(' ').nth(1) == Some("200")
        });
        drop(running);
        fs::read_to_string(told).unwrap()
    }

    fn start(&self) -> Output {
        run(&["start", "--config", self.config.to_str().unwrap()])
    }

    fn fsck(&self) -> (i32, String) {
        let checked = run(&["fsck", "--dir", self.data().to_str().unwrap()]);
        let said = String::from_utf8_lossy(&checked.stdout).into_owned();
        (told(&checked).0, said)
    }

    /// In files of a few entries each.
    fn log(&self) -> WalLog {
        let tuning = LogTuning { chunk_bytes: 600, ..LogTuning::default() };
        WalLog::open(&self.data().join("log"), tuning).unwrap()
    }

    /// Adds entries, as Raft itself adds some; gives the last one's id.
    fn append(&self, count: u64) -> LogId {
        let mut log = self.log();
        let end = log.span().unwrap().last.unwrap();
        let id = |index| LogId { leader_id: CommittedLeaderIdOf::<Types>::new(end.leader_id.term), index };
        let entries = (1..=count).map(|more| LogEntry { log_id: id(end.index + more), payload: EntryPayload::Blank });
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(log.blocking_append(entries)).unwrap();
        id(end.index + count)
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn wal(&self) -> PathBuf {
        wal_of(&self.data().join("log")).remove(0)
    }

    /// It neither starts nor changes anything; and both programs say what is left to do.
    fn must_join_anew(&self, words: &[&str]) {
        let before = content(&self.data().join("log"));
        let (code, said) = self.fsck();
        assert_eq!(code, 6, "{said}");
        assert!(said.contains("join as a new node"), "{said}");
        refused(&self.start(), 1, &[words, &["nothing was changed", "join as a new node"]].concat());
        assert_eq!(content(&self.data().join("log")), before, "what is damaged stays as it is");
    }
}

fn wal_of(log: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|of| of == "wal")).collect();
    files.sort();
    files
}

fn content(log: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    wal_of(log).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn a_damaged_record_is_never_cut_off() {
    let node = Node::that_ran();
    node.append(40);
    let files = content(&node.data().join("log"));
    assert!(files.len() > 3, "{} files", files.len());
    let put_back = || files.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    // In the middle of the last file, in its last record, in its first one, and in another file: a write that never
    // finished is shorter, but not other.
    let (last, good) = files.last().unwrap();
    for (path, good, at) in
        [(last, good, good.len() / 2), (last, good, good.len() - 1), (last, good, 3), (&files[1].0, &files[1].1, 40)]
    {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(path, bad).unwrap();
        node.must_join_anew(&["the raft log in"]);
        put_back();
    }
    // A file that others follow was whole before they were written to.
    for (path, good) in [&files[0], &files[files.len() - 2]] {
        for left in [good.len() - 1, 0] {
            fs::write(path, &good[..left]).unwrap();
            node.must_join_anew(&["the raft log in"]);
            put_back();
        }
    }
    fs::remove_file(&files[1].0).unwrap();
    node.must_join_anew(&["the raft log in"]);
    put_back();
    node.run();
}

#[test]
fn a_write_that_never_finished_is_cut_off_and_told() {
    let node = Node::that_ran();
    let good = fs::read(node.wal()).unwrap();
    fs::write(node.wal(), &good[..good.len() - 3]).unwrap();
    let (code, said) = node.fsck();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("a write that never finished"), "{said}");
    let told = node.run();
    assert!(told.contains("ended with a write that never finished"), "{told}");
    assert!(!node.run().contains("never finished"), "once");
}

/// Files that were made and never written to, as several may be after a crash, are no damage.
#[test]
fn files_that_were_only_begun_are_removed() {
    let node = Node::that_ran();
    let good = fs::read(node.wal()).unwrap();
    let next = |at: usize| node.data().join("log").join(format!("r-{}.wal", padded(at)));
    fs::write(node.wal(), &good[..good.len() - 1]).unwrap();
    fs::write(next(good.len()), b"").unwrap();
    fs::write(next(2 * good.len()), [0; 30]).unwrap();
    let (code, said) = node.fsck();
    assert_eq!(code, 0, "{said}");
    assert!(node.run().contains("never finished"));
}

/// As raft-log writes the numbers in its files' names.
fn padded(number: usize) -> String {
    let digits = format!("{number:020}");
    let (first, rest) = digits.split_at(2);
    let groups = rest.as_bytes().chunks(3).map(|group| String::from_utf8_lossy(group).into_owned());
    std::iter::once(first.to_owned()).chain(groups).collect::<Vec<_>>().join("_")
}

#[test]
fn a_snapshot_that_was_lost_is_missed() {
    let node = Node::that_ran();
    let end = node.append(3);
    let mut log = node.log();
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(log.purge(end)).unwrap();
    drop(log);
    let (_, said) = node.fsck();
    assert!(said.contains("there is no snapshot"), "{said}");
    node.must_join_anew(&["the snapshot was lost"]);
}
