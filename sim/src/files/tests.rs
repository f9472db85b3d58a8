//! What a crash leaves.

use std::collections::BTreeSet;

use super::inode::SECTOR_BYTES;
use super::*;

fn files() -> Files {
    Files::new(1 << 20)
}

fn rename_into_place(files: &mut Files, bytes: &[u8]) {
    let draft = files.create("a/draft", 0).unwrap();
    files.append(&draft, bytes).unwrap();
    draft.sync();
    files.rename("a/draft", "a/file").unwrap();
}

fn read(files: &Files, path: &str) -> Vec<u8> {
    files.open(path).unwrap().with(<[u8]>::to_vec)
}

#[test]
fn what_was_fsynced_survives() {
    for seed in 0..64 {
        let mut files = files();
        rename_into_place(&mut files, b"old");
        files.sync_folder("a");
        rename_into_place(&mut files, b"new");
        files.crash(&SplitMix::new(seed));
        let found = read(&files, "a/file");
        assert!(found == b"old" || found == b"new", "{found:?}");
    }
}

#[test]
fn what_was_not_may_be_lost_or_torn() {
    let mut losses = BTreeSet::new();
    let outcomes: BTreeSet<Option<usize>> = (0..256)
        .map(|seed| {
            let mut files = files();
            let file = files.create("a/file", 0).unwrap();
            files.append(&file, &[1; 4 * SECTOR_BYTES]).unwrap();
            let loss = files.crash(&SplitMix::new(seed));
            losses.insert((loss.lost, loss.torn));
            let left = files.open("a/file").ok().map(|file| file.with(|b| b.iter().filter(|b| **b == 1).count()));
            let expected = match left {
                None => [(1, 0), (1, 0)],
                Some(0) => [(1, 0), (0, 1)],
                Some(n) if n == 4 * SECTOR_BYTES => [(0, 0), (0, 0)],
                Some(_) => [(0, 1), (0, 1)],
            };
            assert!(expected.contains(&(loss.lost, loss.torn)), "{left:?} {loss:?}");
            left
        })
        .collect();
    assert!(outcomes.contains(&None), "the name");
    assert!(outcomes.contains(&Some(0)), "the bytes");
    assert!(outcomes.contains(&Some(4 * SECTOR_BYTES)), "nothing");
    assert!(outcomes.iter().any(|n| n.is_some_and(|n| n % (4 * SECTOR_BYTES) != 0)), "some sectors");
    assert_eq!(losses.len(), 3, "{losses:?}");
}

#[test]
fn bytes_that_were_fsynced_are_never_torn() {
    for seed in 0..64 {
        let mut files = files();
        let file = files.create("a/file", 0).unwrap();
        files.append(&file, &[1; SECTOR_BYTES + 100]).unwrap();
        file.sync();
        files.sync_folder("a");
        files.append(&file, &[2; 3 * SECTOR_BYTES]).unwrap();
        files.crash(&SplitMix::new(seed));
        let found = read(&files, "a/file");
        assert!(found.iter().take(SECTOR_BYTES + 100).all(|byte| *byte == 1) && found.len() >= SECTOR_BYTES + 100);
        files.crash(&SplitMix::new(seed + 1));
        assert_eq!(read(&files, "a/file"), found, "what a crash left is durable");
    }
}

#[test]
fn a_rename_to_a_synced_folder_leaves_no_ghost() {
    let mut files = files();
    files.create("a/file", 0).unwrap();
    files.rename("a/file", "b/file").unwrap();
    files.sync_folder("b");
    for seed in 0..16 {
        files.crash(&SplitMix::new(seed));
        assert_eq!(files.under("").collect::<Vec<_>>(), ["b/file"]);
    }
}

#[test]
fn two_names_are_one_file_and_take_its_space_once() {
    let mut files = files();
    let free = files.free();
    let file = files.create("a/one", 100).unwrap();
    assert_eq!(files.free(), free - 100, "the space is taken at once");
    files.append(&file, &[1; 60]).unwrap();
    files.link("a/two", &file).unwrap();
    assert_eq!(files.free(), free - 100);
    files.append(&file, &[1; 60]).unwrap();
    assert_eq!(files.free(), free - 120);
    assert!(files.remove("a/one") && !files.remove("a/one"));
    assert_eq!((files.free(), read(&files, "a/two").len()), (free - 120, 120));
    files.create("a/three", 7).unwrap();
    files.rename("a/three", "a/two").unwrap();
    assert_eq!(files.free(), free - 7);

    assert_eq!(files.create("a/four", free).unwrap_err().kind(), ErrorKind::StorageFull);
    files.set_capacity(7);
    assert_eq!(files.free(), 0);
    assert_eq!(files.append(&file, &[1]).unwrap_err().kind(), ErrorKind::StorageFull);
    files.sync_folder("a");
    files.crash(&SplitMix::new(1));
    assert_eq!(files.free(), 7, "nothing was written to it");
}

#[test]
fn what_a_crash_would_leave_is_known_before() {
    let mut files = files();
    let certain = |files: &Files| files.after_crash("a/file").len();
    let draft = files.create("a/draft", 0).unwrap();
    files.append(&draft, b"1").unwrap();
    files.rename("a/draft", "a/file").unwrap();
    files.sync_folder("a");
    assert_eq!(certain(&files), 0, "the bytes");
    draft.sync();
    assert_eq!(certain(&files), 1);
    rename_into_place(&mut files, b"22");
    assert_eq!(certain(&files), 2, "the old or the new one");
    files.remove("a/file");
    assert_eq!(certain(&files), 0, "perhaps none");
    files.sync_folder("a");
    rename_into_place(&mut files, b"333");
    assert_eq!(certain(&files), 0, "the name");
}

#[test]
fn a_folder_lists_what_lies_in_it() {
    let mut files = files();
    for path in ["a/x", "a/y/z", "a.x", "b/x", "a/"] {
        files.create(path, 0).unwrap();
    }
    assert_eq!(files.list("a"), ["", "x"]);
    assert_eq!(files.list("none").len(), 0);
}

#[test]
fn old_changes_become_durable_by_themselves() {
    let mut files = files();
    for number in 0..PENDING_MAX + 3 {
        files.create(&format!("a/{number:04}"), 0).unwrap();
    }
    files.crash(&SplitMix::new(1));
    assert!(files.exists("a/0002"));
}
