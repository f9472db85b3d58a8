//! Where everything lies under a node's folder, and what the folder says of itself.
//!
//! Besides the files that the module's root lists there are `lock` (held by the running daemon) and the folders `log/`
//! and `catalogue/`, which belong to others and are made here because one place makes and fsyncs all folders.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use super::real::RealFileSystem;
use super::system::{FileSystem, NewFile};
use super::{Disk, ReadAt, SegmentWriter, Space, Toc, plain, read, scan, write};
#[cfg(all(feature = "crash-points", debug_assertions))]
use crate::crash::of_file;
use crate::crash_point;
use crate::id::{CopyId, Incarnation};

/// The file of the spool that holds the node's incarnation as text, without a line end.
///
/// A client on the same machine compares it with what the node says, and so knows that this spool is the node's.
pub const SPOOL_MARK: &str = ".node";

/// What a file of plain bytes ends in.
pub(super) const SEG: &str = "seg";
/// What a published `.toc` ends in.
pub(super) const TOC: &str = "toc";
/// What a `.toc` being written ends in.
pub(super) const DRAFT: &str = "toc.tmp";

/// What former clusters' nodes left here.
pub const FORMER: &str = "former";

/// The mark of a log that was begun.
pub(super) const LOG_MARK: &str = "log-begun";
/// The mark of a node that was removed from its cluster.
pub(super) const REMOVED_MARK: &str = "removed";

const FOLDERS: [&str; 6] = ["catalogue", "log", "quarantine", "segments", "snapshots", "spool"];

/// One node's folder: on the real file system, unless it is told another.
#[derive(Debug)]
pub struct FileDisk {
    dir: PathBuf,
    pub(super) files: Arc<dyn FileSystem>,
    /// Numbers the drafts of `.toc` files: two at once of one copy must not share a file.
    drafts: AtomicU64,
}

impl FileDisk {
    /// Makes the folders, durably, and marks the spool with `mark`. What exists already is kept.
    pub fn create(dir: &Path, mark: Incarnation) -> io::Result<Self> {
        let disk = Self::new(dir);
        disk.make_root(dir)?;
        disk.folders().try_for_each(|folder| make_folder(&folder))?;
        // Made first and synced afterwards: the first fsync commits the work of all.
        disk.folders().try_for_each(|folder| disk.sync_folder(&folder))?;
        disk.sync_folder(dir)?;
        // The spool is open to applications: what stands in place of the mark is replaced without being opened.
        let path = disk.spool().join(SPOOL_MARK);
        let text = mark.to_string();
        disk.replace(&path, &path.with_extension("tmp"), |file| file.append(text.as_bytes()))?;
        Ok(disk)
    }

    /// Opens a folder that [`FileDisk::create`] made; `NotFound` if any part of it is missing, `InvalidInput` if
    /// something else stands in place of a file.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let disk = Self::new(dir);
        for folder in disk.folders() {
            match fs::metadata(&folder) {
                Ok(found) if found.is_dir() => {}
                Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                    return Err(at(&folder)(error));
                }
                _ => {
                    let text =
                        format!("{}: not a node's folder, or half made: this part is missing", folder.display());
                    return Err(io::Error::new(ErrorKind::NotFound, text));
                }
            }
        }
        plain::check(dir)?;
        Ok(disk)
    }

    /// A folder that is taken as it is, for a check that tells what is wrong with it.
    pub fn unchecked(dir: &Path) -> Self {
        Self::new(dir)
    }

    /// A node's folder on another file system, which has all folders already.
    pub fn over(files: Arc<dyn FileSystem>, dir: &Path) -> Self {
        Self { dir: dir.to_path_buf(), files, drafts: AtomicU64::new(0) }
    }

    /// The node's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Keeps other daemons out of the folder while the returned file is held; `WouldBlock` if one is in it.
    pub fn lock(&self) -> io::Result<File> {
        let path = self.lock_file();
        held(plain::open_or_create(&path)?, &path)
    }

    /// The same for whoever changes nothing. Where nothing can be written a missing lock is not made, and nobody can run:
    /// none then.
    pub fn lock_to_read(&self) -> io::Result<Option<File>> {
        match self.lock() {
            Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => {}
            locked => return locked.map(Some),
        }
        let path = self.lock_file();
        match plain::open(&path, OFlags::RDONLY) {
            Ok(file) => held(file, &path).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn lock_file(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// The text of `node.toml`, if the node has an identity.
    pub fn read_identity(&self) -> io::Result<Option<String>> {
        let path = self.identity();
        match self.read_text(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    /// Writes `node.toml`, durably. An identity is for ever: `AlreadyExists` if there is another one.
    pub fn write_identity(&self, text: &str) -> io::Result<()> {
        let path = self.identity();
        match self.read_identity()? {
            None => self.replace(&path, &path.with_extension("tmp"), |file| file.append(text.as_bytes())),
            // The attempt that wrote it may have ended before the folder was durable.
            Some(old) if old == text => self.sync_folder(&self.dir),
            Some(_) => {
                let text = format!("{}: the folder has another identity already", path.display());
                Err(io::Error::new(ErrorKind::AlreadyExists, text))
            }
        }
    }

    /// The text of a small file of the folder.
    fn read_text(&self, path: &Path) -> io::Result<String> {
        self.files.read(path, plain::TEXT_BYTES_MAX + 1).and_then(plain::text).map_err(at(path))
    }

    /// Whether there is anything under a name.
    pub(super) fn exists(&self, path: &Path) -> io::Result<bool> {
        self.files.exists(path).map_err(at(path))
    }

    /// Removes a file; tells whether there was one.
    pub(super) fn remove(&self, path: &Path) -> io::Result<bool> {
        match self.files.remove(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(at(path)(error)),
        }
    }

    /// Makes the names in a folder durable.
    pub(super) fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.files.sync_folder(path).map_err(at(path))
    }

    /// Puts a file in place of `path`, whole and durable or not at all. The draft lies in the same folder.
    pub(super) fn replace(
        &self,
        path: &Path,
        draft: &Path,
        fill: impl FnOnce(&mut dyn NewFile) -> io::Result<()>,
    ) -> io::Result<()> {
        self.remove(draft)?;
        crash_point!(&of_file(path, "draft"));
        let filled = self.files.draft(draft).and_then(|mut file| {
            fill(file.as_mut())?;
            crash_point!(&of_file(path, "filled"));
            file.sync()
        });
        crash_point!(&of_file(path, "synced"));
        if let Err(error) = filled.and_then(|()| self.files.rename(draft, path)) {
            // On a full disk the draft must not keep its space; if it stays, the next start removes it.
            let _ = self.remove(draft);
            return Err(at(path)(error));
        }
        crash_point!(&of_file(path, "renamed"));
        self.sync_folder(parent(path))?;
        crash_point!(&of_file(path, "durable"));
        Ok(())
    }

    /// Makes the node's folder and what is missing above it, durably.
    fn make_root(&self, dir: &Path) -> io::Result<()> {
        let above = parent(dir);
        match fs::create_dir(dir) {
            Ok(()) => self.sync_folder(above),
            Err(error) if error.kind() == ErrorKind::NotFound && above != dir => {
                self.make_root(above)?;
                make_folder(dir)?;
                self.sync_folder(above)
            }
            // An earlier attempt may have ended before the fsync. A folder made for us by others may lie in one that we
            // cannot read.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => match self.sync_folder(above) {
                Err(error) if error.kind() != ErrorKind::PermissionDenied => Err(error),
                _ => Ok(()),
            },
            Err(error) => Err(at(dir)(error)),
        }
    }

    /// Where it is marked whose Raft log was begun.
    pub fn log_mark(&self) -> PathBuf {
        self.dir.join(LOG_MARK)
    }

    /// Where it is marked that the node was removed from its cluster.
    pub fn removed_mark(&self) -> PathBuf {
        self.dir.join(REMOVED_MARK)
    }

    /// A file that names a life. Durable on return.
    fn mark(&self, path: &Path, life: Incarnation) -> io::Result<()> {
        self.replace(path, &path.with_extension("tmp"), |file| file.append(format!("{life}\n").as_bytes()))
    }

    fn new(dir: &Path) -> Self {
        Self::over(Arc::new(RealFileSystem), dir)
    }

    fn identity(&self) -> PathBuf {
        self.dir.join("node.toml")
    }

    fn folders(&self) -> impl Iterator<Item = PathBuf> {
        FOLDERS.iter().map(|name| self.dir.join(name)).chain(self.shards())
    }

    /// The folders of copies.
    pub(super) fn shards(&self) -> impl Iterator<Item = PathBuf> {
        (0..=u8::MAX).map(|number| self.numbered_shard(number))
    }

    /// The folder of one copy: by the id's last byte, because the first ones are the time.
    pub(super) fn shard(&self, copy: CopyId) -> PathBuf {
        let [.., last] = *copy.0.as_bytes();
        self.numbered_shard(last)
    }

    fn numbered_shard(&self, number: u8) -> PathBuf {
        self.dir.join("segments").join(format!("{number:02x}"))
    }

    pub(super) fn seg(&self, copy: CopyId) -> PathBuf {
        self.shard(copy).join(format!("{copy}.{SEG}"))
    }

    /// Where the `.toc` of a copy lies.
    pub fn toc(&self, copy: CopyId) -> PathBuf {
        self.shard(copy).join(format!("{copy}.{TOC}"))
    }

    /// A new name for a `.toc` being written.
    pub(super) fn draft(&self, copy: CopyId) -> PathBuf {
        let number = self.drafts.fetch_add(1, Ordering::Relaxed);
        self.shard(copy).join(format!("{copy}.{number}.{DRAFT}"))
    }

    /// Where copies that failed verification lie.
    pub fn quarantine_folder(&self) -> PathBuf {
        self.dir.join("quarantine")
    }

    /// Where a part of a copy lies in quarantine.
    pub(super) fn in_quarantine(&self, copy: CopyId, part: &str) -> PathBuf {
        self.quarantine_folder().join(format!("{copy}.{part}"))
    }

    /// Where the snapshot of the replicated state lies.
    pub fn snapshot(&self) -> PathBuf {
        self.dir.join("snapshots").join("state")
    }
}

impl Disk for FileDisk {
    fn spool(&self) -> PathBuf {
        self.dir.join("spool")
    }

    fn open_spool(&self, file: &str) -> io::Result<Box<dyn ReadAt>> {
        read::open_spool(self, file)
    }

    /// Where hard links work, `.seg` and the spool file are one inode: whoever keeps the file open for writing can
    /// still change it. That is found, because every read of a copy is verified.
    fn adopt(&self, file: &str, source: &dyn ReadAt, copy: CopyId) -> io::Result<()> {
        read::check_plain(file)?;
        write::adopt(self, source, copy)
    }

    fn expose(&self, copy: CopyId, file: &str) -> io::Result<PathBuf> {
        write::expose(self, copy, file)
    }

    fn create(&self, copy: CopyId, size: u64) -> io::Result<Box<dyn SegmentWriter>> {
        Ok(Box::new(write::create(self, copy, size)?))
    }

    /// Two at once of one copy are safe, but which one stays is open: a caller that raises `until` takes turns.
    fn publish(&self, toc: &Toc) -> io::Result<()> {
        write::publish(self, toc)
    }

    fn discard(&self, copy: CopyId) -> io::Result<()> {
        write::discard(self, copy)
    }

    fn open(&self, copy: CopyId) -> io::Result<Box<dyn ReadAt>> {
        read::open(self, &self.seg(copy))
    }

    fn path(&self, copy: CopyId) -> PathBuf {
        self.seg(copy)
    }

    fn read_toc(&self, copy: CopyId) -> io::Result<Toc> {
        read::read_toc(self, copy)
    }

    fn unlink(&self, copy: CopyId) -> io::Result<()> {
        write::unlink(self, copy)
    }

    fn quarantine(&self, copy: CopyId) -> io::Result<()> {
        scan::quarantine(self, copy)
    }

    fn quarantined(&self) -> io::Result<BTreeSet<CopyId>> {
        scan::quarantined(self)
    }

    fn has_former(&self) -> io::Result<bool> {
        self.exists(&self.dir.join(FORMER))
    }

    fn forget(&self, copy: CopyId) -> io::Result<()> {
        [SEG, TOC].iter().try_for_each(|part| self.remove(&self.in_quarantine(copy, part)).map(drop))
    }

    fn scan(&self) -> io::Result<Vec<Toc>> {
        scan::scan(self)
    }

    fn space(&self) -> io::Result<Space> {
        self.files.space(&self.dir).map_err(at(&self.dir))
    }

    fn write_snapshot(&self, records: &mut dyn Iterator<Item = Vec<u8>>) -> io::Result<()> {
        write::write_snapshot(self, &self.snapshot(), records)
    }

    fn read_snapshot(&self) -> io::Result<Option<Box<dyn io::Read + Send>>> {
        read::read_snapshot(self, &self.snapshot())
    }

    fn log_was_begun(&self, life: Incarnation) -> io::Result<bool> {
        match self.read_text(&self.log_mark()) {
            // Only that of another life, which an emptied folder may still have, says nothing.
            Ok(text) => Ok(!text.trim().parse::<Incarnation>().is_ok_and(|of| of != life)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) if error.kind() == ErrorKind::InvalidData => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn mark_log_begun(&self, life: Incarnation) -> io::Result<()> {
        self.mark(&self.log_mark(), life)
    }

    fn was_removed(&self, life: Incarnation) -> io::Result<bool> {
        match self.read_text(&self.removed_mark()) {
            Ok(text) => Ok(text.trim().parse::<Incarnation>().is_ok_and(|of| of == life)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidData) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn mark_removed(&self, life: Incarnation) -> io::Result<()> {
        self.mark(&self.removed_mark(), life)
    }
}

/// Adds the path to an error. A used-up quota counts as a full disk, a lack of descriptors as a busy one.
pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    move |error| {
        let no_descriptor = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
        let kind = match error.kind() {
            _ if error.raw_os_error().is_some_and(|code| no_descriptor.contains(&code)) => ErrorKind::ResourceBusy,
            ErrorKind::QuotaExceeded => ErrorKind::StorageFull,
            kind => kind,
        };
        io::Error::new(kind, format!("{}: {error}", path.display()))
    }
}

/// A lock that is held as long as the file is open.
fn held(file: File, path: &Path) -> io::Result<File> {
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => {
            let text = format!("{}: another daemon runs in this folder", path.display());
            Err(io::Error::new(ErrorKind::WouldBlock, text))
        }
        Err(error) => Err(at(path)(error.into())),
    }
}

fn make_folder(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(at(path)(error)),
        _ => Ok(()),
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(above) if above == Path::new("") => Path::new("."),
        Some(above) => above,
        None => path,
    }
}
