//! What lies here: the start-up scan, and the way into quarantine.
//!
//! The scan looks at everything before it changes anything: a folder that a newer daemon wrote is left untouched.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::layout::{DRAFT, FileDisk, SEG, TOC, at};
use super::{Toc, read};
use crate::id::CopyId;

/// What lies in the folders of copies, as a start finds it. [`Disk::scan`] acts on it, an offline check only tells it.
///
/// [`Disk::scan`]: super::Disk::scan
#[derive(Debug)]
pub enum Found {
    /// A copy: both files are there, and the `.toc` can be trusted. Its bytes were not looked at.
    Copy(Toc),
    /// A copy whose `.toc` is damaged. A start puts it into quarantine.
    Damaged(CopyId, io::Error),
    /// A copy whose `.toc` cannot be read at all, or is of a version that this build does not know. No start goes on.
    Unreadable(CopyId, io::Error),
    /// Bytes whose `.toc` is in quarantine already. A start finishes what was begun.
    OnItsWay(CopyId),
    /// Bytes without a `.toc`, or the draft of one: a copy that was begun. A start removes it.
    Half(PathBuf),
    /// A `.toc` without bytes, which nothing here leaves behind. A start removes it.
    Hollow(PathBuf),
    /// Not a name that we gave. It is left alone.
    Stranger(PathBuf),
}

/// The files of one copy.
#[derive(Clone, Copy, Default)]
struct Parts {
    seg: bool,
    toc: bool,
}

impl FileDisk {
    /// Tells what lies in the folders of copies, one folder after the other, and changes nothing. A folder that is
    /// missing is left out. Nothing else may write here meanwhile: what is being written looks like a half.
    pub fn survey(&self, tell: &mut dyn FnMut(Found) -> io::Result<()>) -> io::Result<()> {
        self.shards().filter(|shard| shard.is_dir()).try_for_each(|shard| look(self, &shard, tell).map(drop))
    }
}

/// Only for the start, before anything writes: what is being written looks like a half.
pub(super) fn scan(disk: &FileDisk) -> io::Result<Vec<Toc>> {
    let (mut copies, mut damaged, mut halves, mut shards) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for shard in disk.shards() {
        let used = look(disk, &shard, &mut |found| {
            match found {
                Found::Copy(toc) => copies.push(toc),
                Found::Damaged(copy, _) | Found::OnItsWay(copy) => damaged.push(copy),
                Found::Half(path) | Found::Hollow(path) => halves.push(path),
                Found::Unreadable(_, error) => return Err(error),
                Found::Stranger(_) => {}
            }
            Ok(())
        })?;
        shards.extend(used.then_some(shard));
    }
    for copy in damaged {
        quarantine(disk, copy)?;
    }
    for half in halves {
        disk.remove(&half)?;
    }
    // A daemon that was killed may have renamed a `.toc` and not synced its folder: what is reported is durable.
    shards.iter().try_for_each(|shard| disk.sync_folder(shard))?;
    Ok(copies)
}

/// Moves a copy out. The `.toc` goes first; if the way is broken off then, the next scan finishes it. Without bytes
/// there is nothing to be looked at: a `.toc` alone is a half.
pub(super) fn quarantine(disk: &FileDisk, copy: CopyId) -> io::Result<()> {
    let seg = disk.seg(copy);
    if !disk.exists(&seg)? {
        return if disk.remove(&disk.toc(copy))? { disk.sync_folder(&disk.shard(copy)) } else { Ok(()) };
    }
    for (part, from) in [(TOC, disk.toc(copy)), (SEG, disk.seg(copy))] {
        match disk.files.rename(&from, &disk.in_quarantine(copy, part)) {
            Ok(()) => {
                disk.sync_folder(&disk.quarantine_folder())?;
                disk.sync_folder(&disk.shard(copy))?;
            }
            // Unless it is the quarantine that is missing.
            Err(error) if error.kind() == ErrorKind::NotFound && !disk.exists(&from)? => {}
            Err(error) => return Err(at(&from)(error)),
        }
    }
    Ok(())
}

/// Whoever lies in quarantine.
pub(super) fn quarantined(disk: &FileDisk) -> io::Result<BTreeSet<CopyId>> {
    let folder = disk.quarantine_folder();
    let mut found = BTreeSet::new();
    for name in disk.files.list(&folder).map_err(at(&folder))? {
        let name = name.map_err(at(&folder))?;
        found.extend(name.to_str().and_then(parse).map(|(copy, _)| copy));
    }
    Ok(found)
}

/// Looks at one folder of copies; tells whether anything is in it.
fn look(disk: &FileDisk, shard: &Path, tell: &mut dyn FnMut(Found) -> io::Result<()>) -> io::Result<bool> {
    let mut parts = BTreeMap::<CopyId, Parts>::new();
    let mut used = false;
    for name in disk.files.list(shard).map_err(at(shard))? {
        used = true;
        let name = name.map_err(at(shard))?;
        let ours = name.to_str().and_then(parse).filter(|(copy, _)| disk.shard(*copy) == shard);
        match ours {
            Some((copy, SEG)) => parts.entry(copy).or_default().seg = true,
            Some((copy, TOC)) => parts.entry(copy).or_default().toc = true,
            Some((_, part)) if is_draft(part) => tell(Found::Half(shard.join(&name)))?,
            _ => tell(Found::Stranger(shard.join(&name)))?,
        }
    }
    for (copy, parts) in parts {
        tell(judge(disk, copy, parts)?)?;
    }
    Ok(used)
}

fn judge(disk: &FileDisk, copy: CopyId, parts: Parts) -> io::Result<Found> {
    if parts.toc {
        return Ok(match read::read_toc(disk, copy) {
            Ok(toc) if parts.seg => Found::Copy(toc),
            Ok(_) => Found::Hollow(disk.toc(copy)),
            Err(error) if error.kind() == ErrorKind::InvalidData => Found::Damaged(copy, error),
            Err(error) => Found::Unreadable(copy, error),
        });
    }
    // Bytes whose `.toc` is in quarantine were on their way there.
    let held = disk.in_quarantine(copy, TOC);
    let on_its_way = disk.exists(&held)?;
    Ok(if on_its_way { Found::OnItsWay(copy) } else { Found::Half(disk.seg(copy)) })
}

/// Drafts are numbered: `<number>.toc.tmp`.
fn is_draft(part: &str) -> bool {
    part.split_once('.').is_some_and(|(number, rest)| rest == DRAFT && number.parse::<u64>().is_ok())
}

/// The copy that a file belongs to, and which part of it the file is.
fn parse(name: &str) -> Option<(CopyId, &str)> {
    let (id, part) = name.split_once('.')?;
    let copy = id.parse::<CopyId>().ok()?;
    // One spelling only: other spellings are not names that we gave.
    (copy.to_string() == id).then_some((copy, part))
}
