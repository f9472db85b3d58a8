//! Raft's log on disk: a whole file of it, and what one entry carries.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bincode::Options;
use cairn_node::raft::log::{LogTuning, WalLog};
use cairn_node::raft::types::{AppEntry, LogEntry, LogId, Peer, Types, Vote};
use cairn_store::digest::Digest;
use cairn_store::id::{ClusterId, CopyId, Incarnation, NodeId, RequestId, SegmentId};
use cairn_store::meta::{Command, Commit, Entry, Request, Stamp};
use cairn_store::node::{Profile, Role};
use cairn_store::record;
use cairn_store::segment::{Ack, Epoch, Kind, Receipt, Version};
use cairn_store::time::{LogTime, WallTime};
use futures::executor::block_on;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use openraft::type_config::alias::{CommittedLeaderIdOf, EntryPayloadOf};
use openraft::{EntryPayload, Membership};
use tempfile::TempDir;
use uuid::Uuid;

use crate::{crc, named, one_of, same_again, scratch};

/// The first file of a log, as raft-log names it.
const FIRST: &str = "r-00_000_000_000_000_000_000.wal";

/// A log of one file: its bytes, as they are and with every checksum mended.
pub fn file(bytes: &[u8]) {
    let mended = crc::log(bytes);
    if mended != bytes && one_of(8, bytes) {
        open(bytes, false);
    }
    open(&mended, one_of(4, bytes));
}

fn open(bytes: &[u8], twice: bool) {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let dir = FOLDER.get_or_init(scratch).path();
    let path = dir.join(FIRST);
    fs::write(&path, bytes).unwrap();
    match look(dir) {
        Ok(held) if twice => assert_eq!(look(dir).ok(), Some(held), "what was opened opens again as the same"),
        Ok(_) => {}
        // A write that never finished is cut off; what else is wrong stays as it is.
        Err(_) => {
            let left = fs::read(&path).unwrap_or_default();
            assert!(bytes.starts_with(&left), "nothing else is written over it");
        }
    }
    for file in files(dir) {
        fs::remove_file(file).unwrap();
    }
}

/// Everything that a log says, as text.
fn look(dir: &Path) -> std::io::Result<(String, Vec<LogEntry>)> {
    let log = WalLog::open(dir, tuning())?;
    let span = format!("{:?}", log.span()?);
    let mut entries = Vec::new();
    log.read_through(&mut |entry| entries.push(entry))?;
    Ok((span, entries))
}

fn files(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn tuning() -> LogTuning {
    LogTuning { ballast_bytes: 0, read_buffer_bytes: 4096, ..LogTuning::default() }
}

/// What an entry carries, behind its version and without raft-log around it.
pub fn entry(bytes: &[u8]) {
    if let Ok(payload) = record::bincode_options().deserialize::<EntryPayloadOf<Types>>(bytes) {
        same_again(record::bincode_options, &payload);
    }
}

/// Logs with all kinds of record.
pub fn file_seeds() -> Vec<(String, Vec<u8>)> {
    let written = |write: fn(&mut WalLog)| {
        let dir = scratch();
        let mut log = WalLog::open(dir.path(), tuning()).unwrap();
        write(&mut log);
        drop(log);
        fs::read(dir.path().join(FIRST)).unwrap()
    };
    let all = |log: &mut WalLog| {
        block_on(async {
            log.save_vote(&Vote::new(1, 1)).await.unwrap();
            log.save_vote(&Vote::new_committed(1, 1)).await.unwrap();
            log.save_committed(None).await.unwrap();
        });
        append(log, entries());
        block_on(async {
            log.save_committed(Some(id(1, 2))).await.unwrap();
            log.truncate_after(Some(id(1, 3))).await.unwrap();
            log.purge(id(1, 1)).await.unwrap();
        });
    };
    named([
        ("new", written(|_| {})),
        ("vote", written(|log| block_on(log.save_vote(&Vote::new(2, 3))).unwrap())),
        ("entries", written(|log| append(log, entries()))),
        ("all", written(all)),
    ])
}

fn append(log: &mut WalLog, entries: Vec<LogEntry>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(log.blocking_append(entries)).unwrap();
}

/// What each of some entries carries.
pub fn entry_seeds() -> Vec<(String, Vec<u8>)> {
    let carried = |entry: LogEntry| record::bincode_options().serialize(&entry.payload).unwrap();
    let numbered = (0..).zip(entries());
    numbered.map(|(number, entry)| (format!("entry-{number}"), carried(entry))).collect()
}

fn id(term: u64, index: u64) -> LogId {
    LogId { leader_id: CommittedLeaderIdOf::<Types>::new(term), index }
}

/// Entries as a cluster begins with them.
pub(crate) fn entries() -> Vec<LogEntry> {
    let (incarnation, uuid) = (Incarnation(Uuid::from_u128(1)), Uuid::from_u128);
    let request = |number| Request { id: RequestId(uuid(number)), until: LogTime(60_000) };
    let peer = Peer { rpc: "127.0.0.1:1".into(), data: "127.0.0.1:2".into(), incarnation: Some(incarnation) };
    let membership = Membership::new(vec![[1].into_iter().collect()], std::collections::BTreeMap::from([(1, peer)]));
    let profile = Profile {
        name: "n1".parse().unwrap(),
        role: Role::Executor,
        zone: "a".into(),
        rpc: "127.0.0.1:1".into(),
        data: "127.0.0.1:2".into(),
        http: "127.0.0.1:3".into(),
        capacity: 1 << 40,
    };
    let segment = SegmentId(uuid(5));
    let register = Command::Register {
        request: request(6),
        name: "app/state".parse().unwrap(),
        segment,
        owner: NodeId(1),
        kind: Kind::File,
    };
    let receipt = Receipt { copy: CopyId(uuid(7)), node: NodeId(1), until: LogTime(3_600_000) };
    let commit = Commit {
        segment,
        owner: NodeId(1),
        epoch: Epoch(1),
        after: Version(0),
        size: 5,
        digest: Digest::of(b"bytes"),
        receipts: vec![receipt],
        wanted: 0,
        ack: Ack::All,
        keep: 3,
        labels: [("app".to_owned(), "postgres".to_owned())].into(),
    };
    let commands = [
        Command::Found { cluster: ClusterId(uuid(2)), incarnation, profile },
        Command::Tick,
        register,
        Command::Commit { request: request(8), commit },
    ];
    let normal = |(clock, command)| {
        let stamp = Stamp { clock: LogTime(clock), term: 1 };
        EntryPayload::Normal(AppEntry(Entry { stamp, at: WallTime(1_700_000_000_000), command }))
    };
    let first = [EntryPayload::Membership(membership.unwrap()), EntryPayload::Blank];
    let payloads = first.into_iter().chain((1..).zip(commands).map(normal));
    (0..).zip(payloads).map(|(index, payload)| LogEntry { log_id: id(1, index), payload }).collect()
}
