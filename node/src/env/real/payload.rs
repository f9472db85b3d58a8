//! Payloads on blocking threads: `sendfile` out, one block-sized buffer in.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cairn_store::digest::BLOCK_BYTES;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::env::{ReadAt, Sink};

/// Of this process: a test must know that payloads went this way.
static SENDFILE_BYTES: AtomicU64 = AtomicU64::new(0);

/// How many bytes this process sent by `sendfile`.
pub fn sendfile_bytes() -> u64 {
    SENDFILE_BYTES.load(Ordering::Relaxed)
}

/// Told how many more bytes went through. An error ends the transfer.
pub(super) type Moved<'a> = dyn FnMut(u64) -> io::Result<()> + 'a;

/// A socket outside tokio.
pub(super) enum Blocking {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AsFd for Blocking {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Blocking {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&*stream).read(buffer),
            Self::Unix(stream) => (&*stream).read(buffer),
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&*stream).write(bytes),
            Self::Unix(stream) => (&*stream).write(bytes),
        }
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_nonblocking(nonblocking),
            Self::Unix(stream) => stream.set_nonblocking(nonblocking),
        }
    }

    /// Waits until it takes bytes again.
    fn wait_writable(&self, idle: Duration) -> io::Result<()> {
        let idle = Timespec::try_from(idle).map_err(io::Error::other)?;
        loop {
            match poll(&mut [PollFd::new(self, PollFlags::OUT)], Some(&idle)) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

/// Sends `source` from `offset` to the size that it had when it was opened; a receiver that takes nothing for `idle`
/// is given up. The socket's own time-out would not do: `sendfile` starts it anew for every few pages.
pub(super) fn send(
    socket: &Blocking,
    source: &dyn ReadAt,
    offset: u64,
    idle: Duration,
    moved: &mut Moved<'_>,
) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let end = source.size();
    let mut at = offset;
    match source.file() {
        Some(file) => {
            while at < end {
                let count = usize::try_from(end - at).unwrap_or(usize::MAX).min(BLOCK_BYTES);
                let sent = match rustix::fs::sendfile(socket, file, Some(&mut at), count) {
                    Ok(sent) => sent,
                    Err(rustix::io::Errno::INTR) => continue,
                    Err(rustix::io::Errno::AGAIN) => {
                        socket.wait_writable(idle)?;
                        continue;
                    }
                    Err(e) => return Err(e.into()),
                };
                if sent == 0 {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter"));
                }
                SENDFILE_BYTES.fetch_add(sent as u64, Ordering::Relaxed);
                moved(sent as u64)?;
            }
        }
        None => {
            let mut buffer = vec![0; BLOCK_BYTES];
            while at < end {
                let count = usize::try_from(end - at).unwrap_or(usize::MAX).min(BLOCK_BYTES);
                let block = buffer.get_mut(..count).unwrap_or_default();
                source.read_exact_at(block, at)?;
                write_all(socket, block, idle, moved)?;
                at += count as u64;
            }
        }
    }
    Ok(())
}

fn write_all(socket: &Blocking, mut bytes: &[u8], idle: Duration, moved: &mut Moved<'_>) -> io::Result<()> {
    while !bytes.is_empty() {
        match socket.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = bytes.get(written..).unwrap_or_default();
                moved(written as u64)?;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => socket.wait_writable(idle)?,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn read_all(socket: &Blocking, block: &mut [u8], moved: &mut Moved<'_>) -> io::Result<()> {
    let mut filled = 0;
    while filled < block.len() {
        match socket.read(block.get_mut(filled..).unwrap_or_default()) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                filled += read;
                moved(read as u64)?;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Receives `length` bytes, a block at a time.
pub(super) fn receive(socket: &Blocking, length: u64, sink: &mut dyn Sink, moved: &mut Moved<'_>) -> io::Result<()> {
    socket.set_nonblocking(false)?;
    let mut buffer = vec![0; BLOCK_BYTES.min(usize::try_from(length).unwrap_or(BLOCK_BYTES))];
    let mut left = length;
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(BLOCK_BYTES);
        let block = buffer.get_mut(..count).unwrap_or_default();
        read_all(socket, block, moved)?;
        sink.block(block)?;
        left -= count as u64;
    }
    Ok(())
}
