mod commands;
mod damage;
mod suite;

use std::fs;
use std::path::PathBuf;

use cairn_store::meta::{Command, Entry, Stamp};
use cairn_store::time::{LogTime, WallTime};
use futures::StreamExt;
use openraft::storage::RaftLogStorageExt;
use openraft::{EntryPayload, Membership, RaftLogReader};

use super::*;
use crate::raft::types::{AppEntry, Peer};

const TICK_V1: &[u8] = include_bytes!("../../../fixtures/log-entry-v1.bin");
const MEMBERSHIP_V1: &[u8] = include_bytes!("../../../fixtures/log-membership-v1.bin");

/// Small chunks, so that a few entries make several.
fn tuning() -> LogTuning {
    LogTuning { chunk_bytes: 600, cache_bytes: 200, ballast_bytes: 4096, ..LogTuning::default() }
}

fn open(dir: &Path) -> io::Result<WalLog> {
    WalLog::open(dir, tuning())
}

fn id(term: u64, index: u64) -> LogId {
    StoredId { term, index }.into()
}

fn tick(term: u64, index: u64) -> LogEntry {
    let stamp = Stamp { clock: LogTime(1000 + index), term };
    let entry = Entry { stamp, at: WallTime(1_700_000_000_000), command: Command::Tick };
    LogEntry { log_id: id(term, index), payload: EntryPayload::Normal(AppEntry(entry)) }
}

fn ticks(term: u64, range: std::ops::Range<u64>) -> Vec<LogEntry> {
    range.map(|index| tick(term, index)).collect()
}

fn membership() -> payload::EntryPayload {
    let peer = |port| Peer { rpc: format!("n{port}:{port}"), data: format!("n{port}:1{port}"), incarnation: None };
    let nodes = [(1, peer(71)), (2, peer(72))].into_iter().collect::<std::collections::BTreeMap<_, _>>();
    EntryPayload::Membership(Membership::new(vec![[1].into_iter().collect()], nodes).unwrap())
}

async fn entries(log: &mut WalLog) -> io::Result<Vec<LogEntry>> {
    log.get_log_reader().await.try_get_log_entries(..).await
}

/// All that a log is asked for at a start.
#[derive(Debug, PartialEq)]
struct Content {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    last: Option<LogId>,
    entries: Vec<LogEntry>,
}

async fn content(log: &mut WalLog) -> io::Result<Content> {
    let LogState { last_purged_log_id: purged, last_log_id: last } = log.get_log_state().await?;
    let vote = log.get_log_reader().await.read_vote().await?;
    Ok(Content { vote, committed: log.read_committed().await?, purged, last, entries: entries(log).await? })
}

fn chunks(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut chunks: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "wal")).collect();
    chunks.sort();
    chunks
}

#[tokio::test]
async fn everything_survives_a_reopen() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = open(&path).unwrap();
    let vote = Vote::new_committed(3, 2);
    log.save_vote(&Vote::new(2, 1)).await.unwrap();
    // In one term: first for a candidate, then for the one that the others elected.
    log.save_vote(&Vote::new(3, 7)).await.unwrap();
    log.save_vote(&vote).await.unwrap();
    log.blocking_append(ticks(1, 0..20)).await.unwrap();
    log.save_committed(Some(id(1, 9))).await.unwrap();
    log.truncate_after(Some(id(1, 14))).await.unwrap();
    log.blocking_append(ticks(3, 15..18)).await.unwrap();
    log.purge(id(1, 4)).await.unwrap();
    let before = content(&mut log).await.unwrap();
    assert_eq!(before.vote, Some(vote));
    assert_eq!(before.committed, Some(id(1, 9)));
    assert_eq!((before.purged, before.last), (Some(id(1, 4)), Some(id(3, 17))));
    assert_eq!(before.entries, [ticks(1, 5..15), ticks(3, 15..18)].concat());
    for _ in 0..3 {
        drop(log);
        log = open(&path).unwrap();
        assert_eq!(content(&mut log).await.unwrap(), before);
    }
    log.truncate_after(Some(id(1, 9))).await.unwrap();
    drop(log);
    let mut log = open(&path).unwrap();
    assert_eq!(entries(&mut log).await.unwrap(), ticks(1, 5..10));
    log.blocking_append(ticks(4, 10..12)).await.unwrap();
    drop(log);
    assert_eq!(entries(&mut open(&path).unwrap()).await.unwrap(), [ticks(1, 5..10), ticks(4, 10..12)].concat());
}

#[tokio::test]
async fn what_raft_log_would_refuse_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    log.truncate_after(None).await.unwrap();
    log.save_committed(None).await.unwrap();
    log.blocking_append(ticks(1, 0..5)).await.unwrap();
    log.save_committed(Some(id(1, 3))).await.unwrap();
    for other in [id(1, 2), id(1, 3), id(1, 5), id(2, 0)] {
        log.save_committed(Some(other)).await.unwrap();
        assert_eq!(log.read_committed().await.unwrap(), Some(id(1, 3)));
    }
    log.truncate_after(Some(id(1, 4))).await.unwrap();
    log.truncate_after(Some(id(1, 9))).await.unwrap();
    assert_eq!(entries(&mut log).await.unwrap(), ticks(1, 0..5));
    let refused = log.truncate_after(Some(id(1, 1))).await.unwrap_err();
    assert!(refused.to_string().contains("cannot truncate"), "{refused}");
}

#[tokio::test]
async fn a_purge_removes_chunks_and_may_go_beyond_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    log.blocking_append(ticks(1, 0..100)).await.unwrap();
    let full = chunks(dir.path()).len();
    assert!(full > 5, "{full} chunks");
    log.purge(id(1, 90)).await.unwrap();
    log.shared.lock().unwrap().wait_worker_idle().unwrap();
    assert!(chunks(dir.path()).len() < full / 2);
    log.purge(id(2, 200)).await.unwrap();
    assert_eq!(entries(&mut log).await.unwrap(), []);
    log.blocking_append(ticks(3, 201..203)).await.unwrap();
    drop(log);
    let after = content(&mut open(dir.path()).unwrap()).await.unwrap();
    assert_eq!((after.purged, after.entries), (Some(id(2, 200)), ticks(3, 201..203)));
}

#[tokio::test]
async fn reads_are_bounded_and_complete() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = WalLog::open(dir.path(), LogTuning { ballast_bytes: 0, ..LogTuning::default() }).unwrap();
    let large = |index| {
        let stamp = Stamp::default();
        let request =
            cairn_store::meta::Request { id: cairn_store::id::RequestId(uuid::Uuid::nil()), until: LogTime(0) };
        let labels = [("k".to_owned(), "v".repeat(600 << 10))].into_iter().collect();
        let commit = cairn_store::meta::Commit {
            segment: cairn_store::id::SegmentId(uuid::Uuid::nil()),
            owner: cairn_store::id::NodeId(1),
            epoch: cairn_store::segment::Epoch(1),
            after: cairn_store::segment::Version(0),
            size: 0,
            digest: cairn_store::digest::Digest::of(b""),
            receipts: Vec::new(),
            wanted: 0,
            ack: cairn_store::segment::Ack::All,
            keep: 1,
            labels,
        };
        let entry = Entry { stamp, at: WallTime(0), command: Command::Commit { request, commit } };
        LogEntry { log_id: id(1, index), payload: EntryPayload::Normal(AppEntry(entry)) }
    };
    let all: Vec<_> = (0..40).map(large).collect();
    log.blocking_append(all.clone()).await.unwrap();
    let mut reader = log.get_log_reader().await;
    assert_eq!(reader.limited_get_log_entries(0, 40).await.unwrap(), all[..4]);
    assert_eq!(reader.limited_get_log_entries(39, 40).await.unwrap(), all[39..]);
    assert_eq!(reader.try_get_log_entries(3..=30).await.unwrap(), all[3..=30]);
    assert_eq!(reader.try_get_log_entries(5..5).await.unwrap(), []);
    #[expect(clippy::reversed_empty_ranges, reason = "it must not panic")]
    let backward = 9..5;
    assert_eq!(reader.try_get_log_entries(backward).await.unwrap(), []);
    let streamed: Vec<_> = reader.entries_stream(2..).await.map(Result::unwrap).collect().await;
    assert_eq!(streamed, all[2..]);
}

#[tokio::test]
async fn a_dropped_callback_is_an_error() {
    let (tx, durable) = Types::oneshot();
    drop(Done::new(IOFlushed::signal(tx)));
    assert!(durable.await.unwrap().unwrap_err().to_string().contains("before this write was durable"));
}

#[tokio::test]
async fn the_ballast_is_given_back_before_the_log_opens() {
    let dir = tempfile::tempdir().unwrap();
    let ballast = dir.path().join("ballast");
    let log = open(dir.path()).unwrap();
    assert_eq!(fs::metadata(&ballast).unwrap().len(), 4096);
    assert_eq!(open(dir.path()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(log);
    drop(WalLog::open(dir.path(), LogTuning { ballast_bytes: 0, ..tuning() }).unwrap());
    assert!(!ballast.exists());
}

#[test]
fn the_encoding_is_frozen() {
    for (fixture, payload) in [(TICK_V1, tick(3, 7).payload), (MEMBERSHIP_V1, membership())] {
        let mut bytes = Vec::new();
        codeq::Encode::encode(&Payload::encode_entry(&payload).unwrap(), &mut bytes).unwrap();
        assert_eq!(bytes, fixture, "bytes on disk changed: that needs a new version");
        let decoded: Payload = codeq::Decode::decode(fixture).unwrap();
        assert_eq!(decoded.decode_entry().unwrap(), payload);
    }
    let mut bytes = Vec::new();
    codeq::Encode::encode(&Payload::encode_entry(&EntryPayload::Blank).unwrap(), &mut bytes).unwrap();
    assert_eq!(bytes, [2, 0, 0, 0, 70, 104, 0, 247, 1, 0]);
    let mut bytes = Vec::new();
    codeq::Encode::encode(&StoredId { term: 1, index: 3 }, &mut bytes).unwrap();
    codeq::Encode::encode(&StoredVote { term: 4, committed: true, node: 5 }, &mut bytes).unwrap();
    let id = [b'I', 1, 1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];
    let vote = [b'V', 1, 4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(bytes, [&id[..], &vote].concat());
}
