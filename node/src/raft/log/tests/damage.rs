//! Bytes that changed, and bytes that are gone.

use codeq::{Decode, Encode};

use super::*;

async fn written(dir: &Path) -> Content {
    let mut log = open(dir).unwrap();
    log.save_vote(&Vote::new_committed(2, 1)).await.unwrap();
    log.blocking_append(ticks(1, 0..8)).await.unwrap();
    log.save_committed(Some(id(1, 5))).await.unwrap();
    log.truncate_after(Some(id(1, 6))).await.unwrap();
    log.blocking_append(ticks(2, 7..12)).await.unwrap();
    log.purge(id(1, 2)).await.unwrap();
    log.save_vote(&Vote::new(3, 2)).await.unwrap();
    content(&mut log).await.unwrap()
}

async fn reopened(dir: &Path) -> io::Result<Content> {
    content(&mut open(dir)?).await
}

/// Every kind of record last in the file: there a wrong guess at its length would look like a torn write.
#[tokio::test]
async fn a_flipped_bit_in_the_last_record_is_an_error() {
    for last in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let mut log = WalLog::open(dir.path(), LogTuning { ballast_bytes: 0, ..LogTuning::default() }).unwrap();
        log.save_vote(&Vote::new(1, 1)).await.unwrap();
        log.blocking_append(ticks(1, 0..4)).await.unwrap();
        match last {
            0 => log.save_vote(&Vote::new(2, 1)).await.unwrap(),
            1 => log.save_committed(Some(id(1, 2))).await.unwrap(),
            2 => log.truncate_after(None).await.unwrap(),
            3 => log.purge(id(1, 1)).await.unwrap(),
            _ => {}
        }
        drop(log);
        every_flip_is_found(dir.path(), 11).await;
    }
}

#[tokio::test]
async fn a_flipped_bit_in_any_chunk_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let before = written(dir.path()).await;
    assert!(chunks(dir.path()).len() >= 2);
    every_flip_is_found(dir.path(), 11).await;
    assert_eq!(reopened(dir.path()).await.unwrap(), before);
}

/// Flips every bit of each `step`th byte, and of each near the end; the log is as it was afterwards.
async fn every_flip_is_found(dir: &Path, step: usize) {
    for chunk in chunks(dir) {
        let good = fs::read(&chunk).unwrap();
        let tail = good.len().saturating_sub(60);
        for at in (0..good.len()).filter(|at| at % step == 0 || *at >= tail) {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                fs::write(&chunk, &bad).unwrap();
                let error =
                    reopened(dir).await.err().unwrap_or_else(|| panic!("bit {bit} of byte {at} in {chunk:?}"));
                assert_ne!(error.kind(), io::ErrorKind::WouldBlock);
                assert_eq!(fs::read(&chunk).unwrap(), bad, "a damaged log is left as it is");
            }
        }
        fs::write(&chunk, &good).unwrap();
    }
}

#[tokio::test]
async fn damage_that_appears_while_the_log_is_open_is_found_when_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    log.blocking_append(ticks(1, 0..60)).await.unwrap();
    log.shared.lock().unwrap().wait_worker_idle().unwrap();
    log.shared.lock().unwrap().drain_cache_evictable();
    let chunk = &chunks(dir.path())[1];
    let mut bytes = fs::read(chunk).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 16;
    fs::write(chunk, bytes).unwrap();
    let error = entries(&mut log).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
}

#[tokio::test]
async fn a_torn_tail_costs_only_what_was_torn() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = WalLog::open(dir.path(), LogTuning::default()).unwrap();
    log.blocking_append(ticks(1, 0..10)).await.unwrap();
    drop(log);
    let chunk = chunks(dir.path()).remove(0);
    let whole = fs::read(&chunk).unwrap();
    let record = {
        let mut bytes = Vec::new();
        StoredId { term: 1, index: 9 }.encode(&mut bytes).unwrap();
        Payload::encode_entry(&tick(1, 9).payload).unwrap().encode(&mut bytes).unwrap();
        // raft-log's kind before, its checksum behind.
        4 + bytes.len() + 8
    };
    for cut in 1..2 * record {
        for other in chunks(dir.path()) {
            fs::remove_file(other).unwrap();
        }
        fs::write(&chunk, &whole[..whole.len() - cut]).unwrap();
        let mut log = WalLog::open(dir.path(), LogTuning::default()).unwrap();
        let left = 10 - cut.div_ceil(record) as u64;
        assert_eq!(entries(&mut log).await.unwrap(), ticks(1, 0..left), "{cut} bytes cut off");
        log.blocking_append(ticks(2, left..12)).await.unwrap();
        drop(log);
        let after = entries(&mut WalLog::open(dir.path(), LogTuning::default()).unwrap()).await.unwrap();
        assert_eq!(after, [ticks(1, 0..left), ticks(2, left..12)].concat());
    }
}

/// Whatever is wrong with a file that others follow, it is damage and no torn write: nothing is cut off.
#[tokio::test]
async fn a_closed_chunk_that_is_short_or_gone_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    log.blocking_append(ticks(1, 0..40)).await.unwrap();
    log.purge(id(1, 2)).await.unwrap();
    drop(log);
    let before = reopened(dir.path()).await.unwrap();
    let all: Vec<_> = chunks(dir.path()).into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect();
    assert!(all.len() > 3, "{} chunks", all.len());
    for (good, path) in &all[..all.len() - 1] {
        let kept = [1, 3, 100, good.len() - 1].map(|cut| Some(good.len() - cut));
        for left in kept.into_iter().chain([Some(0), None]) {
            match left {
                Some(left) => fs::write(path, &good[..left]).unwrap(),
                None => fs::remove_file(path).unwrap(),
            }
            let error = reopened(dir.path()).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{left:?} bytes left of {path:?}: {error}");
            assert_eq!(fs::metadata(path).ok().map(|found| found.len()), left.map(|left| left as u64), "{path:?}");
            for (good, path) in &all {
                fs::write(path, good).unwrap();
            }
        }
    }
    assert_eq!(reopened(dir.path()).await.unwrap(), before);
}

#[test]
fn unknown_versions_are_named() {
    let mut bytes = bincode::Options::serialize(cairn_store::record::bincode_options(), &9u16).unwrap();
    bytes.extend_from_slice(b"whatever version 9 is");
    let mut framed = Vec::new();
    Payload(bytes.into()).encode(&mut framed).unwrap();
    let error = Payload::decode(&framed[..]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(error.to_string().contains("has version 9, this build reads 1"), "{error}");
    for (mark, what) in [(b'I', "a log id"), (b'V', "a vote")] {
        let bytes = [&[mark, 7][..], &[0; 24]].concat();
        let error = match mark {
            b'I' => StoredId::decode(&bytes[..]).unwrap_err(),
            _ => StoredVote::decode(&bytes[..]).unwrap_err(),
        };
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains(&format!("{what} has version 7")), "{error}");
    }
}

#[tokio::test]
async fn an_unknown_version_in_the_log_stops_it_from_opening() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    {
        let body = bincode::Options::serialize(cairn_store::record::bincode_options(), &(2u16, 5u64)).unwrap();
        let mut log = log.shared.lock().unwrap();
        log.append([(StoredId { term: 1, index: 0 }, Payload(body.into()))]).unwrap();
    }
    drop(log);
    let error = open(dir.path()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    assert!(error.to_string().contains("a log entry has version 2"), "{error}");
}

#[test]
fn only_a_short_read_is_an_unexpected_end() {
    let mut good = Vec::new();
    Payload::encode_entry(&tick(1, 1).payload).unwrap().encode(&mut good).unwrap();
    for cut in 0..good.len() {
        assert_eq!(Payload::decode(&good[..cut]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
    for at in 0..8 {
        let mut bad = good.clone();
        bad[at] ^= 64;
        assert_eq!(Payload::decode(&bad[..]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
