//! The machine's limit: the same work without a store around it. File → TCP → receivers, each its own file, durable.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl, sendfile};

use super::ground::Stop;

/// One write, in bytes.
const WRITE_BYTES: usize = 1 << 20;
/// Memory and length of a direct write are multiples of this.
const ALIGN_BYTES: usize = 4096;
/// Smaller files go through the page cache, as anybody would write them.
const DIRECT_BYTES_MIN: u64 = 4 << 20;
/// One entry of a log, in bytes.
const ENTRY_BYTES: usize = 1 << 10;

/// Sends a file to each of `to` at once, and returns when all are durable.
pub(super) fn send(file: &Path, to: &[PathBuf], stop: &Stop) -> io::Result<()> {
    let size = fs::metadata(file)?.len();
    thread::scope(|scope| {
        let mut lanes = Vec::new();
        for path in to {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let outgoing = TcpStream::connect(listener.local_addr()?)?;
            outgoing.set_nodelay(true)?;
            let (incoming, _) = listener.accept()?;
            lanes.push(scope.spawn(move || receive(incoming, path, size)));
            lanes.push(scope.spawn(move || push(&File::open(file)?, &outgoing, size, stop)));
        }
        lanes.into_iter().try_for_each(|lane| lane.join().map_err(|_| io::Error::other("a thread failed"))?)
    })
}

fn push(file: &File, stream: &TcpStream, size: u64, stop: &Stop) -> io::Result<()> {
    let mut at = 0;
    while at < size {
        stop.check()?;
        if sendfile(stream, file, Some(&mut at), WRITE_BYTES)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

fn receive(mut stream: TcpStream, path: &Path, size: u64) -> io::Result<()> {
    let mut file = create(path, size >= DIRECT_BYTES_MIN)?;
    let mut buffer = vec![0; WRITE_BYTES + ALIGN_BYTES];
    let start = buffer.as_ptr().align_offset(ALIGN_BYTES);
    let mut left = size;
    while left > 0 {
        let now = WRITE_BYTES.min(usize::try_from(left).unwrap_or(usize::MAX));
        let part = buffer.get_mut(start..start + now).ok_or(io::ErrorKind::OutOfMemory)?;
        stream.read_exact(part)?;
        if now % ALIGN_BYTES != 0 {
            // The rest at the end of the file is no whole block.
            fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::DIRECT)?;
        }
        file.write_all(part)?;
        left -= now as u64;
    }
    file.sync_data()
}

/// File systems without `O_DIRECT` get ordinary writes.
fn create(path: &Path, direct: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    let flags = i32::try_from(OFlags::DIRECT.bits()).unwrap_or(0);
    match options.clone().custom_flags(flags).open(path) {
        Ok(file) if direct => Ok(file),
        _ => options.open(path),
    }
}

/// [`send`] again and again for `span`, by so many clients at once, each with files of its own in `dir`: how long each
/// time took.
pub(super) fn send_again(
    file: &Path,
    dir: &Path,
    (clients, copies): (u32, u8),
    span: Duration,
    stop: &Stop,
) -> io::Result<Vec<Duration>> {
    let deadline = Instant::now() + span;
    let lane = |client: u32| -> io::Result<Vec<Duration>> {
        let to: Vec<PathBuf> = (0..copies).map(|copy| dir.join(format!("limit-{client}-{copy}"))).collect();
        let mut took = Vec::new();
        while Instant::now() < deadline {
            let begun = Instant::now();
            send(file, &to, stop)?;
            took.push(begun.elapsed());
        }
        Ok(took)
    };
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..clients).map(|client| scope.spawn(move || lane(client))).collect();
        let took = lanes.into_iter().map(|lane| lane.join().map_err(|_| io::Error::other("a thread failed"))?);
        Ok(took.collect::<io::Result<Vec<_>>>()?.concat())
    })
}

/// Adds entries to a log, one at a time and each durable, for `span`: how long each took.
pub(super) fn append_again(path: &Path, span: Duration, stop: &Stop) -> io::Result<Vec<Duration>> {
    let (mut file, deadline, entry) = (File::create(path)?, Instant::now() + span, [7; ENTRY_BYTES]);
    let mut took = Vec::new();
    while Instant::now() < deadline {
        stop.check()?;
        let begun = Instant::now();
        file.write_all(&entry)?;
        file.sync_data()?;
        took.push(begun.elapsed());
    }
    fs::remove_file(path)?;
    Ok(took)
}
