//! The catalogue, compared with the files. It is a cache: the node makes it agree with the files at every start.

use std::cell::Cell;
use std::io;
use std::panic;
use std::path::PathBuf;

use cairn_store::disk::{FileDisk, Toc};
use tempfile::TempDir;

use super::beside::{Copied, copied, ours};
use super::{Finding, Tell, What};
use crate::catalogue::{Catalogue, Held, Look, SledCatalogue};

/// How many entries are looked at in one step.
const PAGE: usize = 256;
const MADE_ANEW: &str = "make it anew from the .toc files";

/// The catalogue, if it can be read, and what it was found to lack.
pub(super) struct Listed {
    /// First, for what is open must close before its folder goes.
    catalogue: Option<SledCatalogue>,
    _beside: Option<TempDir>,
    path: PathBuf,
    lacks: Cell<u64>,
}

impl Listed {
    /// Opens a copy of it.
    pub(super) fn open(disk: &FileDisk, boot_id: &str, tell: &mut Tell<'_>) -> io::Result<Self> {
        let path = disk.dir().join("catalogue");
        let (look, beside) = match copied(&path)? {
            Copied::Absent => (Look::Absent, None),
            Copied::Unreadable(error) => (Look::Damaged(format!("it cannot be read: {error}")), None),
            Copied::Whole(beside) => (quietly(|| SledCatalogue::look(beside.path(), boot_id)), Some(beside)),
        };
        let catalogue = match look {
            Look::Readable(catalogue) => Some(catalogue),
            // A node that never ran has none; one that lost it misses nothing.
            Look::Absent => None,
            Look::Untrusted => {
                let problem = "it was in use when the machine went down: it proves nothing";
                tell(Finding::note(What::Catalogue, &path, problem, MADE_ANEW));
                None
            }
            Look::Damaged(why) => {
                tell(Finding::bad(What::Catalogue, &path, why, MADE_ANEW));
                None
            }
        };
        Ok(Self { catalogue, _beside: beside, path, lacks: Cell::new(0) })
    }

    /// This copy lies here.
    pub(super) fn expect(&self, toc: &Toc) -> io::Result<()> {
        let Some(catalogue) = &self.catalogue else { return Ok(()) };
        if !catalogue.find(toc.segment, toc.version)?.contains(&Held::from(toc)) {
            self.lacks.set(self.lacks.get() + 1);
        }
        Ok(())
    }

    /// Tells what it lacks, and what it lists beyond the files.
    pub(super) fn compare(&self, disk: &FileDisk, tell: &mut Tell<'_>) -> io::Result<()> {
        let Some(catalogue) = &self.catalogue else { return Ok(()) };
        let (mut after, mut gone): (Option<Held>, u64) = (None, 0);
        loop {
            let page = catalogue.page(after.as_ref(), PAGE)?;
            for held in &page {
                match disk.toc(held.copy).try_exists() {
                    Ok(there) => gone += u64::from(!there),
                    Err(error) if ours(&error) => return Err(error),
                    // What cannot be looked at was told already.
                    Err(_) => {}
                }
            }
            after = page.last().copied();
            if after.is_none() {
                break;
            }
        }
        let lacks = self.lacks.get();
        if lacks + gone > 0 {
            let problem = format!("it lacks {lacks} copies that lie here, and lists {gone} that do not");
            tell(Finding::note(What::Catalogue, &self.path, problem, MADE_ANEW));
        }
        Ok(())
    }
}

/// sled can panic over damaged files, which is caught; nobody needs to read of it.
fn quietly<T>(work: impl FnOnce() -> T) -> T {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let done = work();
    panic::set_hook(hook);
    done
}
