//! What lies here: the start-up scan, and the way into quarantine.
//!
//! The scan looks at everything before it changes anything: a folder that a newer daemon wrote is left untouched.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::layout::{DRAFT, FileDisk, SEG, TOC, at, remove, sync_folder};
use super::{Toc, read};
use crate::id::CopyId;

/// What a scan found: copies, and what is to be done about the rest.
#[derive(Default)]
struct Findings {
    copies: Vec<Toc>,
    halves: Vec<PathBuf>,
    damaged: Vec<CopyId>,
    shards: Vec<PathBuf>,
}

/// The files of one copy.
#[derive(Clone, Copy, Default)]
struct Parts {
    seg: bool,
    toc: bool,
}

/// Only for the start, before anything writes: what is being written looks like a half.
pub(super) fn scan(disk: &FileDisk) -> io::Result<Vec<Toc>> {
    let mut found = Findings::default();
    for shard in disk.shards() {
        look(disk, &shard, &mut found)?;
    }
    for copy in found.damaged {
        quarantine(disk, copy)?;
    }
    for half in found.halves {
        remove(&half)?;
    }
    // A daemon that was killed may have renamed a `.toc` and not synced its folder: what is reported is durable.
    found.shards.iter().try_for_each(|shard| sync_folder(shard))?;
    Ok(found.copies)
}

/// Moves a copy out. The `.toc` goes first; if the way is broken off then, the next scan finishes it. Without bytes
/// there is nothing to be looked at: a `.toc` alone is a half.
pub(super) fn quarantine(disk: &FileDisk, copy: CopyId) -> io::Result<()> {
    let seg = disk.seg(copy);
    if !seg.try_exists().map_err(at(&seg))? {
        return if remove(&disk.toc(copy))? { sync_folder(&disk.shard(copy)) } else { Ok(()) };
    }
    for (part, from) in [(TOC, disk.toc(copy)), (SEG, disk.seg(copy))] {
        match fs::rename(&from, disk.in_quarantine(copy, part)) {
            Ok(()) => {
                sync_folder(&disk.quarantine_folder())?;
                sync_folder(&disk.shard(copy))?;
            }
            // Unless it is the quarantine that is missing.
            Err(error) if error.kind() == ErrorKind::NotFound && !from.exists() => {}
            Err(error) => return Err(at(&from)(error)),
        }
    }
    Ok(())
}

/// Whoever lies in quarantine.
pub(super) fn quarantined(disk: &FileDisk) -> io::Result<BTreeSet<CopyId>> {
    let folder = disk.quarantine_folder();
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(&folder).map_err(at(&folder))? {
        let name = entry.map_err(at(&folder))?.file_name();
        found.extend(name.to_str().and_then(parse).map(|(copy, _)| copy));
    }
    Ok(found)
}

fn look(disk: &FileDisk, shard: &Path, found: &mut Findings) -> io::Result<()> {
    let mut parts = BTreeMap::<CopyId, Parts>::new();
    let mut used = false;
    for entry in fs::read_dir(shard).map_err(at(shard))? {
        used = true;
        let name = entry.map_err(at(shard))?.file_name();
        // Names that are not ours are left alone.
        let Some((copy, part)) = name.to_str().and_then(parse) else { continue };
        if disk.shard(copy) != shard {
            continue;
        }
        match part {
            SEG => parts.entry(copy).or_default().seg = true,
            TOC => parts.entry(copy).or_default().toc = true,
            _ if is_draft(part) => found.halves.push(shard.join(&name)),
            _ => {}
        }
    }
    if used {
        found.shards.push(shard.to_path_buf());
    }
    parts.into_iter().try_for_each(|(copy, parts)| judge(disk, copy, parts, found))
}

fn judge(disk: &FileDisk, copy: CopyId, parts: Parts, found: &mut Findings) -> io::Result<()> {
    if parts.toc {
        match disk_toc(disk, copy)? {
            None => found.damaged.push(copy),
            Some(toc) if parts.seg => found.copies.push(toc),
            Some(_) => found.halves.push(disk.toc(copy)),
        }
        return Ok(());
    }
    // Bytes whose `.toc` is in quarantine were on their way there.
    let held = disk.in_quarantine(copy, TOC);
    if held.try_exists().map_err(at(&held))? {
        found.damaged.push(copy);
    } else {
        found.halves.push(disk.seg(copy));
    }
    Ok(())
}

/// `None` if it is damaged. One of an unknown version is an error: the scan stops.
fn disk_toc(disk: &FileDisk, copy: CopyId) -> io::Result<Option<Toc>> {
    match read::read_toc(&disk.toc(copy), copy) {
        Ok(toc) => Ok(Some(toc)),
        Err(error) if error.kind() == ErrorKind::InvalidData => Ok(None),
        Err(error) => Err(error),
    }
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
