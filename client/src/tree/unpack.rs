//! A folder of a stream. Everything is made by its plain name in a folder that is open here and was made here: nothing
//! else can be reached, whatever the stream says.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, fchmod, futimens, linkat, mkdirat, openat, symlinkat,
    utimensat,
};
use tar::Archive;

use super::DEPTH_MAX;
use super::entry::{Entry, Extras, What, bad, shown};
use super::extent::{self, Extent};
use crate::fault::{Cause, FileFault};
use crate::source::BUFFER_BYTES;

/// What may be kept of a mode: of a file's no more than this, as it has another owner now.
const FILE_BITS: u32 = 0o1777;
const FOLDER_BITS: u32 = 0o3777;

/// Makes what the stream says in `root`, an empty folder, for messages `root_path`.
pub fn unpack(stream: &mut dyn Read, root: &OwnedFd, root_path: &Path) -> Result<(), FileFault> {
    let root = root.try_clone().map_err(|error| FileFault::new("write to", root_path, &error))?;
    let mut ended = Ended { stream, ended: false };
    let mut archive = Archive::new(&mut ended);
    let mut unpacker = Unpacker { root: root_path, levels: Vec::new(), buffer: vec![0; BUFFER_BYTES] };
    let (mut extras, mut root) = (Extras::default(), Some(root));
    for read in archive.entries().map_err(broken)?.raw(true) {
        let mut data = read.map_err(broken)?;
        let header = data.header().clone();
        let Some(entry) = extras.take(&header, &mut data).map_err(broken)? else { continue };
        match (root.take(), &entry.what) {
            (Some(folder), What::Folder) if entry.path.is_empty() => unpacker.levels.push(Level::new(folder, &entry)),
            (Some(_), _) => return Err(broken(bad("something before its root"))),
            (None, _) => {
                let size = data.size();
                unpacker.make(&entry, &mut data, size)?;
            }
        }
    }
    if ended.ended || root.is_some() || !extras.is_empty() {
        return Err(broken(io::ErrorKind::UnexpectedEof.into()));
    }
    while let Some(level) = unpacker.levels.pop() {
        unpacker.leave(level)?;
    }
    Ok(())
}

struct Unpacker<'a> {
    root: &'a Path,
    /// The folder that is being filled, below those that it is in. The first one is the root.
    levels: Vec<Level>,
    buffer: Vec<u8>,
}

/// A folder that is being filled. Its mode and time are set when that is over.
struct Level {
    folder: OwnedFd,
    path: Vec<u8>,
    mode: u32,
    modified: Timespec,
}

impl Level {
    fn new(folder: OwnedFd, entry: &Entry) -> Self {
        Self { folder, path: entry.path.clone(), mode: entry.mode, modified: entry.modified }
    }
}

impl Unpacker<'_> {
    fn make(&mut self, entry: &Entry, data: &mut impl Read, size: u64) -> Result<(), FileFault> {
        let (parent, name) = split(&entry.path);
        while self.levels.last().is_some_and(|level| level.path != parent) {
            // Its mode may take our own access away: nothing comes back to it.
            if let Some(level) = self.levels.pop() {
                self.leave(level)?;
            }
        }
        let failed = |error: io::Error| self.failed(&entry.path, &error);
        let Some(level) = self.levels.last() else {
            let path = shown(&entry.path).display();
            return Err(broken(bad(format!(
                "{path}, whose folder is not open: it is no folder, or does not come right before"
            ))));
        };
        let (folder, name) = (level.folder.as_fd(), c_string(name).map_err(failed)?);
        match &entry.what {
            What::Folder => {
                if self.levels.len() == DEPTH_MAX {
                    return Err(broken(bad(format!("folders more than {DEPTH_MAX} deep"))));
                }
                mkdirat(folder, &name, Mode::RWXU).map_err(|error| failed(error.into()))?;
                let made = open_folder(folder, &name).map_err(failed)?;
                self.levels.push(Level::new(made, entry));
            }
            What::File { sparse } => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file =
                    openat(folder, &name, flags, Mode::RUSR | Mode::WUSR).map_err(|error| failed(error.into()))?;
                let file = File::from(file);
                self.fill(&file, entry, *sparse, data, size)?;
                self.dress(file.as_fd(), &entry.path, entry.mode & FILE_BITS, entry.modified)?;
            }
            What::Symlink(target) => {
                let target = c_string(target).map_err(failed)?;
                let made = symlinkat(&target, folder, &name)
                    .and_then(|()| utimensat(folder, &name, &times(entry.modified), AtFlags::SYMLINK_NOFOLLOW));
                made.map_err(|error| failed(error.into()))?;
            }
            What::Link(target) => self.link(target, folder, &name).map_err(failed)?,
        }
        Ok(())
    }

    /// One more name of what is at `target` in this tree, which is not followed if it is a symbolic link itself.
    fn link(&self, target: &[u8], folder: BorrowedFd<'_>, name: &CString) -> io::Result<()> {
        let root = self.levels.first().ok_or(io::ErrorKind::NotFound)?;
        let (parent, last) = split(target);
        let mut at = root.folder.try_clone()?;
        for part in parent.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
            at = open_folder(at.as_fd(), &c_string(part)?)?;
        }
        Ok(linkat(&at, &c_string(last)?, folder, name, AtFlags::empty())?)
    }

    fn fill(
        &mut self,
        file: &File,
        entry: &Entry,
        sparse: Option<u64>,
        data: &mut impl Read,
        size: u64,
    ) -> Result<(), FileFault> {
        let (extents, before) = match sparse {
            Some(whole) => extent::read(data, whole).map_err(broken)?,
            None => (vec![Extent { offset: 0, length: size }], 0),
        };
        let length = extents.iter().fold(before, |sum, extent| sum.saturating_add(extent.length));
        if length != size {
            return Err(broken(bad(format!("{}, whose pieces do not add up", shown(&entry.path).display()))));
        }
        if let Some(whole) = sparse {
            file.set_len(whole).map_err(|error| self.failed(&entry.path, &error))?;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        for Extent { offset, length } in extents {
            let (mut at, end) = (offset, offset + length);
            while at < end {
                let most = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
                let length = match data.read(buffer.get_mut(..most).unwrap_or_default()) {
                    Ok(0) => return Err(broken(io::ErrorKind::UnexpectedEof.into())),
                    Ok(length) => length,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(broken(error)),
                };
                let written = file.write_all_at(buffer.get(..length).unwrap_or_default(), at);
                written.map_err(|error| self.failed(&entry.path, &error))?;
                at += length as u64;
            }
        }
        self.buffer = buffer;
        Ok(())
    }

    /// All is in it.
    fn leave(&self, level: Level) -> Result<(), FileFault> {
        self.dress(level.folder.as_fd(), &level.path, level.mode & FOLDER_BITS, level.modified)
    }

    fn dress(&self, made: BorrowedFd<'_>, path: &[u8], mode: u32, modified: Timespec) -> Result<(), FileFault> {
        let dressed = fchmod(made, Mode::from_raw_mode(mode)).and_then(|()| futimens(made, &times(modified)));
        dressed.map_err(|error| self.failed(path, &error.into()))
    }

    fn failed(&self, path: &[u8], error: &io::Error) -> FileFault {
        let path = if path.is_empty() { self.root.to_owned() } else { self.root.join(shown(path)) };
        FileFault::new("write to", &path, error)
    }
}

/// A stream, and whether it came to its end: a whole one says so itself before.
struct Ended<'a> {
    stream: &'a mut dyn Read,
    ended: bool,
}

impl Read for Ended<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.stream.read(buffer)?;
        self.ended |= length == 0 && !buffer.is_empty();
        Ok(length)
    }
}

fn open_folder(at: BorrowedFd<'_>, name: &CString) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(at, name, flags, Mode::empty())?)
}

/// The folder's path, and the name in it.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (path.get(..slash).unwrap_or_default(), path.get(slash + 1..).unwrap_or_default()),
        None => (&[], path),
    }
}

fn c_string(name: &[u8]) -> io::Result<CString> {
    Ok(CString::new(name)?)
}

fn times(modified: Timespec) -> Timestamps {
    Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, last_modification: modified }
}

fn broken(error: io::Error) -> FileFault {
    let why = match error.kind() {
        io::ErrorKind::UnexpectedEof => "it ends before its end".into(),
        _ => Cause(&error).to_string(),
    };
    FileFault::other(format!("the tree cannot be unpacked: {why}"))
}
