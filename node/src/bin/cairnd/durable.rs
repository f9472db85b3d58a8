//! Small files that are there whole or not at all, whatever happens.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use cairn_store::disk::read_text;

use crate::folder::new_id;

/// A file's text; none if it is not there. Whatever is no regular file is refused, and cannot make us wait.
pub(crate) fn read(path: &Path) -> io::Result<Option<String>> {
    match read_text(path) {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        read => read.map(Some),
    }
}

/// Puts a file in place, durably.
pub(crate) fn write(path: &Path, text: &str) -> io::Result<()> {
    let at = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
    let mut draft: OsString = path.into();
    draft.push(".tmp");
    // An earlier attempt may have left one; and what stands there instead of a file is not opened.
    remove(Path::new(&draft))?;
    let filled = File::create_new(&draft).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    filled.and_then(|()| fs::rename(&draft, path)).and_then(|()| sync_parent(path)).map_err(at)
}

/// Takes a file away, durably. One that is not there is no error.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(io::Error::new(e.kind(), format!("{}: {e}", path.display()))),
        Ok(()) => sync_parent(path),
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

/// The kernel's id of this boot; a new one if it has none, which only costs a check of the catalogue.
pub(crate) fn boot_id() -> String {
    let read = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    read.map_or_else(|_| new_id().to_string(), |text| text.trim().to_owned())
}
