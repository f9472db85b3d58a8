//! A backup of a cluster's metadata: a file that anybody may hand to `cairn meta`.

use cairn_store::meta::{Backup, RestoreStep, State};

use crate::{crc, named};

/// The fixture of the store's own tests: every kind of record.
const BACKUP_V1: &[u8] = include_bytes!("../../../store/fixtures/backup-v1-of-6.bin");

/// The file's bytes, as they are and with every checksum mended.
pub fn run(bytes: &[u8]) {
    read(bytes);
    read(&crc::records(bytes));
}

fn read(bytes: &[u8]) {
    let Ok(backup) = Backup::read(&mut &bytes[..]) else { return };
    let written: Vec<u8> = backup.records().flat_map(|record| record.expect("it can be written")).collect();
    assert_eq!(Backup::read(&mut &written[..]).expect("what was written is whole"), backup);
    // Whatever it says, taking it over is a beginning, some segments, and an end.
    let steps: Vec<RestoreStep> = backup.steps().expect("it is of a cluster").collect();
    assert!(matches!(steps.first(), Some(RestoreStep::Begin { .. })));
    assert!(matches!(steps.last(), Some(RestoreStep::End { .. })));
    let segments = steps.iter().map(|step| match step {
        RestoreStep::Segments { segments, .. } => segments.len(),
        RestoreStep::Begin { .. } | RestoreStep::Archives { .. } | RestoreStep::End { .. } => 0,
    });
    let with_versions = backup.state.segments.values().filter(|segment| !segment.versions.is_empty());
    assert_eq!(segments.sum::<usize>(), with_versions.count());
}

/// One with everything in it, and one that is no cluster's.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let nobody = Backup { taken: Default::default(), state: State::default() };
    let nobody: Vec<u8> = nobody.records().flat_map(Result::unwrap).collect();
    named([("everything", BACKUP_V1.to_vec()), ("nobody", nobody)])
}
