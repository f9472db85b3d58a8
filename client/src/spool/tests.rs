use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use super::*;
use crate::api::Code;

struct World {
    dir: tempfile::TempDir,
    spool: Spool,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (path, incarnation) = (dir.path().join("spool"), Incarnation(Uuid::now_v7()));
        fs::create_dir(&path).unwrap();
        fs::write(path.join(SPOOL_MARK), format!("{incarnation}\n")).unwrap();
        let spool = Spool::recognise(&path, incarnation).unwrap().unwrap();
        Self { dir, spool }
    }

    fn file(&self, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join("state");
        fs::write(&path, bytes).unwrap();
        path
    }

    fn spooled(&self) -> usize {
        fs::read_dir(self.spool.dir()).unwrap().count() - 1
    }
}

fn invalid(fault: &Fault) -> bool {
    matches!(fault, Fault::Request(error) if error.code == Code::Invalid)
}

#[test]
fn another_node_s_spool_and_no_spool_are_not_recognised() {
    let world = World::new();
    let stranger = Incarnation(Uuid::now_v7());
    assert_eq!(Spool::recognise(world.spool.dir(), stranger).unwrap(), None);
    assert_eq!(Spool::recognise(Path::new("/no/such"), stranger).unwrap(), None);
}

#[test]
fn a_copy_lives_as_long_as_its_handle() {
    let world = World::new();
    for bytes in [vec![], vec![7; 3 << 20]] {
        let source = SourceFile::open(&world.file(&bytes)).unwrap();
        let spooled = world.spool.copy(&source, &mut |_| Ok(())).unwrap();
        assert_eq!(fs::read(spooled.path()).unwrap(), bytes);
        assert!(!spooled.name().starts_with('.') && !spooled.name().contains('/'));
        assert_eq!(spooled.path().metadata().unwrap().mode() & 0o440, 0o440);
        drop(spooled);
        assert_eq!(world.spooled(), 0);
    }
}

#[test]
fn an_application_writes_directly() {
    let world = World::new();
    let mut file = world.spool.writer().unwrap();
    file.write_all(b"state").unwrap();
    let spooled = file.commit();
    assert_eq!(fs::read(spooled.path()).unwrap(), b"state");
}

#[test]
fn a_moved_file_goes_back_unless_it_was_saved() {
    let world = World::new();
    let path = world.file(b"precious");
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    let source = SourceFile::open(&path).unwrap();
    let spooled = world.spool.take(&source).unwrap().unwrap();
    assert_eq!(spooled.path().metadata().unwrap().ino(), path.metadata().unwrap().ino(), "it never leaves its place");
    drop(spooled);
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);

    // A name that goes away meanwhile comes back, too.
    let spooled = world.spool.take(&source).unwrap().unwrap();
    fs::remove_file(&path).unwrap();
    drop(spooled);
    assert_eq!(fs::read(&path).unwrap(), b"precious");

    world.spool.take(&source).unwrap().unwrap().keep();
    assert_eq!(world.spooled(), 0);
}

#[test]
fn a_moved_file_is_never_moved_back_over_another() {
    let world = World::new();
    let path = world.file(b"precious");
    let spooled = world.spool.take(&SourceFile::open(&path).unwrap()).unwrap().unwrap();
    let place = spooled.path().to_owned();
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"newer").unwrap();
    let fault = spooled.give_back(Outcome::None).unwrap_err();
    assert!(fault.hint.unwrap().contains(place.to_str().unwrap()));
    assert_eq!(fs::read(place).unwrap(), b"precious");
    assert_eq!(fs::read(path).unwrap(), b"newer");
}

#[test]
fn what_a_node_may_have_kept_goes_back_as_a_copy() {
    let world = World::new();
    let path = world.file(&vec![7; 3 << 20]);
    fs::set_permissions(&path, Permissions::from_mode(0o604)).unwrap();
    let before = path.metadata().unwrap();
    let cases = [
        (Outcome::Unknown, false, true),
        (Outcome::Unknown, true, true),
        (Outcome::Unknown, false, false),
        // A stray that the node has not collected yet.
        (Outcome::None, false, true),
        (Outcome::None, false, false),
    ];
    for (outcome, dropped, linked) in cases {
        let inode = path.metadata().unwrap().ino();
        let mut spooled = world.spool.take(&SourceFile::open(&path).unwrap()).unwrap().unwrap();
        // A node's own copy is another name of the file.
        let copy = world.dir.path().join("copy");
        if linked {
            fs::hard_link(spooled.path(), &copy).unwrap();
        }
        spooled.hand_over();
        if dropped {
            drop(spooled);
        } else {
            spooled.give_back(outcome).unwrap();
        }
        if linked {
            fs::remove_file(copy).unwrap();
        }
        let after = path.metadata().unwrap();
        assert_eq!(after.ino() == inode, outcome == Outcome::None && !linked);
        assert_eq!((after.mode(), after.gid(), after.mtime()), (before.mode(), before.gid(), before.mtime()));
        assert!(fs::read(&path).unwrap() == vec![7; 3 << 20]);
        assert_eq!((world.spooled(), fs::read_dir(world.dir.path()).unwrap().count()), (0, 2));
    }
}

#[test]
fn what_cannot_be_copied_back_stays_in_the_spool() {
    let world = World::new();
    let path = world.file(b"precious");
    let mut spooled = world.spool.take(&SourceFile::open(&path).unwrap()).unwrap().unwrap();
    let place = spooled.path().to_owned();
    spooled.hand_over();
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"newer").unwrap();
    let fault = spooled.give_back(Outcome::Unknown).unwrap_err();
    assert!(fault.with_hint().contains(place.to_str().unwrap()), "{fault}");
    assert_eq!(fs::read(place).unwrap(), b"precious");
    assert_eq!(fs::read(&path).unwrap(), b"newer");
    assert_eq!(fs::read_dir(world.dir.path()).unwrap().count(), 2, "no half of a copy is left");
}

#[test]
fn a_file_with_another_name_is_not_moved() {
    let world = World::new();
    let path = world.file(b"state");
    let other = world.dir.path().join("other");
    fs::hard_link(&path, &other).unwrap();
    let source = SourceFile::open(&path).unwrap();
    assert!(world.spool.take(&source).unwrap().is_none());
    assert!(path.exists() && world.spooled() == 0);
    fs::remove_file(other).unwrap();
    assert!(world.spool.take(&source).unwrap().is_some());
}

#[test]
fn a_link_is_copied_but_not_moved() {
    let world = World::new();
    let (path, link) = (world.file(b"state"), world.dir.path().join("link"));
    symlink(&path, &link).unwrap();
    let source = SourceFile::open(&link).unwrap();
    assert_eq!(fs::read(world.spool.copy(&source, &mut |_| Ok(())).unwrap().path()).unwrap(), b"state");
    assert!(invalid(&world.spool.take(&source).unwrap_err()));
    assert!(link.exists() && path.exists());
}

#[test]
fn a_file_that_changes_while_it_is_read_is_refused() {
    let world = World::new();
    let path = world.file(&vec![1; 64 << 10]);
    let source = SourceFile::open(&path).unwrap();
    let mut append = OpenOptions::new().append(true).open(&path).unwrap();
    let fault = world.spool.copy(&source, &mut |_| append.write_all(b"more")).unwrap_err();
    assert!(fault.to_string().contains("changed while it was read"), "{fault}");
    assert_eq!(world.spooled(), 0);
}

#[test]
fn a_copy_that_is_told_to_stop_leaves_nothing() {
    let world = World::new();
    let source = SourceFile::open(&world.file(&vec![1; 64 << 10])).unwrap();
    assert!(world.spool.copy(&source, &mut |_| Err(io::ErrorKind::Interrupted.into())).is_err());
    assert_eq!(world.spooled(), 0);
}

#[test]
fn only_regular_files_are_saved() {
    let world = World::new();
    let fifo = world.dir.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    let socket = world.dir.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    let cases = [
        (fifo.as_path(), "a pipe"),
        (socket.as_path(), "a socket"),
        (world.dir.path(), "a directory"),
        (Path::new("/dev/zero"), "a device"),
    ];
    for (path, what) in cases {
        let fault = SourceFile::open(path).unwrap_err();
        assert!(invalid(&fault) && fault.to_string().contains(what), "{fault}");
    }
    let missing = SourceFile::open(Path::new("/no/such")).unwrap_err();
    assert_eq!((missing.code().as_str(), missing.exit()), ("io", 1));
    assert!(missing.to_string().contains("/no/such"));
}
