//! Streams that this program would not write: an error each, and nothing outside the folder.

use std::fs::{self, File};
use std::io::Cursor;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tar::EntryType::{
    self, Block, Char, Continuous, Directory, Fifo, GNULongName, GNUSparse, Link, Regular, Symlink,
};
use tar::{Builder, Header};

use super::*;
use crate::fault::Fault;

/// A folder to unpack into, and one beside it that must stay as it is.
struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("target")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/secret"), "as it was").unwrap();
        Self { dir }
    }

    fn target(&self) -> PathBuf {
        self.dir.path().join("target")
    }

    fn unpack(&self, stream: &[u8]) -> Result<(), String> {
        let root: OwnedFd = File::open(self.target()).unwrap().into();
        let done = unpack(&mut Cursor::new(stream), &root, &self.target()).map_err(|fault| fault.message);
        assert_eq!(names(self.dir.path()), ["outside", "target"]);
        assert_eq!(names(&self.dir.path().join("outside")), ["secret"]);
        let secret = self.dir.path().join("outside/secret");
        assert_eq!(fs::read(&secret).unwrap(), b"as it was");
        assert_eq!(secret.metadata().unwrap().nlink(), 1);
        done
    }

    fn packed(&self, root: &Path) -> Result<Vec<u8>, Fault> {
        let path = self.dir.path().join("packed");
        let file = File::create(&path).unwrap();
        let done = pack(root, &file, &path, &mut |_| Ok(()));
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        done.map(|()| bytes)
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A stream made by hand.
struct Stream(Builder<Vec<u8>>);

impl Stream {
    fn new() -> Self {
        Self(Builder::new(Vec::new())).add(Directory, "./", "", b"")
    }

    fn add(self, kind: EntryType, path: &str, target: &str, data: &[u8]) -> Self {
        self.sized(kind, path, target, data.len() as u64, data)
    }

    fn sized(mut self, kind: EntryType, path: &str, target: &str, size: u64, data: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        let fields = header.as_old_mut();
        fields.name.iter_mut().zip(path.bytes()).for_each(|(place, byte)| *place = byte);
        fields.linkname.iter_mut().zip(target.bytes()).for_each(|(place, byte)| *place = byte);
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(7);
        header.set_size(size);
        header.set_cksum();
        self.0.append(&header, data).unwrap();
        self
    }

    fn pax(mut self, key: &str, value: &str) -> Self {
        self.0.append_pax_extensions([(key, value.as_bytes())]).unwrap();
        self
    }

    fn end(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

#[test]
fn a_stream_by_hand_is_unpacked() {
    let world = World::new();
    let stream =
        Stream::new().add(Directory, "a/", "", b"").add(Regular, "a/f", "", b"data").add(Link, "l", "a/f", b"");
    world.unpack(&stream.end()).unwrap();
    assert_eq!(fs::read(world.target().join("l")).unwrap(), b"data");
    assert_eq!(world.target().join("a").metadata().unwrap().mtime(), 7);
    assert_eq!(world.target().join("a/f").metadata().unwrap().nlink(), 2);
}

#[test]
fn no_path_leads_out() {
    let long = format!("{}../../outside/x", "a/".repeat(60));
    for path in [
        "/tmp/x",
        "/",
        "../outside/x",
        "..",
        "a/../../outside/x",
        "./x",
        "a//x",
        "a/./x",
        "x/..",
        "",
        ".",
        "//",
        "x/",
        long.as_str(),
    ] {
        let world = World::new();
        let stream = match path.len() < 100 {
            true => Stream::new().add(Regular, path, "", b"evil"),
            false => Stream::new().add(GNULongName, "l", "", path.as_bytes()).add(Regular, "x", "", b"evil"),
        };
        let why = world.unpack(&stream.end()).unwrap_err();
        assert!(why.contains("may lead elsewhere"), "{path:?}: {why}");
        assert_eq!(names(&world.target()), [""; 0], "{path:?}");
    }
    for path in ["../outside/x/", "/tmp/x/", "..//", "a/../b/"] {
        let world = World::new();
        world.unpack(&Stream::new().add(Directory, path, "", b"").end()).unwrap_err();
    }
    let world = World::new();
    world.unpack(&Stream::new().add(GNULongName, "l", "", b"a\0/../x").add(Regular, "x", "", b"").end()).unwrap_err();
}

#[test]
fn nothing_is_written_through_a_link() {
    for target in ["../outside", ".", "/tmp"] {
        let through = [
            Stream::new().add(Symlink, "s", target, b"").add(Regular, "s/x", "", b"evil"),
            Stream::new()
                .add(Symlink, "s", target, b"")
                .add(Directory, "s/", "", b"")
                .add(Regular, "s/x", "", b"evil"),
            Stream::new().add(Symlink, "s", target, b"").add(Symlink, "s/x", "y", b""),
            Stream::new().add(Symlink, "s", target, b"").add(Link, "x", "s/secret", b""),
            Stream::new()
                .add(Directory, "s/", "", b"")
                .add(Symlink, "s", target, b"")
                .add(Regular, "s/x", "", b"evil"),
        ];
        for stream in through {
            World::new().unpack(&stream.end()).unwrap_err();
        }
    }
    // A file in a link's place, or the other way round.
    let world = World::new();
    let stream = Stream::new().add(Symlink, "s", "../outside/secret", b"").add(Regular, "s", "", b"evil");
    assert!(world.unpack(&stream.end()).unwrap_err().contains("exists"));
    // A second name of a link is the link.
    let world = World::new();
    let stream = Stream::new().add(Symlink, "s", "../outside/secret", b"").add(Link, "t", "s", b"");
    world.unpack(&stream.end()).unwrap();
    assert!(world.target().join("t").symlink_metadata().unwrap().is_symlink());
}

#[test]
fn no_hard_link_leads_out() {
    for target in ["../outside/secret", "/etc/passwd", "a/../../outside/secret", "", ".", "missing", "./"] {
        let world = World::new();
        let stream = Stream::new().add(Directory, "a/", "", b"").add(Link, "x", target, b"");
        world.unpack(&stream.end()).unwrap_err();
        assert!(!world.target().join("x").exists());
    }
}

#[test]
fn only_folders_files_and_links_are_made() {
    for kind in [Fifo, Char, Block, Continuous, GNUSparse, EntryType::XGlobalHeader, EntryType::new(b'V')] {
        let world = World::new();
        world.unpack(&Stream::new().add(kind, "x", "", b"").end()).unwrap_err();
        assert_eq!(names(&world.target()), [""; 0], "{kind:?}");
    }
    World::new().unpack(&Stream::new().add(Symlink, "x", "", b"").end()).unwrap_err();
}

#[test]
fn what_lies_about_its_length_is_refused() {
    let (first, second) =
        (Stream::new().sized(Regular, "x", "", 1 << 40, b"short"), Stream::new().add(Regular, "x", "", b"data"));
    assert!(World::new().unpack(&first.end()).unwrap_err().contains("ends before its end"));
    let whole = second.end();
    for length in 0..whole.len() - 512 {
        // Every length between two blocks is cut in the same way.
        if length % 512 < 2 {
            let why = World::new().unpack(&whole[..length]).unwrap_err();
            assert!(why.contains("cannot be unpacked"), "{length}: {why}");
        }
    }
    World::new().unpack(&Stream::new().sized(GNULongName, "l", "", u64::MAX / 2, b"name").end()).unwrap_err();
    let endless = vec![b'a'; usize::try_from(PATH_BYTES_MAX).unwrap() + 1];
    let why = World::new().unpack(&Stream::new().add(GNULongName, "l", "", &endless).end()).unwrap_err();
    assert!(why.contains("more than"), "{why}");
    // A name, and nothing that has it.
    World::new().unpack(&Stream::new().add(GNULongName, "l", "", b"name").end()).unwrap_err();
    assert!(World::new().unpack(b"").is_err());
    assert!(World::new().unpack(&[7; 4096]).unwrap_err().contains("cannot be unpacked"));
}

#[test]
fn a_sparse_file_stays_within_its_size() {
    let map = |text: &str, data: &[u8]| {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(512, 0);
        bytes.extend_from_slice(data);
        bytes
    };
    let sparse = |size: &str, data: &[u8]| {
        let stream = Stream::new().pax(PAX_SPARSE_MAJOR, "1");
        let mut stream = stream;
        let all = [(PAX_SPARSE_MAJOR, "1"), (PAX_SPARSE_MINOR, "0"), (PAX_SPARSE_SIZE, size)];
        stream.0.append_pax_extensions(all.iter().map(|(key, value)| (*key, value.as_bytes()))).unwrap();
        stream.add(Regular, "x", "", data).end()
    };
    let world = World::new();
    world.unpack(&sparse("1000000", &map("1\n500000\n4\n", b"data"))).unwrap();
    let back = fs::read(world.target().join("x")).unwrap();
    assert_eq!((back.len(), &back[500_000..500_004]), (1_000_000, &b"data"[..]));
    for (size, text) in [
        ("10", "1\n8\n4\n"),
        ("10", "2\n4\n4\n0\n0\n"),
        ("10", "1\n0\n3\n"),
        ("10", "1\n18446744073709551615\n4\n"),
        ("10", "99999999999999999999999\n"),
        ("10", "100000\n"),
        ("10", "x\n"),
        ("10", ""),
        ("18446744073709551615", "1\n0\n4\n"),
    ] {
        World::new().unpack(&sparse(size, &map(text, b"data"))).unwrap_err();
    }
    World::new().unpack(&Stream::new().pax(PAX_SPARSE_SIZE, "10").add(Regular, "x", "", b"").end()).unwrap_err();
}

#[test]
fn what_is_not_known_is_not_guessed() {
    for (key, value) in [("path", "../outside/x"), ("size", "0"), ("linkpath", "x"), (PAX_MTIME, "noon")] {
        World::new().unpack(&Stream::new().pax(key, value).add(Regular, "x", "", b"").end()).unwrap_err();
    }
    let twice = Stream::new().add(Regular, "x", "", b"1").add(Regular, "x", "", b"2");
    assert!(World::new().unpack(&twice.end()).unwrap_err().contains("exists"));
    World::new().unpack(&Stream::new().add(Directory, "./", "", b"").end()).unwrap_err();
    let rootless = Stream(Builder::new(Vec::new())).add(Regular, "x", "", b"");
    assert!(World::new().unpack(&rootless.end()).unwrap_err().contains("before its root"));
    // A folder that was left is finished.
    let back = Stream::new().add(Directory, "a/", "", b"").add(Regular, "b", "", b"").add(Regular, "a/x", "", b"");
    World::new().unpack(&back.end()).unwrap_err();
}

#[test]
fn set_user_id_is_dropped() {
    let world = World::new();
    let source = world.dir.path().join("outside");
    fs::set_permissions(source.join("secret"), fs::Permissions::from_mode(0o6751)).unwrap();
    let stream = world.packed(&source).unwrap();
    world.unpack(&stream).unwrap();
    assert_eq!(world.target().join("secret").metadata().unwrap().mode() & 0o7777, 0o751);
}

#[test]
fn the_same_tree_gives_the_same_bytes_and_links_are_not_followed() {
    let world = World::new();
    let source = world.dir.path().join("outside");
    assert_eq!(world.packed(&source).unwrap(), world.packed(&source).unwrap());
    // A root may be named by a link; what is inside is kept as a link.
    let linked = tempfile::tempdir().unwrap();
    symlink(&source, linked.path().join("root")).unwrap();
    assert_eq!(world.packed(&source).unwrap(), world.packed(&linked.path().join("root")).unwrap());
    let stream = world.packed(linked.path()).unwrap();
    world.unpack(&stream).unwrap();
    assert_eq!(fs::read_link(world.target().join("root")).unwrap(), source);
}

#[test]
fn folders_are_not_packed_deeper_than_they_can_be_unpacked() {
    let (world, deep) = (World::new(), tempfile::tempdir().unwrap());
    let mut path = deep.path().to_owned();
    (1..DEPTH_MAX).for_each(|_| path.push("d"));
    fs::create_dir_all(&path).unwrap();
    let stream = world.packed(deep.path()).unwrap();
    world.unpack(&stream).unwrap();
    fs::create_dir(path.join("d")).unwrap();
    assert!(world.packed(deep.path()).unwrap_err().to_string().contains("folders deep"));
}
