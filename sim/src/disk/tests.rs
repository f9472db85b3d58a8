//! The real disk's order over files that forget, and each fault.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _};

use cairn_store::digest::{BLOCK_BYTES, TableBuilder};
use cairn_store::id::{ClusterId, NodeId, SegmentId};
use cairn_store::segment::{Epoch, Version};
use cairn_store::time::LogTime;
use uuid::Uuid;

use super::*;

const CAPACITY: u64 = 64 << 20;

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

/// All steps that make a copy, as a holder takes them.
fn put(disk: &MemDisk, id: CopyId, bytes: &[u8]) -> io::Result<()> {
    let mut writer = Disk::create(&**disk, id, bytes.len() as u64)?;
    bytes.chunks(1000).try_for_each(|part| writer.append(part))?;
    writer.sync()?;
    disk.publish(&toc(id, bytes))
}

fn bytes(seed: u64) -> Vec<u8> {
    SplitMix::new(seed).bytes(3_000)
}

fn read(disk: &MemDisk, id: CopyId) -> Vec<u8> {
    MemDisk::read(disk, &disk.path(id)).unwrap()
}

/// How a sequence of steps is cut off.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    /// With the power.
    Crash,
    /// The process is killed: what it wrote is there, durable or not.
    Kill,
}

/// The state after a cut at every step of `act`: `check` is told whether it had ended.
fn at_every_step(
    prepare: impl Fn(&MemDisk),
    act: impl Fn(&MemDisk) -> io::Result<()>,
    check: impl Fn(&MemDisk, bool),
) {
    for step in 1..1000 {
        let mut ended = false;
        for (seed, cut) in (0..32).map(|seed| (seed, Cut::Crash)).chain([(0, Cut::Kill)]) {
            let disk = MemDisk::new("n1", CAPACITY);
            prepare(&disk);
            disk.fail_after(step, Failure::PowerOff);
            let done = act(&disk).is_ok();
            assert_eq!(disk.failed(), (!done).then_some(Failure::PowerOff));
            match cut {
                Cut::Crash => drop(disk.crash(&SplitMix::new(seed))),
                Cut::Kill => disk.clear_failures(),
            }
            assert_eq!(disk.hollow(), [].into(), "a .toc without bytes, after {cut:?} {seed} at step {step}");
            check(&disk, done);
            ended = done;
        }
        if ended {
            return;
        }
    }
    panic!("it has no end");
}

#[test]
fn a_copy_is_whole_or_none_wherever_it_is_cut_off() {
    let (id, bytes) = (copy(1), bytes(1));
    let check = |disk: &MemDisk, done: bool| {
        let promised = disk.durable_digest(id);
        let found = disk.scan().unwrap();
        assert_eq!(disk.copies().len(), found.len());
        assert!(found.len() == 1 || !done, "what was published is lost");
        assert!(promised.is_some() || !done, "what was published is not durable");
        assert!(promised.is_none() || found.len() == 1);
        // What the scan reports is durable, even if it was not before.
        assert_eq!(disk.durable_digest(id).is_some(), !found.is_empty());
        if !found.is_empty() {
            assert_eq!(read(disk, id), bytes);
        }
        assert!(put(disk, copy(2), b"it goes on").is_ok());
    };
    at_every_step(|_| {}, |disk| put(disk, id, &bytes), check);
    // The owner's own way.
    let adopt = |disk: &MemDisk| {
        let source = disk.open_spool("f")?;
        disk.adopt("f", source.as_ref(), id)?;
        disk.publish(&toc(id, &bytes))
    };
    at_every_step(|disk| disk.write_spool("f", &bytes).unwrap(), adopt, check);
    at_every_step(|disk| disk.write_spool_unsynced("f", &bytes).unwrap(), adopt, check);
}

#[test]
fn a_word_that_is_renewed_stands_wherever_the_power_goes() {
    let (id, bytes) = (copy(1), bytes(1));
    let later = Toc { until: LogTime(60), ..toc(id, &bytes) };
    at_every_step(
        |disk| put(disk, id, &bytes).unwrap(),
        |disk| disk.publish(&later),
        |disk, done| {
            let found = disk.scan().unwrap();
            assert_eq!(found.len(), 1);
            assert!(!done || found[0].until == LogTime(60), "the new word");
        },
    );
}

#[test]
fn a_copy_that_goes_never_comes_back_as_a_half() {
    let (id, bytes) = (copy(1), bytes(1));
    for aside in [false, true] {
        at_every_step(
            |disk| put(disk, id, &bytes).unwrap(),
            |disk| if aside { disk.quarantine(id) } else { disk.unlink(id) },
            |disk, done| {
                let found = disk.scan().unwrap();
                assert!(!done || found.is_empty());
                let kept = disk.quarantined().unwrap().contains(&id);
                assert!(if aside { found.is_empty() == kept } else { !kept });
                // With what it was, for whoever looks at it.
                assert_eq!(disk.system.state().files.list("quarantine").len(), if kept { 2 } else { 0 });
                assert_eq!(disk.holds(id), !found.is_empty());
            },
        );
    }
}

#[test]
fn a_snapshot_is_the_old_or_the_new_one_wherever_the_power_goes() {
    let write = |disk: &MemDisk, part: u8| disk.write_snapshot(&mut (0..3).map(|_| vec![part; 700_000]));
    at_every_step(
        |disk| write(disk, 1).unwrap(),
        |disk| write(disk, 2),
        |disk, done| {
            let mut found = Vec::new();
            disk.read_snapshot().unwrap().unwrap().read_to_end(&mut found).unwrap();
            let part = found[0];
            assert!(part == 2 || (part == 1 && !done));
            assert!(found.len() == 2_100_000 && found.iter().all(|byte| *byte == part));
        },
    );
}

#[test]
fn an_error_of_the_device_stops_one_step_and_changes_nothing() {
    let mut ended = BTreeMap::new();
    for step in 1..20 {
        let disk = MemDisk::new("n1", CAPACITY);
        disk.fail_after(step, Failure::Eio);
        let done = put(&disk, copy(1), &bytes(1));
        assert_eq!(disk.failed(), done.is_err().then_some(Failure::Eio), "step {step}");
        if let Err(error) = &done {
            assert!(error.to_string().contains("Input/output error"), "{error}");
        }
        *ended.entry(done.is_ok()).or_insert(0) += 1;
        disk.clear_failures();
        assert_eq!(disk.failed(), None);
        assert!(put(&disk, copy(2), &bytes(2)).is_ok(), "later steps work");
        assert!(!disk.scan().unwrap().is_empty());
    }
    assert!(ended.len() == 2, "{ended:?}");
}

#[test]
fn without_power_nothing_can_be_read() {
    let disk = MemDisk::new("n1", CAPACITY);
    put(&disk, copy(1), &bytes(1)).unwrap();
    let opened = disk.open(copy(1)).unwrap();
    disk.fail_after(1, Failure::PowerOff);
    assert!(disk.unlink(copy(1)).is_err());
    assert!(disk.read_toc(copy(1)).is_err() && disk.open(copy(1)).is_err() && disk.scan().is_err());
    assert!(opened.read_exact_at(&mut [0], 0).is_err() && opened.unchanged().is_err());
    assert!(disk.holds(copy(1)), "the world still sees it");
    disk.write_spool("f", b"an application outlives its machine").unwrap();
    disk.crash(&SplitMix::new(1));
    assert_eq!((disk.failed(), disk.scan().unwrap().len()), (None, 1));
}

#[test]
fn adopting_and_exposing_give_one_file_another_name() {
    let disk = MemDisk::new("n1", CAPACITY);
    let bytes = bytes(1);
    disk.write_spool("f", &bytes).unwrap();
    let free = disk.space().unwrap().free;
    let source = disk.open_spool("f").unwrap();
    disk.write_spool("f", b"another file has the name by now").unwrap();
    disk.adopt("f", source.as_ref(), copy(1)).unwrap();
    disk.publish(&toc(copy(1), &bytes)).unwrap();
    assert_eq!(read(&disk, copy(1)), bytes);
    let path = disk.expose(copy(1), "g").unwrap();
    disk.rot(copy(1), Part::Bytes, 7).unwrap();
    assert_eq!(MemDisk::read(&disk, &path).unwrap(), read(&disk, copy(1)), "one file");
    assert!(free - disk.space().unwrap().free < 500, "a link takes no space");

    // A file of another machine can only be copied.
    let other = MemDisk::new("n2", CAPACITY);
    other.adopt("f", source.as_ref(), copy(2)).unwrap();
    other.publish(&toc(copy(2), &bytes)).unwrap();
    assert_eq!(other.durable_digest(copy(2)), Some(Digest::of(&read(&disk, copy(1)))));
}

#[test]
fn a_full_disk_refuses_and_works_again() {
    let disk = MemDisk::new("n1", CAPACITY);
    put(&disk, copy(1), &bytes(1)).unwrap();
    let used = CAPACITY - disk.space().unwrap().free;
    disk.set_capacity(used + 1_000);
    assert_eq!(put(&disk, copy(2), &bytes(2)).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(disk.space().unwrap().free, 1_000);
    disk.set_capacity(10);
    assert_eq!(disk.space().unwrap().free, 0);
    assert_eq!(disk.publish(&toc(copy(1), &bytes(1))).unwrap_err().kind(), ErrorKind::StorageFull);
    disk.write_spool("f", b"applications are not asked").unwrap();
    disk.unlink(copy(1)).unwrap();
    disk.set_capacity(CAPACITY);
    put(&disk, copy(2), &bytes(2)).unwrap();
    assert_eq!(disk.scan().unwrap().len(), 1);
}

#[test]
fn rot_and_foreign_hands_are_durable() {
    let disk = MemDisk::new("n1", CAPACITY);
    for id in 1..=3 {
        put(&disk, copy(id), &bytes(1)).unwrap();
    }
    let good = Some(Digest::of(&bytes(1)));
    assert_eq!(disk.durable_digest(copy(1)), good);
    disk.rot(copy(1), Part::Bytes, 2_999).unwrap();
    assert!(disk.rot(copy(1), Part::Bytes, 3_000).is_err());
    disk.rot(copy(2), Part::Table, 9).unwrap();
    disk.delete(copy(3)).unwrap();
    disk.crash(&SplitMix::new(1));
    assert!(disk.holds(copy(1)) && disk.durable_digest(copy(1)).is_some_and(|digest| Some(digest) != good));
    assert!(!disk.holds(copy(2)) && disk.durable_digest(copy(2)).is_none());
    assert!(!disk.holds(copy(3)) && disk.durable_digest(copy(3)).is_none());
    assert_eq!(disk.copies(), [copy(1), copy(2)].into());
    assert_eq!(disk.scan().unwrap().len(), 1);
    assert_eq!(disk.quarantined().unwrap(), [copy(2)].into());
}

#[test]
fn a_new_disk_is_empty() {
    let disk = MemDisk::new("n1", CAPACITY);
    put(&disk, copy(1), &bytes(1)).unwrap();
    disk.write_identity("node = 1\n").unwrap();
    disk.wipe();
    assert_eq!((disk.scan().unwrap().len(), disk.read_identity().unwrap()), (0, None));
    assert_eq!(disk.space().unwrap().free, CAPACITY);
    put(&disk, copy(1), &bytes(1)).unwrap();
}
