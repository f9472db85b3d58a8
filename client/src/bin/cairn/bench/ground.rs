//! The folder for what is written on the way, which goes with all that is in it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cairn_client::fault::{Fault, FileFault};
use rustix::fs::{Advice, fadvise};
use uuid::Uuid;

use crate::report::Report;

/// How often the folder's removal is tried: a thread that was interrupted may just have made a file in it.
const REMOVALS_MAX: u32 = 20;
/// The pause between two tries.
const REMOVAL_PAUSE: Duration = Duration::from_millis(100);
/// One write of what is made up, in bytes.
const WRITE_BYTES: usize = 1 << 20;

/// A folder of our own. Dropped, it is removed.
pub(super) struct Ground {
    dir: PathBuf,
    stopped: Arc<AtomicBool>,
}

impl Ground {
    /// A new folder in `parent`.
    pub(super) fn make(parent: &Path) -> Result<Self, Report> {
        let dir = parent.join(format!("cairn-bench-{}", Uuid::now_v7().simple()));
        fs::create_dir(&dir).map_err(|error| {
            let fault = FileFault::new("create", &dir, &error);
            Report::from(Fault::from(fault.hint("name another folder with --dir")))
        })?;
        Ok(Self { dir, stopped: Arc::default() })
    }

    /// Where it is.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A new folder in it.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf, Report> {
        let path = self.dir.join(name);
        fs::create_dir_all(&path).map_err(failed("create", &path))?;
        Ok(path)
    }

    /// Work that blocks, and ends early when nobody waits for it any more: it asks its argument often.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Stop) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Report> {
        let (stop, dir) = (Stop(Arc::clone(&self.stopped)), self.dir.clone());
        let done = tokio::task::spawn_blocking(move || work(&stop)).await.map_err(io::Error::other);
        done.flatten().map_err(failed("measure in", &dir))
    }

    /// A file of bytes that do not repeat, on the disk.
    pub(super) async fn random(&self, name: &str, size: u64) -> Result<PathBuf, Report> {
        let path = self.dir.join(name);
        let made = path.clone();
        self.blocking(move |stop| {
            let mut file = File::create_new(&made)?;
            let mut bytes = blake3::Hasher::new().update(Uuid::now_v7().as_bytes()).finalize_xof();
            let (mut buffer, mut left) = (vec![0; WRITE_BYTES], size);
            while left > 0 {
                stop.check()?;
                let now = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let part = buffer.get_mut(..now).unwrap_or_default();
                bytes.fill(part);
                file.write_all(part)?;
                left -= now as u64;
            }
            file.sync_all()
        })
        .await?;
        Ok(path)
    }

    /// A copy of a file of it, on the disk.
    pub(super) async fn copy(&self, file: &Path, name: &str) -> Result<PathBuf, Report> {
        let (from, to) = (file.to_owned(), self.dir.join(name));
        let made = to.clone();
        self.blocking(move |_| {
            fs::copy(&from, &made)?;
            File::open(&made)?.sync_all()
        })
        .await?;
        Ok(to)
    }

    /// Waits until all that was written on this file system is on the disk.
    pub(super) async fn settle(&self) -> Result<(), Report> {
        let dir = self.dir.clone();
        self.blocking(move |_| Ok(rustix::fs::syncfs(File::open(dir)?)?)).await
    }

    /// The same, and has the kernel forget what it has in memory of these files: the next reader asks the disk.
    pub(super) async fn cool(&self, files: Vec<PathBuf>) -> Result<(), Report> {
        self.settle().await?;
        self.blocking(move |_| {
            // One may go meanwhile.
            for file in files.iter().filter_map(|file| File::open(file).ok()) {
                fadvise(&file, 0, None, Advice::DontNeed)?;
            }
            Ok(())
        })
        .await
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        for _ in 0..REMOVALS_MAX {
            match fs::remove_dir_all(&self.dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => std::thread::sleep(REMOVAL_PAUSE),
                _ => return,
            }
        }
        tracing::error!("{} could not be removed", self.dir.display());
    }
}

/// Tells work whether anybody still waits for it.
#[derive(Clone)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(super) fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::Relaxed) { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    }
}

/// A file could not be used.
pub(super) fn failed(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> Report {
    move |error| Fault::from(FileFault::new(doing, path, &error)).into()
}
