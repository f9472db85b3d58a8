//! File systems of a test's own: small ones, read-only ones, and files with a bad sector. Only root may mount.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Something that is mounted, and goes when dropped.
pub struct Mount {
    at: PathBuf,
    /// Whose memory is what cannot be read.
    process: Option<Child>,
}

impl Mount {
    /// A small file system at `at`, which is made; none, and a word about it, where mounting is not allowed.
    pub fn small(at: &Path, bytes: u64) -> Option<Self> {
        std::fs::create_dir_all(at).expect("a folder to mount at");
        let options = format!("size={bytes},mode=0755");
        mount(&["-t".as_ref(), "tmpfs".as_ref(), "-o".as_ref(), options.as_ref(), "tmpfs".as_ref()], at, None)
    }

    /// What lies in `dir`, at `at`, and nothing there can be changed.
    pub fn read_only(dir: &Path, at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).expect("a folder to mount at");
        let mounted = mount(&["--bind".as_ref(), dir.as_os_str()], at, None)?;
        mount(&["-o".as_ref(), "remount,bind,ro".as_ref()], at, None).map(std::mem::forget)?;
        Some(mounted)
    }

    /// Over the file `at`: whoever reads it gets EIO, as from a bad sector.
    pub fn unreadable(at: &Path) -> Option<Self> {
        // No process has anything at address 0, and that is what the kernel says of its memory there.
        let process = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().expect("sleep starts");
        let memory = PathBuf::from(format!("/proc/{}/mem", process.id()));
        mount(&["--bind".as_ref(), memory.as_os_str()], at, Some(process))
    }

    /// Bytes that are free.
    pub fn free(&self) -> u64 {
        let found = rustix::fs::statvfs(&self.at).expect("a file system");
        found.f_bavail * found.f_frsize
    }

    /// Takes all that is free but `left` bytes, with one file more.
    pub fn fill(&self, name: &str, left: u64) -> PathBuf {
        let path = self.at.join(name);
        let file = std::fs::File::create(&path).expect("the file can be made");
        let flags = rustix::fs::FallocateFlags::empty();
        rustix::fs::fallocate(&file, flags, 0, self.free().saturating_sub(left)).expect("there is room");
        path
    }
}

#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn mount(args: &[&OsStr], at: &Path, process: Option<Child>) -> Option<Mount> {
    let mounted = Command::new("mount").args(args).arg(at).output();
    let mount = Mount { at: at.to_owned(), process };
    match mounted {
        Ok(output) if output.status.success() => Some(mount),
        why => {
            eprintln!("skipped: nothing can be mounted here (needs root): {why:?}");
            None
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: whoever still has it open loses nothing by it.
        let _ = Command::new("umount").arg("-l").arg(&self.at).stderr(Stdio::null()).status();
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
