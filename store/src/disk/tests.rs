//! The real disk, on the file system of the temporary folder.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, Mode, mkfifoat};
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::digest::{BLOCK_BYTES, TableBuilder};
use crate::id::{ClusterId, Incarnation, NodeId, SegmentId};
use crate::record;
use crate::segment::{Epoch, Version};
use crate::time::{LogTime, WallTime};

const MARK: Incarnation = Incarnation(Uuid::from_u128(0xca12));

fn disk() -> (TempDir, FileDisk) {
    let dir = tempfile::tempdir().unwrap();
    let disk = FileDisk::create(dir.path(), MARK).unwrap();
    (dir, disk)
}

fn copy(number: u128) -> CopyId {
    CopyId(Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0000 + number))
}

fn toc(id: CopyId, bytes: &[u8]) -> Toc {
    let mut builder = TableBuilder::new(bytes.len() as u64);
    bytes.chunks(BLOCK_BYTES).for_each(|block| builder.push(block));
    let table = builder.finish().unwrap();
    Toc {
        cluster: ClusterId(Uuid::from_u128(1)),
        node: NodeId(2),
        copy: id,
        segment: SegmentId(Uuid::from_u128(3)),
        name: "db/main".parse().unwrap(),
        version: Version(4),
        epoch: Epoch(5),
        digest: table.digest(),
        table,
        until: LogTime(6),
    }
}

fn put(disk: &FileDisk, id: CopyId, bytes: &[u8]) -> Toc {
    let mut writer = disk.create(id, bytes.len() as u64).unwrap();
    bytes.chunks(1000).for_each(|part| writer.append(part).unwrap());
    writer.sync().unwrap();
    let toc = toc(id, bytes);
    disk.publish(&toc).unwrap();
    toc
}

fn bytes_of(source: &dyn ReadAt) -> Vec<u8> {
    let mut bytes = vec![0; source.size() as usize];
    source.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn toc_path(disk: &FileDisk, id: CopyId) -> PathBuf {
    disk.path(id).with_extension("toc")
}

/// Every file under a folder with its bytes, by path.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

fn kind_of<T>(result: io::Result<T>) -> ErrorKind {
    result.err().expect("it is refused").kind()
}

#[test]
fn a_copy_goes_round() {
    let (dir, disk) = disk();
    let bytes: Vec<u8> = (0..BLOCK_BYTES + 77).map(|i| (i % 251) as u8).collect();
    let whole = put(&disk, copy(0xab), &bytes);
    let empty = put(&disk, copy(0xcd), &[]);
    assert!(dir.path().join("segments/ab").join(format!("{}.seg", copy(0xab))).exists());

    let disk = FileDisk::open(dir.path()).unwrap();
    assert_eq!(disk.read_toc(copy(0xab)).unwrap(), whole);
    let opened = disk.open(copy(0xab)).unwrap();
    assert_eq!(bytes_of(&*opened), bytes);
    assert_eq!(kind_of(opened.read_exact_at(&mut [0; 2], opened.size() - 1)), ErrorKind::UnexpectedEof);
    assert_eq!(disk.scan().unwrap(), [whole.clone(), empty]);

    let later = Toc { until: LogTime(60), ..whole };
    disk.publish(&later).unwrap();
    assert_eq!(disk.read_toc(copy(0xab)).unwrap(), later);

    disk.unlink(copy(0xab)).unwrap();
    disk.unlink(copy(0xab)).unwrap();
    assert_eq!(kind_of(disk.read_toc(copy(0xab))), ErrorKind::NotFound);
    assert_eq!(kind_of(disk.open(copy(0xab))), ErrorKind::NotFound);
    assert_eq!(disk.scan().unwrap().len(), 1);
}

#[test]
fn an_id_is_used_once() {
    let (_dir, disk) = disk();
    let half = disk.create(copy(1), 5).unwrap();
    assert_eq!(kind_of(disk.create(copy(1), 5)), ErrorKind::AlreadyExists);
    drop(half);
    disk.discard(copy(1)).unwrap();
    disk.discard(copy(1)).unwrap();
    put(&disk, copy(1), b"hello");
    assert_eq!(kind_of(disk.create(copy(1), 5)), ErrorKind::AlreadyExists);
    assert_eq!(kind_of(disk.discard(copy(1))), ErrorKind::InvalidInput);

    disk.quarantine(copy(1)).unwrap();
    assert_eq!(kind_of(disk.create(copy(1), 5)), ErrorKind::AlreadyExists);
    fs::write(disk.spool().join("f"), "x").unwrap();
    let source = disk.open_spool("f").unwrap();
    assert_eq!(kind_of(disk.adopt("f", &*source, copy(1))), ErrorKind::AlreadyExists);
}

#[test]
fn a_writer_takes_exactly_what_was_announced() {
    let (_dir, disk) = disk();
    let mut writer = disk.create(copy(1), 3).unwrap();
    assert_eq!(kind_of(writer.append(b"four")), ErrorKind::InvalidInput);
    writer.append(b"ab").unwrap();
    assert_eq!(kind_of(writer.sync()), ErrorKind::UnexpectedEof);
    assert_eq!(kind_of(disk.publish(&toc(copy(2), b""))), ErrorKind::NotFound);
}

#[test]
fn what_does_not_fit_leaves_nothing() {
    let (_dir, disk) = disk();
    let size = disk.space().unwrap().total * 2;
    assert_eq!(kind_of(disk.create(copy(1), size)), ErrorKind::StorageFull);
    assert!(!disk.path(copy(1)).exists());
}

#[test]
fn early_writing_loses_nothing() {
    let (_dir, disk) = disk();
    let block: Vec<u8> = (0..BLOCK_BYTES).map(|i| (i % 253) as u8).collect();
    let mut writer = disk.create(copy(1), 70 * BLOCK_BYTES as u64).unwrap();
    (0..70).for_each(|_| writer.append(&block).unwrap());
    writer.sync().unwrap();
    let opened = disk.open(copy(1)).unwrap();
    let mut read = vec![0; BLOCK_BYTES];
    for index in 0..70 {
        opened.read_exact_at(&mut read, index * BLOCK_BYTES as u64).unwrap();
        assert_eq!(read, block, "block {index}");
    }
}

#[test]
fn the_spool_takes_plain_regular_files_only() {
    let (dir, disk) = disk();
    let spool = disk.spool();
    fs::write(dir.path().join("secret"), "x").unwrap();
    symlink(dir.path().join("secret"), spool.join("link")).unwrap();
    fs::create_dir(spool.join("folder")).unwrap();
    mkfifoat(CWD, spool.join("fifo"), Mode::from_raw_mode(0o600)).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(spool.join("socket")).unwrap();
    let long = "n".repeat(256);
    for file in
        ["link", "folder", "fifo", "socket", "", ".", "..", "../secret", "a/b", "a b", "a\0", "ü", SPOOL_MARK, &long]
    {
        assert_eq!(kind_of(disk.open_spool(file)), ErrorKind::InvalidInput, "{file:?}");
    }
    for file in ["", "..", "../secret", SPOOL_MARK] {
        assert_eq!(kind_of(disk.expose(copy(1), file)), ErrorKind::InvalidInput, "{file:?}");
    }
    assert_eq!(kind_of(disk.open_spool("none")), ErrorKind::NotFound);
}

#[test]
fn an_open_file_knows_that_it_changed() {
    let (_dir, disk) = disk();
    let path = disk.spool().join("f");
    fs::write(&path, "before").unwrap();
    let opened = disk.open_spool("f").unwrap();
    fs::hard_link(&path, disk.spool().join("g")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(opened.unchanged().unwrap(), "neither links nor modes are changes of the bytes");

    let moved = opened.file().unwrap().metadata().unwrap().modified().unwrap() + std::time::Duration::from_nanos(1);
    File::options().write(true).open(&path).unwrap().set_modified(moved).unwrap();
    assert!(!opened.unchanged().unwrap());

    let opened = disk.open_spool("f").unwrap();
    fs::remove_file(disk.spool().join("f")).unwrap();
    assert_eq!(bytes_of(&*opened), b"before", "the descriptor outlives the name");
}

#[test]
fn adopting_links_the_opened_inode() {
    let (_dir, disk) = disk();
    let path = disk.spool().join("f");
    fs::write(&path, "opened").unwrap();
    let source = disk.open_spool("f").unwrap();
    // The name stands for another file by now; what was opened counts.
    fs::rename(&path, disk.spool().join("g")).unwrap();
    fs::write(&path, "other").unwrap();
    disk.adopt("f", &*source, copy(1)).unwrap();
    let inode = fs::metadata(disk.spool().join("g")).unwrap().ino();
    assert_eq!(fs::metadata(disk.path(copy(1))).unwrap().ino(), inode);
    assert!(source.unchanged().unwrap());
    assert_eq!(fs::metadata(disk.path(copy(1))).unwrap().mode() & 0o222, 0, "read-only under either name");
    assert_eq!(kind_of(disk.adopt("f", &*source, copy(1))), ErrorKind::AlreadyExists);
    assert_eq!(fs::read(disk.path(copy(1))).unwrap(), b"opened");
}

#[test]
fn what_cannot_be_linked_is_copied() {
    let (_dir, disk) = disk();
    let bytes: Vec<u8> = (0..2 * BLOCK_BYTES + 5).map(|i| (i % 241) as u8).collect();
    fs::write(disk.spool().join("f"), &bytes).unwrap();
    let source = disk.open_spool("f").unwrap();
    // An inode without a name cannot be linked any more.
    fs::remove_file(disk.spool().join("f")).unwrap();
    disk.adopt("f", &*source, copy(1)).unwrap();
    assert_eq!(fs::read(disk.path(copy(1))).unwrap(), bytes);
}

#[test]
fn a_copy_is_exposed_read_only_and_exclusively() {
    let (_dir, disk) = disk();
    put(&disk, copy(1), b"state");
    let path = disk.expose(copy(1), "out").unwrap();
    assert_eq!(path, disk.spool().join("out"));
    assert_eq!(fs::read(&path).unwrap(), b"state");
    assert_eq!(fs::metadata(&path).unwrap().ino(), fs::metadata(disk.path(copy(1))).unwrap().ino());
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o222, 0);
    assert_eq!(kind_of(disk.expose(copy(1), "out")), ErrorKind::AlreadyExists);
    assert_eq!(kind_of(disk.expose(copy(2), "none")), ErrorKind::NotFound);
    fs::remove_file(disk.spool().join("out")).unwrap();
    assert_eq!(bytes_of(&*disk.open(copy(1)).unwrap()), b"state");
}

#[test]
fn a_scan_removes_halves_and_nothing_else() {
    let (dir, disk) = disk();
    let good = put(&disk, copy(0x01), b"good");
    drop(disk.create(copy(0x02), 9).unwrap());
    put(&disk, copy(0x03), b"bytes gone");
    fs::remove_file(disk.path(copy(0x03))).unwrap();
    let shard = disk.path(copy(0x01)).parent().unwrap().to_owned();
    let draft = shard.join(format!("{}.7.toc.tmp", copy(0x01)));
    fs::write(&draft, "cut o").unwrap();
    let strangers = [
        shard.join("README"),
        shard.join(format!("{}.bak", copy(0x01))),
        shard.join(format!("{}.seg", copy(0x02))),
        shard.join(format!("{}.seg", copy(0x11).to_string().to_uppercase())),
    ];
    strangers.iter().for_each(|path| fs::write(path, "not ours").unwrap());

    let good = [good];
    assert_eq!(disk.scan().unwrap(), good);
    assert!(!draft.exists() && !disk.path(copy(0x02)).exists() && !toc_path(&disk, copy(0x03)).exists());
    strangers[..3].iter().for_each(|path| assert!(path.exists(), "{path:?}"));
    let before = files(dir.path());
    assert_eq!(disk.scan().unwrap(), good);
    assert_eq!(files(dir.path()), before);
}

#[test]
fn a_damaged_toc_goes_into_quarantine_with_its_bytes() {
    let (dir, disk) = disk();
    let whole = put(&disk, copy(0), b"bytes");
    let good = fs::read(toc_path(&disk, copy(0))).unwrap();
    let mut flipped_version = good.clone();
    flipped_version[4] ^= 2;
    let mut flipped_body = good.clone();
    *flipped_body.last_mut().unwrap() ^= 1;
    let trailing = [&good[..], b"x"].concat();
    let wrong_table = Toc { copy: copy(5), digest: crate::digest::Digest::of(b"else"), ..whole.clone() };
    let wrong_table = record::encode(TOC_KIND, &wrong_table).unwrap();
    let cases = [flipped_version, flipped_body, trailing, good[..20].to_vec(), wrong_table, Vec::new(), good];
    for (id, bad) in (1..).zip(&cases) {
        put(&disk, copy(id), b"bytes");
        fs::write(toc_path(&disk, copy(id)), bad).unwrap();
        assert_eq!(kind_of(disk.read_toc(copy(id))), ErrorKind::InvalidData, "case {id}");
    }
    assert_eq!(disk.scan().unwrap(), [whole]);
    for (id, bad) in (1..).zip(&cases) {
        assert!(!disk.path(copy(id)).exists() && !toc_path(&disk, copy(id)).exists());
        let quarantine = dir.path().join("quarantine");
        assert_eq!(&fs::read(quarantine.join(format!("{}.toc", copy(id)))).unwrap(), bad);
        assert_eq!(fs::read(quarantine.join(format!("{}.seg", copy(id)))).unwrap(), b"bytes");
    }
}

#[test]
fn a_toc_without_bytes_is_not_kept() {
    let (_dir, disk) = disk();
    put(&disk, copy(1), b"deleted under our feet");
    fs::remove_file(disk.path(copy(1))).unwrap();
    disk.quarantine(copy(1)).unwrap();
    assert_eq!(disk.quarantined().unwrap(), [].into());
    assert_eq!(kind_of(disk.read_toc(copy(1))), ErrorKind::NotFound);
}

#[test]
fn a_scan_finishes_a_quarantine_that_was_broken_off() {
    let (dir, disk) = disk();
    put(&disk, copy(1), b"bad bytes");
    let quarantine = dir.path().join("quarantine");
    fs::rename(toc_path(&disk, copy(1)), quarantine.join(format!("{}.toc", copy(1)))).unwrap();
    assert_eq!(disk.scan().unwrap(), []);
    assert_eq!(fs::read(quarantine.join(format!("{}.seg", copy(1)))).unwrap(), b"bad bytes");
    disk.quarantine(copy(1)).unwrap();
    assert_eq!(disk.quarantined().unwrap(), [copy(1)].into());
    disk.forget(copy(1)).unwrap();
    disk.forget(copy(1)).unwrap();
    assert_eq!(disk.quarantined().unwrap(), [].into());
    assert_eq!(fs::read_dir(quarantine).unwrap().count(), 0);
}

#[test]
fn a_toc_of_an_unknown_version_stops_the_scan_before_anything_is_touched() {
    let (dir, disk) = disk();
    put(&disk, copy(0x01), b"good");
    drop(disk.create(copy(0x02), 9).unwrap());
    put(&disk, copy(0x03), b"damaged");
    fs::write(toc_path(&disk, copy(0x03)), "damaged").unwrap();
    put(&disk, copy(0xff), b"newer");
    let newer = record::Kind { version: TOC_KIND.version + 1, ..TOC_KIND };
    fs::write(toc_path(&disk, copy(0xff)), record::encode(newer, &("new", 7)).unwrap()).unwrap();

    let before = files(dir.path());
    let error = disk.scan().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("newer cairnd"), "{error}");
    assert_eq!(files(dir.path()), before);
}

#[test]
fn a_snapshot_is_replaced_whole() {
    let (dir, disk) = disk();
    let read = || {
        let mut bytes = Vec::new();
        disk.read_snapshot().unwrap().map(|mut file| file.read_to_end(&mut bytes).unwrap());
        bytes
    };
    assert!(disk.read_snapshot().unwrap().is_none());
    disk.write_snapshot(&mut [b"one ".to_vec(), b"two".to_vec()].into_iter()).unwrap();
    assert_eq!(read(), b"one two");
    let mut held = disk.read_snapshot().unwrap().unwrap();
    fs::write(dir.path().join("snapshots/state.tmp"), "of a daemon that was killed").unwrap();
    disk.write_snapshot(&mut [b"three".to_vec()].into_iter()).unwrap();
    assert_eq!(read(), b"three");
    let mut old = Vec::new();
    held.read_to_end(&mut old).unwrap();
    assert_eq!(old, b"one two", "a reader keeps the snapshot that it opened");
    assert!(!dir.path().join("snapshots/state.tmp").exists());
}

#[test]
fn only_the_life_that_was_removed_is_marked() {
    let (dir, disk) = disk();
    assert!(!disk.was_removed(MARK).unwrap());
    disk.mark_removed(MARK).unwrap();
    assert!(disk.was_removed(MARK).unwrap());
    assert!(!disk.was_removed(Incarnation(Uuid::from_u128(1))).unwrap(), "another life, in the same folder");
    for damaged in [&b""[..], b"no life", b"\xff\xfe"] {
        fs::write(dir.path().join("removed"), damaged).unwrap();
        assert!(!disk.was_removed(MARK).unwrap(), "{damaged:?}");
    }
    disk.mark_removed(MARK).unwrap();
    assert!(disk.was_removed(MARK).unwrap());
}

#[test]
fn folders_and_marks_are_made_again_without_harm() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("a/b");
    assert_eq!(kind_of(FileDisk::open(&deep)), ErrorKind::NotFound);
    let disk = FileDisk::create(&deep, MARK).unwrap();
    let kept = put(&disk, copy(1), b"kept");
    // An application may have put a trap in place of the mark.
    let mark = disk.spool().join(SPOOL_MARK);
    fs::write(dir.path().join("victim"), "untouched").unwrap();
    for trap in [&mark, &mark.with_extension("tmp")] {
        let _ = fs::remove_file(trap);
        symlink(dir.path().join("victim"), trap).unwrap();
    }
    let disk = FileDisk::create(&deep, MARK).unwrap();
    assert_eq!(fs::read_to_string(&mark).unwrap().parse(), Ok(MARK));
    assert_eq!(fs::read_to_string(dir.path().join("victim")).unwrap(), "untouched");
    assert_eq!(disk.scan().unwrap(), [kept]);

    fs::remove_dir(deep.join("segments/7f")).unwrap();
    let error = FileDisk::open(&deep).unwrap_err();
    assert!(error.to_string().contains("7f"), "{error}");
}

#[test]
fn an_identity_is_written_once() {
    let (_dir, disk) = disk();
    assert_eq!(disk.read_identity().unwrap(), None);
    disk.write_identity("node = 1\n").unwrap();
    disk.write_identity("node = 1\n").unwrap();
    assert_eq!(kind_of(disk.write_identity("node = 2\n")), ErrorKind::AlreadyExists);
    assert_eq!(disk.read_identity().unwrap().as_deref(), Some("node = 1\n"));
}

#[test]
fn one_daemon_a_folder() {
    let (dir, disk) = disk();
    let held = disk.lock().unwrap();
    let error = FileDisk::open(dir.path()).unwrap().lock().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    assert!(error.to_string().contains("another daemon"), "{error}");
    drop(held);
    disk.lock().unwrap();
}

#[test]
fn the_format_of_a_record_stands() {
    let kind = record::Kind { tag: *b"TEST", version: 3 };
    let golden = b"TEST\x03\x00\x07\x00\x00\x00\xd5\xd8\xbb\x5f\x07\x05cairn";
    assert_eq!(record::encode(kind, &(7u64, "cairn")).unwrap(), golden);
    assert_eq!(record::decode(kind, golden), Ok(((7u64, "cairn".to_owned()), &[][..])));
}

/// The fixture was made by the first release. A change of the format gets a new version and a fixture of its own.
#[test]
fn the_format_of_a_toc_stands() {
    let golden = include_bytes!("../../fixtures/toc-v1.bin");
    let bytes: Vec<u8> = (0..BLOCK_BYTES + 1).map(|i| (i % 251) as u8).collect();
    let toc = toc(copy(0x42), &bytes);
    assert_eq!(record::encode(TOC_KIND, &toc).unwrap(), golden);
    assert_eq!(record::decode(TOC_KIND, golden), Ok((toc, &[][..])));
}

#[test]
fn old_leftovers_of_the_spool_go_and_nothing_else() {
    let (_dir, disk) = disk();
    let hour = 3_600_000;
    let begun: u64 = 1_700_000_000_000;
    let id = |at: u64| uuid::Builder::from_unix_timestamp_millis(at, &[7; 10]).into_uuid();
    let make = |name: &str, written: u64| {
        let path = disk.spool().join(name);
        fs::write(&path, name).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(written);
        File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
    };
    let part = |at: u64| format!("cairn-{}.part", id(at).simple());
    let stale = |at: u64| format!("stale-{}", id(at));
    let left = [part(begun), stale(begun + 1), "cairn-00000000000000000000000000000abc.part".into()];
    left.iter().for_each(|name| make(name, begun + 2));
    // A stale load's file is a link to bytes that are older than it.
    make(&stale(begun + 3), begun - 48 * hour);
    // So is a file that was to be moved: it has its own name elsewhere.
    make(&part(begun + 4), begun - 1);
    fs::hard_link(disk.spool().join(part(begun + 4)), disk.dir().join("elsewhere")).unwrap();

    // Written to lately; made lately.
    make(&part(begun + 5), begun + 20 * hour);
    make(&stale(begun + 20 * hour), begun);
    for name in ["state.db", "cairn-.part", "cairn-abc.part", "stale-", "stale-1", ".cairn-x.part"] {
        make(name, begun);
    }
    make(&part(begun).to_uppercase().replace("CAIRN", "cairn").replace("PART", "part"), begun);
    make(&format!("{}x", stale(begun)), begun);
    fs::create_dir(disk.spool().join(part(begun + 7))).unwrap();
    symlink("state.db", disk.spool().join(part(begun + 8))).unwrap();
    let entries = || fs::read_dir(disk.spool()).unwrap().count();
    let before = entries();

    assert_eq!(disk.tidy_spool(WallTime(begun + 24 * hour)).unwrap(), 0, "not yet");
    assert_eq!(disk.tidy_spool(WallTime(0)).unwrap(), 0, "a clock that went back");
    assert_eq!(disk.tidy_spool(WallTime(begun + 25 * hour)).unwrap(), 5);
    assert_eq!(entries(), before - 5);
    assert!(left.iter().all(|name| !disk.spool().join(name).exists()));
    assert!(disk.dir().join("elsewhere").exists() && disk.spool().join(SPOOL_MARK).exists());
}
