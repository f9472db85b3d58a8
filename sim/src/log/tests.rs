//! openraft's own suite, with the real state machine on a simulated disk; and what a crash leaves of a log.

use std::sync::Arc;

use cairn_node::raft::Machine;
use openraft::entry::RaftEntry;
use openraft::storage::RaftLogReader as _;
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{EntryPayload, StorageError};

use super::*;
use crate::catalogue::MemCatalogue;
use crate::clock::{SimClock, Skew};
use crate::disk::MemDisk;
use crate::net::SimNet;
use crate::spawn::SimSpawn;

fn env() -> Env {
    let disk = MemDisk::new("n1", 1 << 20);
    Env {
        clock: Arc::new(SimClock::new(Skew::default())),
        rng: Arc::new(SplitMix::new(1)),
        spawn: Arc::new(SimSpawn::new(SplitMix::new(2), disk.slowness())),
        net: Arc::new(SimNet::default()),
        disk: disk.boot(),
        catalogue: Arc::new(MemCatalogue::default()),
        objects: None,
    }
}

struct Builder;

impl StoreBuilder<Types, MemLog, Machine, ()> for Builder {
    async fn build(&self) -> Result<((), MemLog, Machine), StorageError<Types>> {
        let env = env();
        let log = MemLog::open(LogStore::default(), &env, SplitMix::new(1));
        Ok(((), log, Machine::open(env).unwrap()))
    }
}

#[tokio::test(start_paused = true)]
async fn openraft_accepts_the_log_and_the_real_machine() {
    Suite::test_all(Builder).await.unwrap();
}

fn entry(index: u64) -> LogEntry {
    let leader_id = openraft::type_config::alias::CommittedLeaderIdOf::<Types>::new(1);
    LogEntry::new(LogId { leader_id, index }, EntryPayload::Blank)
}

#[tokio::test(start_paused = true)]
async fn a_crash_keeps_what_was_called_durable_and_some_of_the_rest() {
    let mut lengths = std::collections::BTreeSet::new();
    for seed in 0..32 {
        let store = LogStore::default();
        let mut log = MemLog::open(store.clone(), &env(), SplitMix::new(seed));
        let (tell, durable) = Types::oneshot();
        log.append([entry(0), entry(1)], IOFlushed::signal(tell)).await.unwrap();
        durable.await.unwrap().unwrap();
        log.save_vote(&Vote::new(3, 1)).await.unwrap();
        log.append([entry(2), entry(3)], IOFlushed::Noop).await.unwrap();
        let read = log.get_log_reader().await.try_get_log_entries(0..9).await.unwrap().len();
        assert_eq!(read, 4, "readable at once");

        let loss = store.crash(&SplitMix::new(seed));
        let mut log = MemLog::open(store, &env(), SplitMix::new(seed));
        let kept = log.get_log_reader().await.try_get_log_entries(0..9).await.unwrap().len();
        assert!((2..=4).contains(&kept), "{kept}");
        assert_eq!(loss, Loss { lost: 4 - u32::try_from(kept).unwrap(), torn: 0 });
        assert_eq!(log.get_log_reader().await.read_vote().await.unwrap(), Some(Vote::new(3, 1)));
        lengths.insert(kept);
    }
    assert_eq!(lengths.len(), 3, "{lengths:?}");
}

#[tokio::test(start_paused = true)]
async fn after_a_failed_flush_nothing_is_durable_before_a_restart_and_a_crash_leaves_no_gap() {
    let mut lengths = std::collections::BTreeSet::new();
    for seed in 0..32 {
        let store = LogStore::default();
        let mut log = MemLog::open(store.clone(), &env(), SplitMix::new(1));
        log.save_vote(&Vote::new(3, 1)).await.unwrap();
        store.fail_after(2);
        let mut append = async |index| {
            let (tell, durable) = Types::oneshot();
            log.append([entry(index)], IOFlushed::signal(tell)).await.unwrap();
            durable.await.unwrap().map_err(|e| e.raw_os_error())
        };
        assert_eq!(append(0).await, Ok(()));
        assert!(!store.failed());
        assert_eq!(append(1).await, Err(Some(EIO)));
        assert_eq!(append(2).await, Err(Some(EIO)), "a log that may have a gap must not go on");
        assert!(store.failed() && log.save_vote(&Vote::new(4, 1)).await.is_err());

        let loss = store.crash(&SplitMix::new(seed));
        assert!(!store.failed());
        let mut log = MemLog::open(store.clone(), &env(), SplitMix::new(2));
        let read = log.get_log_reader().await.try_get_log_entries(0..9).await.unwrap();
        let indexes: Vec<u64> = read.iter().map(|entry| entry.log_id.index).collect();
        assert!((1..=3).contains(&read.len()) && indexes.iter().copied().eq(0..read.len() as u64), "{indexes:?}");
        // The two entries and the vote, in that order.
        let term = log.get_log_reader().await.read_vote().await.unwrap().map(|vote| vote.leader_id.term);
        assert!(term == Some(3) || (term == Some(4) && read.len() == 3));
        let vote = u32::from(term == Some(4));
        assert_eq!(loss, Loss { lost: 4 - u32::try_from(read.len()).unwrap() - vote, torn: 0 });
        lengths.insert(loss.lost);

        log.save_vote(&Vote::new(5, 1)).await.unwrap();
        assert_eq!(log.get_log_reader().await.read_vote().await.unwrap(), Some(Vote::new(5, 1)));
        store.wipe();
        assert_eq!(log.get_log_state().await.unwrap().last_log_id, None);
        assert_eq!(log.get_log_reader().await.read_vote().await.unwrap(), None);
    }
    assert_eq!(lengths.len(), 4, "{lengths:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_device_takes_longer() {
    let store = LogStore::default();
    let mut log = MemLog::open(store.clone(), &env(), SplitMix::new(1));
    let mut spans = Vec::new();
    for factor in [1, 50] {
        store.slow(factor);
        let begun = tokio::time::Instant::now();
        for term in 0..20 {
            log.save_vote(&Vote::new(term, 1)).await.unwrap();
        }
        spans.push(begun.elapsed());
    }
    assert!(spans[1] > spans[0] * 20, "{spans:?}");
}
