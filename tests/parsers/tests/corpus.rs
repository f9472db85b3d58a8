//! Every case that was kept, through the same functions that are fuzzed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cairn_parsers::TARGETS;
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What no case may need more of, in bytes: the longest record, and as much again for reading it.
const MEMORY_BYTES_MAX: usize = 160 << 20;
/// The largest case that is kept, in bytes.
const CASE_BYTES_MAX: u64 = 16 << 10;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("corpus")
}

fn cases(dir: &Path) -> Vec<PathBuf> {
    let mut cases: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

#[test]
fn every_case_is_taken_or_refused() {
    let known: BTreeSet<_> = TARGETS.iter().map(|target| corpus().join(target.name)).collect();
    assert_eq!(cases(&corpus()).into_iter().collect::<BTreeSet<_>>(), known);
    for target in TARGETS {
        let dir = corpus().join(target.name);
        // The first call makes what all of them share.
        (target.run)(b"");
        for case in cases(&dir) {
            assert!(fs::metadata(&case).unwrap().len() <= CASE_BYTES_MAX, "{case:?} is too large to be kept");
            let bytes = fs::read(&case).unwrap();
            let before = MEMORY.current_usage();
            MEMORY.reset_peak_usage();
            if std::panic::catch_unwind(|| (target.run)(&bytes)).is_err() {
                panic!("{}", case.display());
            }
            let used = MEMORY.peak_usage().saturating_sub(before);
            assert!(used < MEMORY_BYTES_MAX, "{} took {used} bytes of memory", case.display());
        }
    }
}

/// The fuzzer begins with what is valid. `UPDATE=1` writes what is missing; what is there stays, as found cases do.
#[test]
fn every_seed_is_there() {
    for target in TARGETS {
        for (name, bytes) in (target.seeds)() {
            let path = corpus().join(target.name).join(format!("seed-{name}"));
            if std::env::var_os("UPDATE").is_some() && !path.exists() {
                fs::write(&path, bytes).unwrap();
            }
            assert!(path.exists(), "{}: UPDATE=1 makes it", path.display());
        }
    }
}

/// Who adds a parser fuzzes it too.
#[test]
fn the_fuzzer_knows_every_target() {
    let dir = corpus().parent().unwrap().join("fuzz/fuzz_targets");
    let files: BTreeSet<_> = cases(&dir).iter().map(|path| path.file_stem().unwrap().to_owned()).collect();
    assert_eq!(files, TARGETS.iter().map(|target| target.name.into()).collect());
}
