//! What is at the path of the state, and whether it changed.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cairn_client::deliver::Output;
use cairn_client::fault::FileFault;
use cairn_client::save::Source;
use cairn_client::tree::pack;
use cairn_store::digest::Digest;
use cairn_store::segment::Kind;

use crate::report::Report;

/// What is put aside gets this at the end of its name.
const ASIDE: &str = ".replaced";
/// The most entries of a folder that are looked at; with more, every look finds a change.
const ENTRIES_MAX: usize = 1_000_000;
/// What was written so short a time ago may have been written once more without another time: file systems count in ticks.
const TICK: Duration = Duration::from_millis(50);
/// How many that were put aside stay.
const ASIDE_MAX: u32 = 9;

/// Tells one state of what is at a path from another: sizes, times and inodes, of all that is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Signature {
    hash: [u8; 32],
    /// Whether it can be told from any other state by this.
    sure: bool,
}

impl Signature {
    /// What cannot be told apart.
    const UNSURE: Self = Self { hash: [0; 32], sure: false };

    /// Whether nothing changed since then.
    pub(super) fn is_still(&self, now: &Self) -> bool {
        self.sure && now.sure && self.hash == now.hash
    }
}

/// The path of the state.
#[derive(Clone, Debug)]
pub(super) struct StatePath {
    path: PathBuf,
    /// As it was when a version was last brought there.
    applied: Option<Signature>,
}

impl StatePath {
    /// Checks it: its folder is there, and what is at the path can be saved. One that ends with a slash is a folder, and made.
    pub(super) fn open(given: &Path) -> Result<Self, Report> {
        let failed = |doing: &str, path: &Path, error: &io::Error, hint: &str| Report {
            code: "io".into(),
            hint: Some(hint.into()),
            ..Report::internal(format!("cannot {doing} {}: {error}", path.display()))
        };
        let path = std::path::absolute(given)
            .map_err(|error| failed("use", given, &error, "give the path of a file or of a folder"))?;
        if path.file_name().is_none() {
            return Err(Report::invalid(format!("{} cannot be replaced", path.display()), "give a path below it"));
        }
        let folder = path.parent().unwrap_or(Path::new("/"));
        match fs::metadata(folder) {
            Ok(there) if there.is_dir() => {}
            Ok(_) => {
                return Err(Report::invalid(format!("{} is not a folder", folder.display()), "choose another path"));
            }
            Err(error) => return Err(failed("use", folder, &error, "make the folder first, or choose another path")),
        }
        match fs::symlink_metadata(&path) {
            Ok(there) if there.is_file() || there.is_dir() => {}
            Ok(_) => {
                let message = format!("{} is neither a file nor a folder", path.display());
                return Err(Report::invalid(message, "a link or a device is not replaced: choose another path"));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if given.as_os_str().as_bytes().ends_with(b"/") {
                    fs::create_dir(&path)
                        .map_err(|error| failed("make", &path, &error, "make it first, or choose another path"))?;
                }
            }
            Err(error) => return Err(failed("use", &path, &error, "choose another path")),
        }
        // Without the slash at its end, so that a name can be put beside it.
        Ok(Self { path: path.components().collect(), applied: None })
    }

    /// Where it is, absolutely.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What is there.
    pub(super) fn kind(&self) -> Option<Kind> {
        let there = fs::symlink_metadata(&self.path).ok()?;
        Some(if there.is_dir() { Kind::Tree } else { Kind::File })
    }

    /// To be saved.
    pub(super) fn source(&self) -> Source {
        match self.kind() {
            Some(Kind::Tree) => Source::Tree(self.path.clone()),
            _ => Source::File { path: self.path.clone(), take: false },
        }
    }

    /// Where versions are brought to.
    pub(super) fn output(&self) -> Output {
        Output::File { path: self.path.clone(), force: true, link: false }
    }

    /// What is there now; none if nothing is. Looks at all that is in a folder, on a thread of its own.
    pub(super) async fn look(&self) -> Option<Signature> {
        let path = self.path.clone();
        let looked = tokio::task::spawn_blocking(move || signature(&path)).await;
        match looked.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            // Whoever saves it will say what is wrong with it.
            Err(_) => Some(Signature::UNSURE),
        }
    }

    /// Whether it is as the last version that was brought there.
    pub(super) async fn is_as_applied(&self) -> bool {
        match (self.applied, self.look().await) {
            // It was brought there in one step, and written by nobody: the same hash is enough.
            (Some(applied), Some(now)) => applied.hash == now.hash && now.hash != Signature::UNSURE.hash,
            _ => false,
        }
    }

    /// A version was brought there.
    pub(super) async fn set_applied(&mut self) {
        self.applied = self.look().await;
    }

    /// The command had it: it is no version any more.
    pub(super) fn set_used(&mut self) {
        self.applied = None;
    }

    /// Whether the very bytes of a version are there, as a file or as a tree's stream. Reads all of it, on threads of its own.
    pub(super) async fn holds(&self, digest: Digest) -> bool {
        let here = self.clone();
        let hashed = tokio::task::spawn_blocking(move || here.digest()).await;
        hashed.is_ok_and(|found| found.is_some_and(|found| found == digest))
    }

    fn digest(&self) -> Option<Digest> {
        let mut hasher = blake3::Hasher::new();
        match self.kind()? {
            Kind::File => drop(hasher.update_reader(fs::File::open(&self.path).ok()?).ok()?),
            Kind::Tree => {
                let (stream, target) = io::pipe().ok()?;
                let target = fs::File::from(OwnedFd::from(target));
                let whole = std::thread::scope(|scope| {
                    let packer = scope.spawn(|| {
                        let target = target;
                        pack(&self.path, &target, &self.path, &mut |_| Ok(())).is_ok()
                    });
                    let read = hasher.update_reader(stream).is_ok();
                    packer.join().unwrap_or(false) && read
                });
                whole.then_some(())?;
            }
        }
        Some(Digest(hasher.finalize().into()))
    }

    /// Puts what is there aside; where, if anything was. The newest few stay.
    pub(super) fn put_aside(&self) -> Result<Option<PathBuf>, FileFault> {
        let aside = self.aside();
        let there = fs::symlink_metadata(&self.path);
        let moved = there.and_then(|_| remove(&aside)).and_then(|()| fs::rename(&self.path, &aside));
        match moved {
            Ok(()) => Ok(Some(aside)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FileFault::new("put aside", &self.path, &error)
                .hint("move it away: a newer version is to take its place")),
        }
    }

    /// The first name that is free, or else that of the oldest.
    fn aside(&self) -> PathBuf {
        let named = |number: u32| {
            let mut name = OsString::from(self.path.file_name().unwrap_or_default());
            name.push(ASIDE);
            if number > 1 {
                name.push(format!("-{number}"));
            }
            self.path.with_file_name(name)
        };
        let age = |path: &PathBuf| fs::symlink_metadata(path).ok().map(|there| (there.ctime(), there.ctime_nsec()));
        let free = (1..=ASIDE_MAX).map(named).find(|path| age(path).is_none());
        free.or_else(|| (1..=ASIDE_MAX).map(named).min_by_key(age)).unwrap_or_else(|| named(1))
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(there) if there.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn signature(root: &Path) -> io::Result<Signature> {
    let mut hasher = blake3::Hasher::new();
    let (mut pending, mut count, mut newest) = (vec![root.to_owned()], 0_usize, Duration::ZERO);
    while let Some(path) = pending.pop() {
        let there = match fs::symlink_metadata(&path) {
            // It went while it was looked at: that is a change.
            Err(error) if error.kind() == ErrorKind::NotFound && path != root => continue,
            there => there?,
        };
        note(&mut hasher, &path, &there);
        let (seconds, nanos) = (u64::try_from(there.ctime()), u32::try_from(there.ctime_nsec()));
        newest = newest.max(Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0)));
        count += 1;
        if count > ENTRIES_MAX {
            return Err(io::Error::other("too many entries to be told apart"));
        }
        if there.is_dir() {
            let mut inside: Vec<PathBuf> =
                fs::read_dir(&path)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
            inside.sort();
            pending.append(&mut inside);
        }
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Ok(Signature { hash: hasher.finalize().into(), sure: newest.saturating_add(TICK) < now })
}

fn note(hasher: &mut blake3::Hasher, path: &Path, there: &Metadata) {
    let name = path.as_os_str().as_bytes();
    hasher.update(&name.len().to_le_bytes()).update(name);
    for number in [there.dev(), there.ino(), u64::from(there.mode()), there.len()] {
        hasher.update(&number.to_le_bytes());
    }
    for number in [there.mtime(), there.mtime_nsec(), there.ctime(), there.ctime_nsec()] {
        hasher.update(&number.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_is_seen_and_none_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = StatePath::open(&dir.path().join("state")).unwrap();
        assert_eq!((state.kind(), state.look().await), (None, None));
        fs::write(state.path(), "one").unwrap();
        state.set_applied().await;
        assert!(state.is_as_applied().await);
        assert!(state.holds(Digest(blake3::hash(b"one").into())).await);
        let young = Signature { sure: false, ..state.look().await.unwrap() };
        assert!(!young.is_still(&young), "it may have been written to once more in the same tick");
        let old = loop {
            let old = state.look().await.unwrap();
            if old.sure {
                break old;
            }
        };
        assert!(old.is_still(&state.look().await.unwrap()));
        fs::write(state.path(), "two!").unwrap();
        assert!(!state.is_as_applied().await);
    }

    #[test]
    fn what_was_put_aside_stays_up_to_a_bound() {
        let dir = tempfile::tempdir().unwrap();
        let state = StatePath::open(&dir.path().join("state")).unwrap();
        for number in 0..ASIDE_MAX + 2 {
            fs::write(state.path(), number.to_string()).unwrap();
            let aside = state.put_aside().unwrap().unwrap();
            assert_eq!(fs::read(aside).unwrap(), number.to_string().as_bytes());
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), usize::try_from(ASIDE_MAX).unwrap());
        assert_eq!(state.put_aside().unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_in_a_folder_counts() {
        let dir = tempfile::tempdir().unwrap();
        let mut given = dir.path().join("tree").into_os_string();
        given.push("/");
        let mut state = StatePath::open(Path::new(&given)).unwrap();
        assert_eq!(state.kind(), Some(Kind::Tree));
        fs::create_dir(state.path().join("a")).unwrap();
        fs::write(state.path().join("a/b"), "b").unwrap();
        state.set_applied().await;
        assert!(state.is_as_applied().await);
        fs::write(state.path().join("a/b"), "bc").unwrap();
        assert!(!state.is_as_applied().await);
        let aside = state.put_aside().unwrap().unwrap();
        assert_eq!(fs::read(aside.join("a/b")).unwrap(), b"bc");
    }

    #[test]
    fn what_cannot_be_a_state_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        for (path, exit) in
            [(Path::new("/"), 2), (&link, 2), (Path::new("/dev/null"), 2), (&dir.path().join("no/x"), 1)]
        {
            let refused = StatePath::open(path).unwrap_err();
            assert!(refused.exit == exit && refused.hint.is_some(), "{path:?}: {refused:?}");
        }
    }
}
