//! What lies here at the start, and the way into quarantine.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};

use cairn_store::digest::BlockTable;
use cairn_store::disk::{TOC_KIND, Toc};
use cairn_store::id::CopyId;
use cairn_store::record;

use super::{folder, in_quarantine, seg, shard, toc};
use crate::files::Files;

#[derive(Clone, Copy, Default)]
struct Parts {
    seg: bool,
    toc: bool,
}

/// Every copy that exists. Removes halves, puts damaged ones aside.
pub(super) fn scan(files: &mut Files) -> io::Result<Vec<Toc>> {
    let mut parts: BTreeMap<CopyId, Parts> = BTreeMap::new();
    let mut used: BTreeSet<String> = BTreeSet::new();
    for path in files.under("segments/") {
        used.insert(folder(&path).to_owned());
        let name = path.rsplit_once('/').map_or(path.as_str(), |(_, name)| name);
        let Some((id, part)) = name.split_once('.') else { continue };
        let Ok(copy) = id.parse::<CopyId>() else { continue };
        match part {
            "seg" => parts.entry(copy).or_default().seg = true,
            "toc" => parts.entry(copy).or_default().toc = true,
            _ => drop(files.remove(&path)),
        }
    }
    let mut found = Vec::new();
    for (copy, Parts { seg: bytes, toc: entry }) in parts {
        match (bytes, entry) {
            (_, true) => match read_toc(files, copy) {
                Ok(toc) if bytes => found.push(toc),
                Ok(_) => drop(files.remove(&toc(copy))),
                Err(e) if e.kind() == ErrorKind::InvalidData => quarantine(files, copy)?,
                Err(e) => return Err(e),
            },
            (_, false) if files.exists(&in_quarantine(copy, "toc")) => quarantine(files, copy)?,
            (_, false) => drop(files.remove(&seg(copy))),
        }
    }
    // What is reported is durable.
    used.iter().for_each(|folder| files.sync_folder(folder));
    Ok(found)
}

/// Moves a copy out, its `.toc` first. A `.toc` without bytes is a half.
pub(super) fn quarantine(files: &mut Files, copy: CopyId) -> io::Result<()> {
    if !files.exists(&seg(copy)) {
        files.remove(&toc(copy));
        files.sync_folder(&shard(copy));
        return Ok(());
    }
    for (part, from) in [("toc", toc(copy)), ("seg", seg(copy))] {
        if files.exists(&from) {
            files.rename(&from, &in_quarantine(copy, part))?;
            files.sync_folder("quarantine");
            files.sync_folder(&shard(copy));
        }
    }
    Ok(())
}

/// Reads and checks a `.toc`.
pub(super) fn read_toc(files: &Files, copy: CopyId) -> io::Result<Toc> {
    let damaged = |text: String| io::Error::new(ErrorKind::InvalidData, text);
    let file = files.open(&toc(copy))?;
    let contents = file.lock();
    let (entry, rest) = record::decode::<Toc>(TOC_KIND, &contents.bytes).map_err(|e| damaged(e.to_string()))?;
    if !rest.is_empty() || entry.copy != copy {
        return Err(damaged("it describes something else".into()));
    }
    let table = &entry.table;
    BlockTable::checked(table.size(), table.as_bytes(), entry.digest).map_err(|e| damaged(e.to_string()))?;
    Ok(entry)
}
