use std::path::PathBuf;

use cairn_store::digest::Digest;
use cairn_store::id::{CopyId, SegmentId};
use cairn_store::segment::{Epoch, Version};
use cairn_store::time::LogTime;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;

const HELD_V1: &[u8] = include_bytes!("../../../fixtures/held-v1.bin");

fn held(number: u128) -> Held {
    Held {
        copy: CopyId(Uuid::from_u128(number)),
        segment: SegmentId(Uuid::from_u128(77)),
        version: Version(3),
        epoch: Epoch(2),
        size: 1_000_000,
        digest: Digest::of(b"bytes"),
        until: LogTime(123_456),
    }
}

fn all(numbers: impl Iterator<Item = u128>) -> Vec<Held> {
    numbers.map(held).collect()
}

fn folder() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalogue");
    (dir, path)
}

fn open(path: &Path, boot_id: &str) -> (SledCatalogue, Trust) {
    SledCatalogue::open(path, boot_id).unwrap()
}

#[test]
fn how_far_the_scrub_is_stays_over_a_restart_and_is_no_copy() {
    let (_dir, path) = folder();
    let (catalogue, _) = open(&path, "boot");
    catalogue.replace(&all(1..4)).unwrap();
    assert_eq!(catalogue.scrubbed().unwrap(), None);
    catalogue.set_scrubbed(Some(&held(2))).unwrap();
    catalogue.close().unwrap();
    drop(catalogue);

    let (catalogue, trust) = open(&path, "another boot");
    assert_eq!((trust, catalogue.scrubbed().unwrap()), (Trust::Complete, Some(held(2))));
    // A copy that is gone is as good a place to go on from.
    catalogue.remove(&held(2)).unwrap();
    let after = catalogue.scrubbed().unwrap();
    assert_eq!(catalogue.page(after.as_ref(), 10).unwrap(), [held(3)]);
    catalogue.set_scrubbed(None).unwrap();
    assert_eq!((catalogue.scrubbed().unwrap(), catalogue.page(None, 10).unwrap()), (None, all([1, 3].into_iter())));
}

#[test]
fn it_holds_what_it_is_told() {
    let (_dir, path) = folder();
    let (catalogue, trust) = open(&path, "boot");
    assert_eq!(trust, Trust::Rebuild);
    assert_eq!(catalogue.find(held(1).segment, held(1).version).unwrap(), []);
    for held in all([3, 1, 2].into_iter()) {
        catalogue.insert(held).unwrap();
    }
    let changed = Held { size: 5, ..held(2) };
    catalogue.insert(changed).unwrap();
    let other = Held { version: Version(4), ..held(4) };
    catalogue.insert(other).unwrap();
    assert_eq!(catalogue.find(held(2).segment, Version(3)).unwrap(), [held(1), changed, held(3)]);
    assert_eq!(catalogue.find(held(2).segment, Version(4)).unwrap(), [other]);
    catalogue.remove(&other).unwrap();
    assert_eq!(catalogue.page(None, 10).unwrap(), [held(1), changed, held(3)]);
    catalogue.remove(&held(2)).unwrap();
    catalogue.remove(&held(9)).unwrap();
    assert_eq!(catalogue.page(None, 10).unwrap(), [held(1), held(3)]);
}

#[test]
fn pages_go_on_where_the_last_one_ended() {
    let (_dir, path) = folder();
    let (catalogue, _) = open(&path, "boot");
    catalogue.replace(&all(0..25)).unwrap();
    let mut seen = Vec::new();
    loop {
        let page = catalogue.page(seen.last(), 10).unwrap();
        if page.is_empty() {
            break;
        }
        seen.extend(page);
    }
    assert_eq!(seen, all(0..25));
}

#[test]
fn replace_takes_any_number() {
    let (_dir, path) = folder();
    let (catalogue, _) = open(&path, "boot");
    for range in [0..350, 100..950, 949..951, 0..0] {
        catalogue.replace(&all(range.clone())).unwrap();
        assert_eq!(catalogue.page(None, usize::MAX).unwrap(), all(range));
    }
}

#[test]
fn a_closed_catalogue_is_complete_under_any_boot() {
    let (_dir, path) = folder();
    let (catalogue, _) = open(&path, "boot 1");
    catalogue.replace(&all(0..5)).unwrap();
    catalogue.close().unwrap();
    catalogue.close().unwrap();
    catalogue.insert(held(6)).unwrap_err();
    drop(catalogue);
    let (catalogue, trust) = open(&path, "boot 2");
    assert_eq!((trust, catalogue.page(None, 10).unwrap()), (Trust::Complete, all(0..5)));
}

#[test]
fn after_an_unclean_end_the_boot_decides() {
    let (_dir, path) = folder();
    let (catalogue, _) = open(&path, "boot 1");
    catalogue.replace(&[]).unwrap();
    catalogue.insert(held(1)).unwrap();
    catalogue.flush().unwrap();
    drop(catalogue);
    let (catalogue, trust) = open(&path, "boot 1");
    assert_eq!((trust, catalogue.page(None, 10).unwrap()), (Trust::Behind, all(1..2)));
    drop(catalogue);
    let (catalogue, trust) = open(&path, "boot 2");
    assert_eq!((trust, catalogue.page(None, 10).unwrap()), (Trust::Rebuild, vec![]));
}

#[test]
fn what_was_never_rebuilt_is_never_trusted() {
    let (_dir, path) = folder();
    for close in [false, true, false] {
        let (catalogue, trust) = open(&path, "boot");
        assert_eq!((trust, catalogue.page(None, 10).unwrap()), (Trust::Rebuild, vec![]));
        catalogue.insert(held(1)).unwrap();
        catalogue.flush().unwrap();
        if close {
            catalogue.close().unwrap();
        }
    }
}

#[test]
fn what_does_not_open_is_made_anew() {
    let (_dir, path) = folder();
    for name in ["db", "conf", "marker"] {
        let (catalogue, _) = open(&path, "boot");
        catalogue.replace(&all(0..500)).unwrap();
        catalogue.close().unwrap();
        drop(catalogue);
        let file = path.join(name);
        let garbage: Vec<u8> = fs::read(&file).unwrap().iter().map(|byte| byte ^ 0x5a).collect();
        fs::write(&file, garbage).unwrap();
        let (catalogue, trust) = open(&path, "boot");
        assert_eq!((trust, catalogue.page(None, 10).unwrap()), (Trust::Rebuild, vec![]), "{name}");
    }
}

#[test]
fn an_interrupted_snapshot_of_sleds_is_no_obstacle() {
    let (_dir, path) = folder();
    let (catalogue, _) = open(&path, "boot");
    catalogue.replace(&[held(1)]).unwrap();
    catalogue.close().unwrap();
    drop(catalogue);
    let half = path.join("snap.00000000000000FF.generating");
    fs::write(&half, b"half").unwrap();
    let (catalogue, trust) = open(&path, "boot");
    assert_eq!((trust, catalogue.page(None, 10).unwrap()), (Trust::Complete, all(1..2)));
    assert!(!half.exists());
}

#[test]
fn one_in_use_is_left_alone() {
    let (_dir, path) = folder();
    let (catalogue, _) = open(&path, "boot 1");
    catalogue.insert(held(1)).unwrap();
    let error = SledCatalogue::open(&path, "boot 2").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
    assert_eq!(catalogue.page(None, 10).unwrap(), all(1..2));
}

#[test]
fn an_entry_that_does_not_decode_is_an_error_until_it_is_replaced() {
    let (_dir, path) = folder();
    let (catalogue, _) = open(&path, "boot");
    let newer = record::encode(Kind { version: 2, ..HELD_KIND }, &held(1)).unwrap();
    for bad in [b"garbage".to_vec(), newer, encode(&held(2)).unwrap()] {
        let held = held(1);
        catalogue.db.insert(key(&held), bad).unwrap();
        let found = catalogue.find(held.segment, held.version);
        assert_eq!(found.unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(catalogue.page(None, 10).unwrap_err().kind(), io::ErrorKind::InvalidData);
        catalogue.replace(&all(1..3)).unwrap();
        assert_eq!(catalogue.page(None, 10).unwrap(), all(1..3));
    }
}

#[test]
fn the_encoding_is_frozen() {
    assert_eq!(encode(&held(1)).unwrap(), HELD_V1, "bytes on disk changed: that needs a new version");
    assert_eq!(decode(&key(&held(1)), HELD_V1).unwrap(), held(1));
    let number = |last| [[0; 15].as_slice(), &[last]].concat();
    assert_eq!(key(&held(1)).as_slice(), [number(77), vec![0, 0, 0, 0, 0, 0, 0, 3], number(1)].concat());
}
