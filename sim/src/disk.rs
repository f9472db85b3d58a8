//! A node's local storage in memory: [`Disk`] with the same files, in the same order of writes and fsyncs, as
//! `FileDisk`, over [`Files`], which forget.
//!
//! - `open`: a file that was opened; - `writer`: the one writer of a copy; - `scan`: what lies here at the start.
//!
//! One thing differs: adopting a spool file copies it (as `FileDisk` does where links and clones do not work).

mod open;
mod scan;
mod writer;

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_store::digest::BLOCK_BYTES;
use cairn_store::disk::{Disk, ReadAt, SegmentWriter, Space, TOC_KIND, Toc};
use cairn_store::id::{CopyId, Incarnation};
use cairn_store::record;

use crate::files::{File, Files};
use crate::rng::SplitMix;
use open::OpenFile;
use writer::MemWriter;

const IDENTITY: &str = "node.toml";
const SNAPSHOT: &str = "snapshots/state";
const LOG_MARK: &str = "log-begun";

/// The disk of one machine. Clones are the same disk; it stays when the machine crashes.
#[derive(Clone)]
pub struct MemDisk {
    machine: Arc<str>,
    capacity: u64,
    files: Arc<Mutex<Files>>,
}

impl MemDisk {
    /// An empty disk.
    pub fn new(machine: &str, capacity: u64) -> Self {
        Self { machine: machine.into(), capacity, files: Arc::default() }
    }

    /// The power goes and comes again.
    pub fn crash(&self, rng: &SplitMix) {
        self.lock().crash(rng);
    }

    /// An application writes a file into the spool, durably: in the simulation it outlives its machine, and asks again.
    pub fn write_spool(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.replace(&format!("spool/{name}"), &format!("spool/{name}.tmp"), bytes)
    }

    /// An application reads a file by the path that the node told it.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let root = self.root();
        let path = path.strip_prefix(&root).map_err(|_| ErrorKind::NotFound)?.to_str().ok_or(ErrorKind::NotFound)?;
        Ok(self.lock().open(path)?.lock().bytes.clone())
    }

    /// Flips every bit of one byte of a copy, under everybody's feet.
    pub fn corrupt(&self, copy: CopyId, offset: usize) -> io::Result<()> {
        let file = self.lock().open(&seg(copy))?;
        let mut contents = file.lock();
        let byte = contents.bytes.get_mut(offset).ok_or(ErrorKind::UnexpectedEof)?;
        *byte = !*byte;
        drop(contents);
        // Rot is durable.
        file.sync();
        Ok(())
    }

    /// The text of `node.toml`.
    pub fn read_identity(&self) -> io::Result<Option<String>> {
        let files = self.lock();
        if !files.exists(IDENTITY) {
            return Ok(None);
        }
        let text = String::from_utf8(files.open(IDENTITY)?.lock().bytes.clone());
        text.map(Some).map_err(|_| ErrorKind::InvalidData.into())
    }

    /// Writes `node.toml`, durably.
    pub fn write_identity(&self, text: &str) -> io::Result<()> {
        self.replace(IDENTITY, "node.tmp", text.as_bytes())
    }

    fn root(&self) -> PathBuf {
        Path::new("/sim").join(&*self.machine)
    }

    fn note(&self, what: &str, path: &str) {
        tracing::trace!(target: "cairn_sim::disk", machine = %self.machine, what, path);
    }

    /// Puts a file in place, whole and durable or not at all.
    fn replace(&self, path: &str, draft: &str, bytes: &[u8]) -> io::Result<()> {
        let mut files = self.lock();
        files.remove(draft);
        let file = files.create(draft)?;
        file.append(bytes);
        file.sync();
        files.rename(draft, path)?;
        files.sync_folder(folder(path));
        drop(files);
        self.note("replace", path);
        Ok(())
    }

    fn has_room(&self, size: u64) -> io::Result<()> {
        if size > self.capacity.saturating_sub(self.lock().used()) {
            Err(ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }

    /// A copy id is used once.
    fn check_unused(&self, copy: CopyId) -> io::Result<()> {
        let files = self.lock();
        let used = [toc(copy), in_quarantine(copy, "toc"), in_quarantine(copy, "seg")];
        match used.iter().find(|path| files.exists(path)) {
            Some(path) => Err(io::Error::new(ErrorKind::AlreadyExists, path.clone())),
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn shard(copy: CopyId) -> String {
    let [.., last] = *copy.0.as_bytes();
    format!("segments/{last:02x}")
}

fn seg(copy: CopyId) -> String {
    format!("{}/{copy}.seg", shard(copy))
}

fn toc(copy: CopyId) -> String {
    format!("{}/{copy}.toc", shard(copy))
}

fn in_quarantine(copy: CopyId, part: &str) -> String {
    format!("quarantine/{copy}.{part}")
}

fn spooled(file: &str) -> io::Result<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if matches!(file, "" | "." | ".." | ".node") || file.len() > 255 || !file.bytes().all(allowed) {
        return Err(io::Error::new(ErrorKind::InvalidInput, format!("{file:?} cannot name a file of the spool")));
    }
    Ok(format!("spool/{file}"))
}

fn copy_bytes(source: &dyn ReadAt, target: &File) -> io::Result<()> {
    let mut at = 0;
    while at < source.size() {
        let count = usize::try_from(source.size() - at).unwrap_or(usize::MAX).min(BLOCK_BYTES);
        let mut block = vec![0; count];
        source.read_exact_at(&mut block, at)?;
        target.append(&block);
        at += count as u64;
    }
    Ok(())
}

impl Disk for MemDisk {
    fn spool(&self) -> PathBuf {
        self.root().join("spool")
    }

    fn open_spool(&self, file: &str) -> io::Result<Box<dyn ReadAt>> {
        Ok(Box::new(OpenFile::new(self.lock().open(&spooled(file)?)?)))
    }

    fn adopt(&self, file: &str, source: &dyn ReadAt, copy: CopyId) -> io::Result<()> {
        spooled(file)?;
        self.check_unused(copy)?;
        self.has_room(source.size())?;
        let new = self.lock().create(&seg(copy))?;
        copy_bytes(source, &new)?;
        new.sync();
        self.note("adopt", &seg(copy));
        Ok(())
    }

    fn expose(&self, copy: CopyId, file: &str) -> io::Result<PathBuf> {
        let path = spooled(file)?;
        let mut files = self.lock();
        let linked = files.open(&seg(copy))?;
        files.link(&path, &linked)?;
        Ok(self.root().join(path))
    }

    fn create(&self, copy: CopyId, size: u64) -> io::Result<Box<dyn SegmentWriter>> {
        self.check_unused(copy)?;
        self.has_room(size)?;
        let file = self.lock().create(&seg(copy))?;
        self.note("create", &seg(copy));
        Ok(Box::new(MemWriter::new(self.clone(), seg(copy), file, size)))
    }

    fn publish(&self, entry: &Toc) -> io::Result<()> {
        self.lock().open(&seg(entry.copy))?;
        let bytes = record::encode(TOC_KIND, entry).map_err(|e| io::Error::new(ErrorKind::InvalidInput, e))?;
        let draft = format!("{}/{}.0.toc.tmp", shard(entry.copy), entry.copy);
        self.replace(&toc(entry.copy), &draft, &bytes)
    }

    fn discard(&self, copy: CopyId) -> io::Result<()> {
        let mut files = self.lock();
        if files.exists(&toc(copy)) {
            return Err(io::Error::new(ErrorKind::InvalidInput, "the copy is published, it cannot be discarded"));
        }
        files.remove(&seg(copy));
        drop(files);
        self.note("discard", &seg(copy));
        Ok(())
    }

    fn open(&self, copy: CopyId) -> io::Result<Box<dyn ReadAt>> {
        Ok(Box::new(OpenFile::new(self.lock().open(&seg(copy))?)))
    }

    fn path(&self, copy: CopyId) -> PathBuf {
        self.root().join(seg(copy))
    }

    fn read_toc(&self, copy: CopyId) -> io::Result<Toc> {
        scan::read_toc(&self.lock(), copy)
    }

    fn unlink(&self, copy: CopyId) -> io::Result<()> {
        let mut files = self.lock();
        if files.remove(&toc(copy)) {
            files.sync_folder(&shard(copy));
        }
        files.remove(&seg(copy));
        drop(files);
        self.note("unlink", &seg(copy));
        Ok(())
    }

    fn quarantine(&self, copy: CopyId) -> io::Result<()> {
        scan::quarantine(&mut self.lock(), copy)?;
        self.note("quarantine", &seg(copy));
        Ok(())
    }

    fn quarantined(&self) -> io::Result<BTreeSet<CopyId>> {
        let names = self.lock().under("quarantine/");
        let copy = |path: &String| path.strip_prefix("quarantine/")?.split_once('.')?.0.parse().ok();
        Ok(names.iter().filter_map(copy).collect())
    }

    fn forget(&self, copy: CopyId) -> io::Result<()> {
        for part in ["seg", "toc"] {
            self.lock().remove(&in_quarantine(copy, part));
        }
        Ok(())
    }

    fn scan(&self) -> io::Result<Vec<Toc>> {
        scan::scan(&mut self.lock())
    }

    fn space(&self) -> io::Result<Space> {
        Ok(Space { total: self.capacity, free: self.capacity.saturating_sub(self.lock().used()) })
    }

    fn write_snapshot(&self, records: &mut dyn Iterator<Item = Vec<u8>>) -> io::Result<()> {
        self.replace(SNAPSHOT, "snapshots/state.tmp", &records.flatten().collect::<Vec<u8>>())
    }

    fn read_snapshot(&self) -> io::Result<Option<Box<dyn io::Read + Send>>> {
        let files = self.lock();
        if !files.exists(SNAPSHOT) {
            return Ok(None);
        }
        let bytes = files.open(SNAPSHOT)?.lock().bytes.clone();
        Ok(Some(Box::new(io::Cursor::new(bytes))))
    }

    fn log_was_begun(&self, life: Incarnation) -> io::Result<bool> {
        let files = self.lock();
        // A machine of the simulation has one life.
        Ok(files.exists(LOG_MARK) && files.open(LOG_MARK)?.lock().bytes == life.to_string().into_bytes())
    }

    fn mark_log_begun(&self, life: Incarnation) -> io::Result<()> {
        self.replace(LOG_MARK, "log-begun.tmp", life.to_string().as_bytes())
    }
}
