//! A machine's local storage: the real [`FileDisk`], over [`Files`](crate::files::Files) in memory, which forget.
//!
//! - `system`: its file system, whose every step can fail; - `fault`: which one does.
//!
//! A machine's disk can fail in the middle of a sequence of steps, fill up, rot, lose files to somebody's hand, be
//! replaced by an empty one, and be slow. All that is for the world: it goes past the faults, and is never one of the
//! steps that are counted.

mod fault;
mod system;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use cairn_store::digest::Digest;
use cairn_store::disk::{Disk, FORMER, FileDisk, TOC_KIND, Toc};
use cairn_store::id::CopyId;
use cairn_store::record;

pub use fault::Failure;

use crate::files::{File, Loss};
use crate::rng::SplitMix;
use crate::spawn::Slowness;
use system::MemFileSystem;

/// The disk of one machine. Clones are the same disk; it stays when the machine crashes.
#[derive(Clone)]
pub struct MemDisk {
    system: MemFileSystem,
    disk: Arc<FileDisk>,
    slowness: Slowness,
}

/// A part of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The `.seg`.
    Bytes,
    /// The `.toc`.
    Table,
}

/// The disk as a node has it.
impl Deref for MemDisk {
    type Target = FileDisk;

    fn deref(&self) -> &FileDisk {
        &self.disk
    }
}

impl MemDisk {
    /// An empty disk.
    pub fn new(machine: &str, capacity: u64) -> Self {
        let system = MemFileSystem::new(machine, capacity);
        let disk = Arc::new(FileDisk::over(Arc::new(system.clone()), system.root()));
        Self { system, disk, slowness: Slowness::default() }
    }

    /// The disk for a node that starts now.
    pub fn boot(&self) -> Arc<dyn Disk> {
        Arc::new(FileDisk::over(Arc::new(self.system.clone()), self.system.root()))
    }

    /// The power goes and comes again: what was not fsynced may be lost. No failure is planned any more.
    pub fn crash(&self, rng: &SplitMix) -> Loss {
        let mut state = self.system.state();
        state.faults = fault::Faults::default();
        state.files.crash(rng)
    }

    /// The disk is replaced by a new one, of the same capacity. The machine must be off.
    pub fn wipe(&self) {
        let mut state = self.system.state();
        state.faults = fault::Faults::default();
        state.files.wipe();
    }

    /// Everything but copies and the spool goes, durably, as when `cairnd` lays a former cluster's node aside. The machine must be off.
    pub fn lay_aside(&self) {
        let mut state = self.system.state();
        let kept = |path: &&str| path.starts_with("segments/") || path.starts_with("spool/");
        let gone: Vec<String> = state.files.under("").filter(|path| !kept(path)).map(str::to_owned).collect();
        for path in gone {
            state.files.remove(&path);
            state.files.sync_folder(system::folder_of(&path));
        }
        // All that the node asks of it is whether it is there.
        if let Ok(file) = state.files.create(FORMER, 0) {
            file.sync();
            state.files.sync_folder("");
        }
    }

    /// The n-th step from now on fails: a file made, bytes added, an fsync of a file or a folder, a name given, changed
    /// or taken away.
    pub fn fail_after(&self, operations: u32, how: Failure) {
        self.system.state().faults.plan(operations, how);
    }

    /// Which failure struck since the last crash. A node that stops then does what it should.
    pub fn failed(&self) -> Option<Failure> {
        self.system.state().faults.struck()
    }

    /// Whether something did not fit since the last crash.
    pub fn ran_full(&self) -> bool {
        self.system.state().files.ran_full()
    }

    /// Whatever failed or was to fail is mended. What failed already has failed: a node that had lost its power goes on
    /// like one whose process was killed, with all that it wrote still to be read.
    pub fn clear_failures(&self) {
        self.system.state().faults = fault::Faults::default();
    }

    /// Changes how many bytes fit. What lies here stays. On a disk that is too full nothing can be written, snapshots of
    /// the metadata too: a node that is left less than its reserve may have to stop.
    pub fn set_capacity(&self, bytes: u64) {
        self.system.state().files.set_capacity(bytes);
    }

    /// Everything that blocks takes so many times longer than usual, from now on; 0 is 1.
    pub fn slow(&self, factor: u32) {
        self.slowness.set(factor);
    }

    /// How slow it is, for the machine's tasks.
    pub fn slowness(&self) -> Slowness {
        self.slowness.clone()
    }

    /// An application writes a file into the spool, durably: in the simulation it outlives its machine, and asks again.
    /// Its bytes find room on a full disk too.
    pub fn write_spool(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.write_spool_unsynced(name, bytes)?;
        let mut state = self.system.state();
        state.files.open(&format!("spool/{name}"))?.sync();
        state.files.sync_folder("spool");
        Ok(())
    }

    /// The same by an application that does not ask for an fsync, as most do not: a crash may take the file or tear it,
    /// until the node has made it its own copy. Whoever asks again after one must write it again.
    pub fn write_spool_unsynced(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let (draft, path) = (format!("spool/{name}.tmp"), format!("spool/{name}"));
        let mut state = self.system.state();
        state.files.remove(&draft);
        let file = state.files.create(&draft, 0)?;
        state.files.force(&file, bytes);
        state.files.rename(&draft, &path)
    }

    /// An application takes its file away.
    pub fn remove_spool(&self, name: &str) {
        self.system.state().files.remove(&format!("spool/{name}"));
    }

    /// How many files applications, and nodes for them, have in the spool.
    pub fn spooled(&self) -> usize {
        self.system.state().files.under("spool/").count()
    }

    /// An application reads a file by the path that the node told it.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let path = self.system.inside(path)?;
        Ok(self.system.state().files.open(path)?.with(<[u8]>::to_vec))
    }

    /// Flips every bit of one byte of a copy where it lies, under everybody's feet. No crash brings it back.
    pub fn rot(&self, copy: CopyId, part: Part, offset: usize) -> io::Result<()> {
        self.file(copy, part)?.flip(offset)
    }

    /// Somebody deletes a copy by hand, durably.
    pub fn delete(&self, copy: CopyId) -> io::Result<()> {
        for part in [Part::Table, Part::Bytes] {
            let path = self.place(copy, part);
            let path = self.system.inside(&path)?;
            let mut state = self.system.state();
            state.files.remove(path);
            state.files.sync_folder(system::folder_of(path));
        }
        Ok(())
    }

    /// Whether a copy exists, as a node would read it now. Its bytes are not looked at.
    pub fn holds(&self, copy: CopyId) -> bool {
        let table = self.file(copy, Part::Table);
        table.is_ok_and(|table| is_toc_of(&table, copy)) && self.file(copy, Part::Bytes).is_ok()
    }

    /// Every copy that has a `.toc` now.
    pub fn copies(&self) -> BTreeSet<CopyId> {
        let state = self.system.state();
        let name = |path: &str| path.rsplit_once('/')?.1.strip_suffix(".toc")?.parse().ok();
        state.files.under("segments/").filter_map(name).collect()
    }

    /// Every copy that has a `.toc` and no bytes. No step of a node, and no crash between two, leaves one behind.
    pub fn hollow(&self) -> BTreeSet<CopyId> {
        self.copies().into_iter().filter(|copy| self.file(*copy, Part::Bytes).is_err()).collect()
    }

    /// The digest of a copy's bytes, if it exists whatever a crash at this moment would leave; none if the crash could
    /// take its `.toc` or any of its bytes.
    pub fn durable_digest(&self, copy: CopyId) -> Option<Digest> {
        let left = |part| {
            let path = self.place(copy, part);
            Some(self.system.state().files.after_crash(self.system.inside(&path).ok()?))
        };
        let (tables, bytes) = (left(Part::Table)?, left(Part::Bytes)?);
        if tables.is_empty() || !tables.iter().all(|table| is_toc_of(table, copy)) {
            return None;
        }
        Some(bytes.last()?.with(Digest::of))
    }

    fn place(&self, copy: CopyId, part: Part) -> std::path::PathBuf {
        match part {
            Part::Bytes => self.disk.path(copy),
            Part::Table => self.disk.toc(copy),
        }
    }

    fn file(&self, copy: CopyId, part: Part) -> io::Result<File> {
        let path = self.place(copy, part);
        self.system.state().files.open(self.system.inside(&path)?)
    }
}

fn is_toc_of(file: &File, copy: CopyId) -> bool {
    file.with(|bytes| {
        record::decode::<Toc>(TOC_KIND, bytes).is_ok_and(|(toc, rest)| toc.copy == copy && rest.is_empty())
    })
}
