//! File systems in files: made, mounted, shut down, mounted again. In this program's own mounts, which go with it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use cairn_tests::wait::within;

use crate::args::FileSystem;

/// The smallest that XFS allows, and some. The file is sparse.
const BYTES: u64 = 2 << 30;

/// How long somebody may still use a mount that goes.
const BUSY: Duration = Duration::from_secs(20);

/// One file system.
pub(crate) struct Image {
    file: PathBuf,
    at: PathBuf,
    mounted: bool,
}

impl Image {
    /// Makes one, and mounts it.
    pub(crate) fn make(file: PathBuf, at: &Path, fs: FileSystem, bytes: Option<u64>) -> anyhow::Result<Self> {
        std::fs::File::create(&file)?.set_len(bytes.unwrap_or(BYTES))?;
        std::fs::create_dir_all(at)?;
        let mkfs = format!("mkfs.{}", fs.name());
        run(Command::new(&mkfs).arg("-q").arg(&file))?;
        let mut image = Self { file, at: at.to_owned(), mounted: false };
        image.mount()?;
        Ok(image)
    }

    /// Mounts it; what its log holds is done then. The loop device goes with the mount.
    pub(crate) fn mount(&mut self) -> anyhow::Result<()> {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.file).arg(&self.at))?;
        self.mounted = true;
        Ok(())
    }

    /// Takes the mount away. Nobody may use it any more.
    pub(crate) fn unmount(&mut self) -> anyhow::Result<()> {
        let mut why = None;
        // A client may still have a file of the spool open for a moment.
        let gone = within(BUSY, "it is not busy", || {
            why = run(Command::new("umount").arg(&self.at)).err();
            Ok(why.is_none().then_some(()))
        });
        gone.map_err(|error| why.unwrap_or(error))?;
        self.mounted = false;
        Ok(())
    }

    /// From now on nothing reaches the disk, not even what the file system's log holds in memory.
    pub(crate) fn shut_down(&self) -> anyhow::Result<()> {
        // The same ioctl for both: EXT4_IOC_SHUTDOWN is XFS_IOC_GOINGDOWN, and without -f the log is not flushed.
        run(Command::new("xfs_io").args(["-x", "-c", "shutdown"]).arg(&self.at))
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if self.mounted {
            // Lazily: it goes when nobody uses it any more.
            let _ = Command::new("umount").arg("-l").arg(&self.at).status();
        }
    }
}

/// What it takes, of Debian's packages.
pub(crate) fn lacking(fs: FileSystem) -> Option<String> {
    let tools = [format!("mkfs.{}", fs.name()), "xfs_io".into(), "mount".into()];
    let found = |tool: &String| Command::new(tool).arg("-V").output().is_ok();
    let lacking: Vec<String> = tools.into_iter().filter(|tool| !found(tool)).collect();
    (!lacking.is_empty()).then(|| format!("{} not found: apt-get install e2fsprogs xfsprogs", lacking.join(", ")))
}

pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
