//! One entry of a stream: every part of it is checked, and none needs more memory than its bound.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cairn_store::segment::SIZE_MAX;
use rustix::fs::Timespec;
use tar::{EntryType, Header, PaxExtensions};

use super::{PATH_BYTES_MAX, PAX_BYTES_MAX, PAX_MTIME, PAX_SPARSE_MAJOR, PAX_SPARSE_MINOR, PAX_SPARSE_SIZE, time};

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Folder,
    /// A file; with its size, if it is sparse.
    File {
        sparse: Option<u64>,
    },
    /// A link to whatever the bytes say.
    Symlink(Vec<u8>),
    /// One more name of an entry that came before.
    Link(Vec<u8>),
}

/// An entry, without its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// From the tree's root; empty: the root itself.
    pub(super) path: Vec<u8>,
    pub(super) what: What,
    pub(super) mode: u32,
    pub(super) modified: Timespec,
}

/// What earlier entries say of the next one.
#[derive(Debug, Default)]
pub(super) struct Extras {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    modified: Option<Timespec>,
    sparse: Sparse,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Sparse {
    version: (Option<u64>, Option<u64>),
    size: Option<u64>,
}

impl Extras {
    /// Keeps what the entry says of the next one; or, if it stands for itself, gives it.
    pub(super) fn take(&mut self, header: &Header, data: &mut impl Read) -> io::Result<Option<Entry>> {
        match header.entry_type() {
            EntryType::GNULongName => keep(&mut self.path, long_name(data)?)?,
            EntryType::GNULongLink => keep(&mut self.target, long_name(data)?)?,
            EntryType::XHeader => self.records(&bounded(data, PAX_BYTES_MAX)?)?,
            _ => return std::mem::take(self).entry(header).map(Some),
        }
        Ok(None)
    }

    /// Whether nothing waits for an entry that is still to come.
    pub(super) fn is_empty(&self) -> bool {
        let Self { path, target, modified, sparse } = self;
        path.is_none() && target.is_none() && modified.is_none() && *sparse == Sparse::default()
    }

    fn records(&mut self, bytes: &[u8]) -> io::Result<()> {
        for record in PaxExtensions::new(bytes) {
            let record = record?;
            let (key, value) = (record.key().map_err(io::Error::other)?, record.value().map_err(io::Error::other)?);
            let number = || value.parse().map_err(|_| bad(format!("{key} is not a number")));
            match key {
                PAX_MTIME => {
                    self.modified = Some(time::parse(value).ok_or_else(|| bad(format!("{key} is not a time")))?)
                }
                PAX_SPARSE_MAJOR => self.sparse.version.0 = Some(number()?),
                PAX_SPARSE_MINOR => self.sparse.version.1 = Some(number()?),
                PAX_SPARSE_SIZE => self.sparse.size = Some(number()?),
                // Whatever else is said could change what the entry means.
                _ => return Err(bad(format!("a record {key:?}, which is not known"))),
            }
        }
        Ok(())
    }

    fn entry(self, header: &Header) -> io::Result<Entry> {
        let (named, linked) = (header.path_bytes(), header.link_name_bytes().unwrap_or_default());
        let path = self.path.unwrap_or_else(|| named.into_owned());
        let target = self.target.unwrap_or_else(|| linked.into_owned());
        let shown = OsStr::from_bytes(&path).display().to_string();
        let folder = header.entry_type() == EntryType::Directory;
        let path =
            clean(&path, folder).ok_or_else(|| bad(format!("the path {shown:?}, which may lead elsewhere")))?;
        let what = match header.entry_type() {
            EntryType::Directory => What::Folder,
            EntryType::Regular => What::File { sparse: self.sparse.size_of_file()? },
            EntryType::Symlink if !target.is_empty() && !target.contains(&0) => What::Symlink(target),
            EntryType::Link => {
                let to = OsStr::from_bytes(&target).display().to_string();
                let target = clean(&target, false).filter(|target| !target.is_empty());
                What::Link(target.ok_or_else(|| bad(format!("a link to {to:?}, which may lead elsewhere")))?)
            }
            EntryType::Symlink => return Err(bad(format!("{shown}, a link to nothing"))),
            EntryType::Fifo => return Err(bad(format!("{shown}, a pipe"))),
            EntryType::Char | EntryType::Block => return Err(bad(format!("{shown}, a device"))),
            _ => return Err(bad(format!("{shown}, of a kind that is not known"))),
        };
        if path.is_empty() && !folder {
            return Err(bad("a root that is not a folder"));
        }
        let seconds = i64::try_from(header.mtime()?).map_err(|_| bad(format!("{shown}, with no possible time")))?;
        let modified = self.modified.unwrap_or(Timespec { tv_sec: seconds, tv_nsec: 0 });
        Ok(Entry { path, what, mode: header.mode()? & 0o7777, modified })
    }
}

impl Sparse {
    fn size_of_file(self) -> io::Result<Option<u64>> {
        match self {
            Self { version: (None, None), size: None } => Ok(None),
            Self { version: (Some(1), Some(0)), size: Some(size) } if size <= SIZE_MAX => Ok(Some(size)),
            _ => Err(bad("a sparse file in a format that is not known")),
        }
    }
}

/// A path that leads nowhere but down, without a slash at its end; empty for the root.
fn clean(path: &[u8], folder: bool) -> Option<Vec<u8>> {
    if folder && path == b"./" {
        return Some(Vec::new());
    }
    let path = if folder { path.strip_suffix(b"/").unwrap_or(path) } else { path };
    let down = |name: &[u8]| !name.is_empty() && name != b"." && name != b".." && !name.contains(&0);
    path.split(|byte| *byte == b'/').all(down).then(|| path.to_vec())
}

fn keep(place: &mut Option<Vec<u8>>, name: Vec<u8>) -> io::Result<()> {
    match place.replace(name) {
        None => Ok(()),
        Some(_) => Err(bad("two names for one entry")),
    }
}

/// A name, up to the zero that may end it.
fn long_name(data: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut name = bounded(data, PATH_BYTES_MAX)?;
    if name.last() == Some(&0) {
        name.pop();
    }
    Ok(name)
}

fn bounded(data: &mut impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    data.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(bad(format!("a name or a record of more than {most} bytes")));
    }
    Ok(bytes)
}

/// What an entry must not be.
pub(super) fn bad(what: impl AsRef<str>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("it holds {}", what.as_ref()))
}

/// For messages.
pub(super) fn shown(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}
