//! A folder out of a tar stream.

use std::fs::{self, File, Permissions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::UNIX_EPOCH;

use cairn_client::tree::{pack, unpack};
use tempfile::TempDir;

use crate::{crc, named, one_of, scratch};

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
    if !one_of(8, &mended) {
        world.unpack(&mended);
    } else if let Some(first) = world.packed(&mended) {
        // What was unpacked is packed and unpacked again: nothing is lost on the way.
        let second = world.packed(&first);
        assert!(second.is_none_or(|second| second == first), "the same tree gives the same stream");
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

/// Small trees with one thing each.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let made = |make: fn(&Path)| {
        let world = World::new();
        let tree = world.dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        make(&tree);
        // Whole seconds need no records of their own.
        let files = fs::read_dir(&tree).unwrap().map(|entry| entry.unwrap().path());
        let files = files.filter(|path| !path.is_symlink()).chain([tree.clone()]);
        files.for_each(|path| File::open(path).unwrap().set_modified(UNIX_EPOCH).unwrap());
        world.pack(&tree).unwrap()
    };
    named([
        ("empty", made(|_| {})),
        ("folder", made(|tree| fs::create_dir(tree.join("a")).unwrap())),
        (
            "file",
            made(|tree| {
                fs::write(tree.join("f"), "data").unwrap();
                fs::set_permissions(tree.join("f"), Permissions::from_mode(0o640)).unwrap();
            }),
        ),
        (
            "hard-link",
            made(|tree| {
                fs::write(tree.join("f"), "").unwrap();
                fs::hard_link(tree.join("f"), tree.join("g")).unwrap();
            }),
        ),
        ("link", made(|tree| symlink("a/file", tree.join("l")).unwrap())),
        ("long-name", made(|tree| fs::write(tree.join("n".repeat(120)), "").unwrap())),
        ("long-target", made(|tree| symlink("t".repeat(120), tree.join("l")).unwrap())),
        ("sparse", made(|tree| File::create(tree.join("s")).unwrap().write_all_at(b"end", 300_000).unwrap())),
    ])
}
