//! A folder out of a tar stream.

use std::fs::{self, File, Permissions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cairn_client::tree::{pack, unpack};
use tempfile::TempDir;

use crate::{crc, named, scratch};

/// What is packed again, in bytes: more takes the fuzzer too long.
const AGAIN_BYTES_MAX: usize = 6 << 10;
/// Larger holes are not packed again: the stream would be read for ever.
const PACKED_BYTES_MAX: u64 = 1 << 24;

/// The stream as it is, and with every header's checksum mended.
pub fn run(bytes: &[u8]) {
    static WORLD: OnceLock<World> = OnceLock::new();
    let world = WORLD.get_or_init(World::new);
    let mended = crc::tar(bytes);
    if mended != bytes {
        world.unpack(bytes);
    }
    // What was unpacked is packed and unpacked again: nothing is lost on the way.
    if world.unpack(&mended)
        && mended.len() <= AGAIN_BYTES_MAX
        && let Some(first) = world.packed(&mended)
        && let Some(second) = world.packed(&first)
    {
        assert!(first == second, "the same tree gives the same stream");
    }
}

/// A folder to unpack into, and one beside it that must stay as it is.
struct World {
    dir: TempDir,
    /// When it last changed there.
    before: [(i64, i64); 2],
}

impl World {
    fn new() -> Self {
        let dir = scratch();
        fs::create_dir(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/secret"), "as it was").unwrap();
        let before = changes(dir.path());
        Self { dir, before }
    }

    /// Unpacks, and looks at what lies beside it. The folder goes again.
    fn unpack(&self, stream: &[u8]) -> bool {
        self.unpacked(stream, |_| ()).is_some()
    }

    /// The same, and packs the folder again.
    fn packed(&self, stream: &[u8]) -> Option<Vec<u8>> {
        self.unpacked(stream, |target| self.pack(target)).flatten()
    }

    fn unpacked<T>(&self, mut stream: &[u8], look: impl FnOnce(&Path) -> T) -> Option<T> {
        let target = self.dir.path().join("target");
        fs::create_dir(&target).unwrap();
        let root: OwnedFd = File::open(&target).unwrap().into();
        let done = unpack(&mut stream, &root, &target);
        self.assert_untouched();
        let looked = done.ok().map(|()| look(&target));
        remove(&target);
        looked
    }

    fn pack(&self, target: &Path) -> Option<Vec<u8>> {
        let path = self.dir.path().join("packed");
        let file = File::create(&path).unwrap();
        let done = pack(target, &file, &path, &mut |done| match done > PACKED_BYTES_MAX {
            true => Err(std::io::ErrorKind::FileTooLarge.into()),
            false => Ok(()),
        });
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        // Whoever is not root cannot read what is nobody's to read.
        done.ok().map(|()| bytes)
    }

    fn assert_untouched(&self) {
        assert_eq!(changes(self.dir.path()), self.before, "something outside has changed");
        assert_eq!(names(self.dir.path()), ["outside", "target"]);
    }
}

/// Whatever is written to, linked or made shows in these times.
fn changes(dir: &Path) -> [(i64, i64); 2] {
    [dir.join("outside/secret"), dir.join("outside")].map(|path| {
        let about = path.symlink_metadata().unwrap();
        (about.ctime(), about.ctime_nsec())
    })
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Removes a folder whatever its modes are.
fn remove(dir: &Path) {
    if fs::remove_dir_all(dir).is_ok() {
        return;
    }
    open_up(dir);
    fs::remove_dir_all(dir).unwrap();
}

fn open_up(dir: &Path) {
    fs::set_permissions(dir, Permissions::from_mode(0o700)).unwrap();
    let below: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    below.iter().filter(|path| path.is_dir() && !path.is_symlink()).for_each(|path| open_up(path));
}

/// An empty tree; links; names that do not fit into a header; and a file that is mostly a hole.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let made = |make: fn(&Path)| {
        let world = World::new();
        let tree = world.dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        make(&tree);
        world.pack(&tree).unwrap()
    };
    named([
        ("empty", made(|_| {})),
        (
            "links",
            made(|tree| {
                fs::create_dir(tree.join("a")).unwrap();
                fs::write(tree.join("a/file"), "data").unwrap();
                fs::hard_link(tree.join("a/file"), tree.join("same")).unwrap();
                symlink("a/file", tree.join("link")).unwrap();
                fs::set_permissions(tree.join("a/file"), Permissions::from_mode(0o640)).unwrap();
            }),
        ),
        (
            "long-names",
            made(|tree| {
                fs::write(tree.join("n".repeat(120)), "a long name").unwrap();
                symlink("t".repeat(120), tree.join("s")).unwrap();
            }),
        ),
        (
            "sparse",
            made(|tree| {
                use std::os::unix::fs::FileExt;
                let file = File::create(tree.join("s")).unwrap();
                file.write_all_at(b"end", 300_000).unwrap();
            }),
        ),
    ])
}
