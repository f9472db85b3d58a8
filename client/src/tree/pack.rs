//! A folder as a stream: depth first, in the order of the names, so that the same tree gives the same bytes.

use std::collections::HashMap;
use std::ffi::{CString, OsStr};
use std::fs::{File, Metadata};
use std::io::{self, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, Timespec, openat, readlinkat, statat};
use tar::{Builder, EntryType, Header};

use super::extent::{self, Extent};
use super::{DEPTH_MAX, PAX_MTIME, PAX_SPARSE_MAJOR, PAX_SPARSE_MINOR, PAX_SPARSE_SIZE, padding, time};
use crate::fault::{Fault, FileFault};
use crate::source::{BUFFER_BYTES, Report};

/// What a header's own field for a name holds, in bytes.
const FIELD_BYTES: usize = 100;
/// The unit in which a file's disk space is counted, in bytes.
const SPACE_BYTES: u64 = 512;

/// Writes the folder `root` to `target`. Fails if anything in it changes meanwhile.
pub fn pack(root: &Path, target: &File, target_path: &Path, report: &mut Report<'_>) -> Result<(), Fault> {
    let stream = Builder::new(BufWriter::with_capacity(BUFFER_BYTES, target));
    let mut packer = Packer {
        root,
        target: target_path,
        stream,
        report,
        done: 0,
        links: HashMap::new(),
        buffer: vec![0; BUFFER_BYTES],
    };
    packer.walk()?;
    let flushed = packer.stream.into_inner().and_then(|mut stream| stream.flush());
    flushed.map_err(|error| FileFault::new("write to", target_path, &error).into())
}

struct Packer<'a, 'r> {
    root: &'a Path,
    target: &'a Path,
    stream: Builder<BufWriter<&'a File>>,
    report: &'a mut Report<'r>,
    /// Bytes of files so far.
    done: u64,
    /// Where the first name of an inode was, and how many more names it has.
    links: HashMap<(u64, u64), (Vec<u8>, u64)>,
    buffer: Vec<u8>,
}

/// A folder on the way, and what in it is still to come.
struct Level {
    folder: File,
    was: Metadata,
    path: Vec<u8>,
    names: std::vec::IntoIter<CString>,
}

impl Packer<'_, '_> {
    fn walk(&mut self) -> Result<(), Fault> {
        // A link may lead to the root, as to a file that is saved; inside none is followed.
        let folder = openat(CWD, self.root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let mut levels = vec![self.enter(folder, Vec::new())?];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.next() else {
                self.same(&level.folder, &level.was, &level.path)?;
                levels.pop();
                continue;
            };
            let mut path = level.path.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name.as_bytes());
            if let Some(folder) = self.entry(&level.folder, &name, &path)? {
                if levels.len() == DEPTH_MAX {
                    let message = format!("{} lies more than {DEPTH_MAX} folders deep", self.shown(&path).display());
                    return Err(Fault::invalid(message, "save a folder further down, or a tar file of it"));
                }
                levels.push(self.enter(Ok(folder), path)?);
            }
        }
        Ok(())
    }

    fn enter(&mut self, folder: rustix::io::Result<OwnedFd>, path: Vec<u8>) -> Result<Level, Fault> {
        let folder = File::from(folder.map_err(|error| self.failed("read", &path, error))?);
        let was = folder.metadata().map_err(|error| self.failed("read", &path, error))?;
        let listed = || {
            let mut names = Vec::new();
            for entry in Dir::read_from(&folder)? {
                let name = entry?.file_name().to_owned();
                if !matches!(name.as_bytes(), b"." | b"..") {
                    names.push(name);
                }
            }
            names.sort_unstable();
            Ok(names)
        };
        let names: Vec<_> = listed().map_err(|error: rustix::io::Errno| self.failed("read", &path, error))?;
        let mut named = if path.is_empty() { b".".to_vec() } else { path.clone() };
        named.push(b'/');
        self.header(EntryType::Directory, &named, &Facts::of(&was), 0, b"", &[])?;
        Ok(Level { folder, was, path, names: names.into_iter() })
    }

    /// Writes what is not a folder; a folder is given back, open.
    fn entry(&mut self, folder: &File, name: &CString, path: &[u8]) -> Result<Option<OwnedFd>, Fault> {
        let stat =
            statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|error| self.failed("read", path, error))?;
        let what = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let opened = openat(folder, name, flags, Mode::empty());
                return Ok(Some(opened.map_err(|error| self.failed("read", path, error))?));
            }
            FileType::RegularFile => {
                if !self.link(&stat, path)? {
                    self.file(folder, name, path)?;
                }
                return Ok(None);
            }
            FileType::Symlink => {
                if !self.link(&stat, path)? {
                    let to =
                        readlinkat(folder, name, Vec::new()).map_err(|error| self.failed("read", path, error))?;
                    self.header(EntryType::Symlink, path, &Facts::of_stat(&stat), 0, to.as_bytes(), &[])?;
                }
                return Ok(None);
            }
            FileType::Fifo => "a pipe",
            FileType::Socket => "a socket",
            _ => "a device",
        };
        let message = format!("{} is {what}: only folders, files and links can be saved", self.shown(path).display());
        Err(Fault::invalid(message, "remove it, or save a folder without it"))
    }

    /// Whether the inode came before under another name: then this one is a link to that.
    fn link(&mut self, stat: &Stat, path: &[u8]) -> Result<bool, Fault> {
        #[allow(clippy::useless_conversion, reason = "the field differs from one architecture to the next")]
        let more = u64::from(stat.st_nlink).saturating_sub(1);
        if more == 0 {
            return Ok(false);
        }
        let inode = (stat.st_dev, stat.st_ino);
        let Some((first, left)) = self.links.get_mut(&inode) else {
            self.links.insert(inode, (path.to_vec(), more));
            return Ok(false);
        };
        let first = first.clone();
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.links.remove(&inode);
        }
        self.header(EntryType::Link, path, &Facts::of_stat(stat), 0, &first, &[])?;
        Ok(true)
    }

    fn file(&mut self, folder: &File, name: &CString, path: &[u8]) -> Result<(), Fault> {
        // Should something else have taken its place, it must neither lead elsewhere nor make us wait.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(folder, name, flags, Mode::empty()).map_err(|error| self.failed("read", path, error))?;
        let file = File::from(file);
        let was = file.metadata().map_err(|error| self.failed("read", path, error))?;
        if !was.is_file() {
            return Err(self.changed(path).into());
        }
        let (size, facts) = (was.len(), Facts::of(&was));
        let mut extents = vec![Extent { offset: 0, length: size }];
        let mut map = Vec::new();
        if was.blocks().saturating_mul(SPACE_BYTES) < size {
            extents = extent::find(&file, size).map_err(|error| self.failed("read", path, error))?;
            // Data from end to end is a plain file, whatever the disk made of it.
            if !matches!(extents.as_slice(), [all] if all.length == size) {
                map = extent::write(&extents);
            }
        }
        let length = map.len() as u64 + extents.iter().map(|extent| extent.length).sum::<u64>();
        let whole = size.to_string();
        let sparse = [(PAX_SPARSE_MAJOR, "1"), (PAX_SPARSE_MINOR, "0"), (PAX_SPARSE_SIZE, &whole)];
        let records = if map.is_empty() { &[][..] } else { &sparse[..] };
        self.header(EntryType::Regular, path, &facts, length, b"", records)?;
        self.write(&map)?;
        for extent in extents {
            self.data(&file, extent, path)?;
        }
        self.write(&vec![0; usize::try_from(padding(length)).unwrap_or(0)])?;
        self.same(&file, &was, path)
    }

    fn data(&mut self, file: &File, extent: Extent, path: &[u8]) -> Result<(), Fault> {
        let (mut at, end) = (extent.offset, extent.offset + extent.length);
        let mut buffer = std::mem::take(&mut self.buffer);
        while at < end {
            let most = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
            let length = match file.read_at(buffer.get_mut(..most).unwrap_or_default(), at) {
                Ok(0) => return Err(self.changed(path).into()),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.failed("read", path, error).into()),
            };
            self.write(buffer.get(..length).unwrap_or_default())?;
            at += length as u64;
            self.done += length as u64;
            (self.report)(self.done).map_err(|error| self.failed("read", path, error))?;
        }
        self.buffer = buffer;
        Ok(())
    }

    fn header(
        &mut self,
        kind: EntryType,
        path: &[u8],
        facts: &Facts,
        length: u64,
        target: &[u8],
        records: &[(&str, &str)],
    ) -> Result<(), Fault> {
        (self.report)(self.done).map_err(|error| self.failed("read", path, error))?;
        // GNU tar looks for a map of this format only behind a header of POSIX.
        let mut header = if records.is_empty() { Header::new_gnu() } else { Header::new_ustar() };
        header.set_entry_type(kind);
        header.set_mode(facts.mode & 0o7777);
        header.set_uid(facts.user);
        header.set_gid(facts.group);
        header.set_size(length);
        header.set_mtime(u64::try_from(facts.modified.tv_sec).unwrap_or(0));
        let exact = time::text(facts.modified);
        let mut all = records.to_vec();
        if facts.modified.tv_sec < 0 || facts.modified.tv_nsec != 0 {
            all.push((PAX_MTIME, &exact));
        }
        let mut write = |stream: &mut Builder<BufWriter<&File>>| {
            stream.append_pax_extensions(all.iter().map(|(key, value)| (*key, value.as_bytes())))?;
            long_name(stream, EntryType::GNULongName, path)?;
            long_name(stream, EntryType::GNULongLink, target)?;
            let fields = header.as_old_mut();
            fill(&mut fields.name, path);
            fill(&mut fields.linkname, target);
            header.set_cksum();
            stream.append(&header, io::empty())
        };
        write(&mut self.stream).map_err(|error| FileFault::new("write to", self.target, &error).into())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let written = self.stream.get_mut().write_all(bytes);
        written.map_err(|error| FileFault::new("write to", self.target, &error).into())
    }

    /// Sees to it that what is open is what it was.
    fn same(&self, file: &File, was: &Metadata, path: &[u8]) -> Result<(), Fault> {
        let stamp = |seen: &Metadata| (seen.len(), seen.mtime(), seen.mtime_nsec());
        let now = file.metadata().map_err(|error| self.failed("read", path, error))?;
        if stamp(&now) == stamp(was) { Ok(()) } else { Err(self.changed(path).into()) }
    }

    fn changed(&self, path: &[u8]) -> FileFault {
        let message = format!("{} changed while it was read", self.shown(path).display());
        FileFault::other(message).hint("save it when nothing writes to it")
    }

    fn failed(&self, doing: &str, path: &[u8], error: impl Into<io::Error>) -> FileFault {
        FileFault::new(doing, &self.shown(path), &error.into())
    }

    /// For messages.
    fn shown(&self, path: &[u8]) -> PathBuf {
        if path.is_empty() { self.root.to_owned() } else { self.root.join(OsStr::from_bytes(path)) }
    }
}

/// What a header says of an inode.
struct Facts {
    mode: u32,
    user: u64,
    group: u64,
    modified: Timespec,
}

impl Facts {
    fn of(seen: &Metadata) -> Self {
        let modified = Timespec { tv_sec: seen.mtime(), tv_nsec: seen.mtime_nsec() };
        Self { mode: seen.mode(), user: seen.uid().into(), group: seen.gid().into(), modified }
    }

    #[allow(clippy::useless_conversion, reason = "the fields differ from one architecture to the next")]
    fn of_stat(seen: &Stat) -> Self {
        let nanos = i64::try_from(seen.st_mtime_nsec).unwrap_or(0);
        let modified = Timespec { tv_sec: seen.st_mtime.into(), tv_nsec: nanos };
        Self { mode: seen.st_mode, user: seen.st_uid.into(), group: seen.st_gid.into(), modified }
    }
}

/// A name that does not fit into the header stands before it.
fn long_name(stream: &mut Builder<BufWriter<&File>>, kind: EntryType, name: &[u8]) -> io::Result<()> {
    if name.len() < FIELD_BYTES {
        return Ok(());
    }
    let mut header = Header::new_gnu();
    fill(&mut header.as_old_mut().name, b"././@LongLink");
    header.set_entry_type(kind);
    header.set_size(name.len() as u64 + 1);
    header.set_cksum();
    stream.append(&header, &*[name, b"\0"].concat())
}

fn fill(field: &mut [u8; FIELD_BYTES], name: &[u8]) {
    field.fill(0);
    field.iter_mut().zip(name).take(FIELD_BYTES - 1).for_each(|(place, byte)| *place = *byte);
}
