//! [`Files`] as the file system beneath the real [`FileDisk`](cairn_store::disk::FileDisk).

use std::any::Any;
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_store::digest::BLOCK_BYTES;
use cairn_store::disk::{FileSystem, Names, NewFile, ReadAt, Space};

use super::fault::Faults;
use crate::files::{File, Files};

/// The file system of one machine. Clones are the same one.
#[derive(Clone)]
pub(super) struct MemFileSystem(Arc<Inner>);

struct Inner {
    machine: String,
    root: PathBuf,
    state: Mutex<State>,
}

/// What lies here, and what is to fail.
pub(super) struct State {
    pub(super) files: Files,
    pub(super) faults: Faults,
}

impl fmt::Debug for MemFileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemFileSystem").field(&self.0.machine).finish()
    }
}

impl MemFileSystem {
    pub(super) fn new(machine: &str, capacity: u64) -> Self {
        let state = State { files: Files::new(capacity), faults: Faults::default() };
        let root = Path::new("/sim").join(machine);
        Self(Arc::new(Inner { machine: machine.to_owned(), root, state: Mutex::new(state) }))
    }

    /// The node's folder.
    pub(super) fn root(&self) -> &Path {
        &self.0.root
    }

    /// A path as [`Files`] has it.
    pub(super) fn inside<'a>(&self, path: &'a Path) -> io::Result<&'a str> {
        let path = path.strip_prefix(&self.0.root).map_err(|_| ErrorKind::NotFound)?;
        path.to_str().ok_or_else(|| ErrorKind::InvalidInput.into())
    }

    /// For the world, which no fault stops.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For what changes nothing.
    fn look(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state();
        state.faults.look()?;
        Ok(state)
    }

    /// For one step that changes something.
    fn step(&self, what: &str, path: &str) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        let stepped = state.faults.step();
        // Bytes come in many pieces, and say nothing new.
        if what != "append" || stepped.is_err() {
            tracing::trace!(target: "cairn_sim::disk", machine = self.0.machine, what, path, failed = stepped.is_err());
        }
        stepped.map(|()| state)
    }

    fn make(&self, what: &str, path: &Path, size: u64) -> io::Result<MemWriter> {
        let path = self.inside(path)?;
        let file = self.step(what, path)?.files.create(path, size)?;
        Ok(MemWriter { system: self.clone(), path: path.to_owned(), file })
    }

    /// The file behind `source`, if it is one of these.
    fn own<'a>(&self, source: &'a dyn ReadAt) -> Option<&'a OpenFile> {
        let source: &dyn Any = source;
        source.downcast_ref::<OpenFile>().filter(|opened| Arc::ptr_eq(&opened.system.0, &self.0))
    }
}

impl FileSystem for MemFileSystem {
    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.look()?.files.exists(self.inside(path)?))
    }

    fn list(&self, folder: &Path) -> io::Result<Names> {
        let names = self.look()?.files.list(self.inside(folder)?);
        Ok(Box::new(names.into_iter().map(|name| Ok(name.into()))))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadAt>> {
        let file = self.look()?.files.open(self.inside(path)?)?;
        Ok(Box::new(OpenFile { system: self.clone(), size: file.len(), file }))
    }

    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        let file = self.look()?.files.open(self.inside(path)?)?;
        let most = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        Ok(file.with(|bytes| bytes.get(..most).unwrap_or(bytes).to_vec()))
    }

    fn stream(&self, path: &Path) -> io::Result<Box<dyn io::Read + Send>> {
        Ok(Box::new(io::Cursor::new(self.read(path, u64::MAX)?)))
    }

    fn create(&self, path: &Path, size: u64) -> io::Result<Box<dyn NewFile>> {
        Ok(Box::new(self.make("create", path, size)?))
    }

    fn draft(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        Ok(Box::new(self.make("draft", path, 0)?))
    }

    fn share(&self, source: &dyn ReadAt, path: &Path) -> io::Result<Option<Box<dyn NewFile>>> {
        if let Some(opened) = self.own(source) {
            let path = self.inside(path)?;
            self.step("link", path)?.files.link(path, &opened.file)?;
            return Ok(None);
        }
        let mut new = self.make("copy", path, source.size())?;
        let mut at = 0;
        while at < source.size() {
            let count = usize::try_from(source.size() - at).unwrap_or(usize::MAX).min(BLOCK_BYTES);
            let mut block = vec![0; count];
            source.read_exact_at(&mut block, at)?;
            new.append(&block)?;
            at += count as u64;
        }
        Ok(Some(Box::new(new)))
    }

    fn sync(&self, opened: &dyn ReadAt) -> io::Result<()> {
        let Some(opened) = self.own(opened) else { return Ok(()) };
        let _state = self.step("sync", "an opened file")?;
        opened.file.sync();
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (self.inside(from)?, self.inside(to)?);
        self.step("rename", to)?.files.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let path = self.inside(path)?;
        // Looking for what is not there changes nothing.
        if !self.look()?.files.exists(path) {
            return Err(ErrorKind::NotFound.into());
        }
        self.step("remove", path)?.files.remove(path);
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let folder = self.inside(folder)?;
        self.step("sync folder", folder)?.files.sync_folder(folder);
        Ok(())
    }

    fn space(&self, _folder: &Path) -> io::Result<Space> {
        let state = self.look()?;
        Ok(Space { total: state.files.capacity(), free: state.files.free() })
    }
}

/// A file being written.
struct MemWriter {
    system: MemFileSystem,
    path: String,
    file: File,
}

impl NewFile for MemWriter {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.system.step("append", &self.path)?.files.append(&self.file, bytes)
    }

    fn sync(self: Box<Self>) -> io::Result<()> {
        let _state = self.system.step("sync", &self.path)?;
        self.file.sync();
        Ok(())
    }
}

/// A file that was opened once. The name may go; the bytes stay as long as this is held.
struct OpenFile {
    system: MemFileSystem,
    file: File,
    /// When it was opened. Files only grow, so it tells whether one was changed.
    size: u64,
}

impl ReadAt for OpenFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let _state = self.system.look()?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        self.file.with(|bytes| {
            let found = bytes.get(from..from.saturating_add(buffer.len())).ok_or(ErrorKind::UnexpectedEof)?;
            buffer.copy_from_slice(found);
            Ok(())
        })
    }

    fn unchanged(&self) -> io::Result<bool> {
        let _state = self.system.look()?;
        Ok(self.file.len() == self.size)
    }

    fn file(&self) -> Option<&std::fs::File> {
        None
    }
}

/// The folder of a path.
pub(super) fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}
