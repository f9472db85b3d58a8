//! Every block of every copy against its table; what lies in quarantine; what should lie here and does not.

use std::collections::BTreeSet;
use std::io;

use cairn_store::digest::{BLOCK_BYTES, block_count, block_len};
use cairn_store::disk::{Disk, FileDisk, Found, Toc};
use cairn_store::id::CopyId;
use cairn_store::segment::Standing;

use super::beside::ours;
use super::listed::Listed;
use super::state::Known;
use super::{Finding, Tell, What};

const UNKNOWN: &str = "nothing before its log and snapshot can be read";
const FOREIGN: &str = "leave it alone: it is of another cluster";
const INHERITED: &str = "take it over if it is good and of a version that the cluster knows, else leave it alone";

/// Looks at everything; tells how many copies of this cluster there are, and how many bytes they have.
pub(super) fn check(
    disk: &FileDisk,
    known: &Known,
    catalogue: &Listed,
    tell: &mut Tell<'_>,
    moved: &mut dyn FnMut(u64),
) -> io::Result<(u64, u64)> {
    let (mut copies, mut bytes) = (0, 0);
    disk.survey(&mut |found| {
        match found {
            Found::Copy(toc) => {
                let foreign = known.identity.as_ref().is_some_and(|identity| identity.cluster != toc.cluster);
                if !foreign {
                    copies += 1;
                    bytes += toc.table.size();
                    catalogue.expect(&toc)?;
                }
                copy(disk, known, &toc, foreign, tell, moved)?;
            }
            Found::Unlisted(_, error) if ours(&error) => return Err(error),
            other => remains(disk, other).into_iter().for_each(&mut *tell),
        }
        Ok(())
    })?;
    let aside = quarantined(disk, tell)?;
    quarantine(disk, known, &aside, tell);
    known.counted_on(&mut |copy| {
        match disk.toc(copy).try_exists() {
            Ok(false) => tell(missing(disk, copy, &aside)),
            Err(error) if ours(&error) => return Err(error),
            // What is left of it, or that it cannot be looked at, was told already.
            Ok(true) | Err(_) => {}
        }
        Ok(())
    })?;
    Ok((copies, bytes))
}

fn copy(
    disk: &FileDisk,
    known: &Known,
    toc: &Toc,
    foreign: bool,
    tell: &mut Tell<'_>,
    moved: &mut dyn FnMut(u64),
) -> io::Result<()> {
    let path = disk.path(toc.copy);
    let standing = known.standing(toc);
    let what = format!("version {} of {}", toc.version, toc.name);
    let elsewhere = if known.inherits() { INHERITED } else { FOREIGN };
    if let Some(problem) = read_through(disk, toc, moved)? {
        let will = match standing {
            _ if foreign => elsewhere,
            None => UNKNOWN,
            Some(Standing::Referenced) => {
                "keep it until it is asked for; then whoever loads it finds it bad and uses another copy, and the node puts \
                 it into quarantine and tells the cluster"
            }
            Some(unused) => fate(unused),
        };
        tell(Finding::bad(What::Copy, &path, format!("{what}: {problem}"), will));
        return Ok(());
    }
    let (why, will) = match standing {
        _ if foreign => ("it is of another cluster", elsewhere),
        None | Some(Standing::Referenced) => return Ok(()),
        Some(Standing::Lost) => ("the cluster takes it for lost", fate(Standing::Lost)),
        Some(Standing::Ended) => ("the cluster no longer refers to it", fate(Standing::Ended)),
        Some(Standing::Open) => ("nothing that this node knows of refers to it", fate(Standing::Open)),
    };
    tell(Finding::note(What::Orphan, &path, format!("{what}: {why}"), will));
    Ok(())
}

/// What the collector does with a copy that nobody counts on.
fn fate(standing: Standing) -> &'static str {
    match standing {
        Standing::Referenced => "keep it",
        Standing::Lost => "keep it to be looked at, until the cluster no longer lists it",
        Standing::Ended => "remove it",
        Standing::Open => "remove it once its time is over, unless the cluster refers to it by then",
    }
}

/// What is wrong with the bytes of a copy; an error if that could not be found out.
fn read_through(disk: &FileDisk, toc: &Toc, moved: &mut dyn FnMut(u64)) -> io::Result<Option<String>> {
    let source = match disk.open(toc.copy) {
        Ok(source) => source,
        Err(error) if ours(&error) => return Err(error),
        Err(error) => return Ok(Some(error.to_string())),
    };
    let size = toc.table.size();
    if source.size() != size {
        return Ok(Some(format!("it has {} bytes, and should have {size}", source.size())));
    }
    let mut buffer = vec![0; BLOCK_BYTES.min(usize::try_from(size).unwrap_or(BLOCK_BYTES))];
    for index in 0..block_count(size) {
        let block = buffer.get_mut(..block_len(size, index)).unwrap_or_default();
        match source.read_exact_at(block, index * BLOCK_BYTES as u64) {
            Err(error) if ours(&error) => return Err(error),
            Err(error) => return Ok(Some(format!("block {index} cannot be read: {error}"))),
            Ok(()) => {}
        }
        if let Err(mismatch) = toc.table.verify(index, block) {
            return Ok(Some(mismatch.to_string()));
        }
        moved(block.len() as u64);
    }
    Ok(None)
}

/// What is no copy.
fn remains(disk: &FileDisk, found: Found) -> Option<Finding> {
    Some(match found {
        Found::Copy(_) => return None,
        Found::Damaged(copy, error) if disk.path(copy).exists() => {
            let will =
                "put the copy into quarantine, and tell the cluster that it is corrupt if the cluster counts on it";
            Finding::bad(What::Table, &disk.toc(copy), error, will)
        }
        Found::Damaged(copy, error) => {
            let will = "remove it, for its bytes are gone too; and tell the cluster that the copy is missing if the \
                        cluster counts on it";
            Finding::bad(What::Table, &disk.toc(copy), error, will)
        }
        Found::Unreadable(copy, error) => {
            let will = "not start, and leave every copy as it is";
            Finding::bad(What::Table, &disk.toc(copy), error, will)
        }
        Found::Unlisted(path, error) => {
            let will = "not start, and leave every copy as it is";
            Finding::bad(What::Folder, &path, error, will)
        }
        Found::OnItsWay(copy) => {
            let problem = "its .toc is in quarantine already";
            Finding::note(What::Quarantine, &disk.path(copy), problem, "put it into quarantine too")
        }
        Found::Half(path) => {
            Finding::note(What::Orphan, &path, "a copy that was begun and never finished", "remove it")
        }
        Found::Hollow(path) => {
            let will = "remove it, and tell the cluster that the copy is missing if the cluster counts on it";
            Finding::bad(What::Copy, &path, "the bytes that it describes are gone", will)
        }
        Found::Stranger(path) => {
            Finding::note(What::Orphan, &path, "not a name that a node gives here", "leave it alone")
        }
    })
}

/// Who lies in quarantine, as far as that can be read.
fn quarantined(disk: &FileDisk, tell: &mut Tell<'_>) -> io::Result<BTreeSet<CopyId>> {
    match disk.quarantined() {
        Ok(aside) => return Ok(aside),
        Err(error) if ours(&error) => return Err(error),
        // That it is missing was told with the folder.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            let will = "start, and stop as soon as it looks there";
            tell(Finding::bad(What::Folder, &disk.quarantine_folder(), error, will));
        }
    }
    Ok(BTreeSet::new())
}

fn quarantine(disk: &FileDisk, known: &Known, aside: &BTreeSet<CopyId>, tell: &mut Tell<'_>) {
    let listed = if aside.is_empty() { None } else { known.listed() };
    for copy in aside {
        let will = match &listed {
            None => UNKNOWN,
            Some(listed) if listed.contains(copy) => fate(Standing::Lost),
            Some(_) => "remove it: the cluster no longer lists it",
        };
        let path = disk.quarantine_folder().join(format!("{copy}.seg"));
        tell(Finding::note(What::Quarantine, &path, "a copy that failed verification was put aside", will));
    }
}

fn missing(disk: &FileDisk, copy: CopyId, aside: &BTreeSet<CopyId>) -> Finding {
    // Half-way there is there: the node finishes that first.
    let (problem, will) = match aside.contains(&copy) {
        true => ("the cluster counts on this copy, and it is in quarantine", "tell the cluster that it is corrupt"),
        false => ("the cluster counts on this copy, and it is not here", "tell the cluster that it is missing"),
    };
    Finding::bad(What::Copy, &disk.path(copy), problem, will)
}
