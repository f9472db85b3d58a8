//! TCP and Unix sockets.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::payload;
use crate::env::{Env, Listener, Net, Pace, PayloadLimits, Progress, ReadAt, Sink, Stream};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// The kernel's sockets.
#[derive(Debug, Default)]
pub struct SocketNet;

#[async_trait]
impl Net for SocketNet {
    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        if let Some(path) = address.strip_prefix("unix:") {
            // A socket that an earlier life left behind; the folder's lock says that it is nobody's now.
            match std::fs::symlink_metadata(path) {
                Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
                Ok(_) => {
                    return Err(io::Error::new(
                        io::ErrorKind::AlreadyExists,
                        "something else than a socket is there",
                    ));
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
            return Ok(Box::new(Unix(UnixListener::bind(path)?, address.to_owned())));
        }
        let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "the address names no host");
        for resolved in tokio::net::lookup_host(address).await? {
            let bound =
                if resolved.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() };
            match bound.and_then(|socket| {
                socket.set_reuseaddr(true)?;
                socket.bind(resolved)?;
                socket.listen(BACKLOG)
            }) {
                Ok(listener) => return Ok(Box::new(Tcp(listener))),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    async fn dial(&self, address: &str) -> io::Result<Box<dyn Stream>> {
        if let Some(path) = address.strip_prefix("unix:") {
            return Ok(Box::new(Socket::Unix(UnixStream::connect(path).await?)));
        }
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(Socket::Tcp(stream)))
    }
}

struct Tcp(TcpListener);
struct Unix(UnixListener, String);

#[async_trait]
impl Listener for Tcp {
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, String)> {
        let (stream, from) = self.0.accept().await?;
        stream.set_nodelay(true)?;
        Ok((Box::new(Socket::Tcp(stream)), from.to_string()))
    }

    fn address(&self) -> String {
        self.0.local_addr().map_or_else(|e| e.to_string(), |a| a.to_string())
    }
}

#[async_trait]
impl Listener for Unix {
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, String)> {
        let (stream, _) = self.0.accept().await?;
        Ok((Box::new(Socket::Unix(stream)), "a local process".into()))
    }

    fn address(&self) -> String {
        self.1.clone()
    }
}

/// One connection. Its bytes go through tokio, its payloads through blocking threads.
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

#[async_trait]
impl Stream for Socket {
    async fn send_payload(
        self: Box<Self>,
        env: &Env,
        file: Arc<dyn ReadAt>,
        offset: u64,
        limits: PayloadLimits,
        progress: Progress,
    ) -> io::Result<Box<dyn Stream>> {
        let socket = self.into_blocking(limits)?;
        let clock = env.clock.clone();
        let (socket, sent) = env
            .blocking(move || {
                let mut pace = Pace::new(limits, clock.now());
                let mut moved = |bytes| pace.moved(bytes, clock.now()).and_then(|()| progress(bytes));
                let sent = payload::send(&socket, file.as_ref(), offset, limits.idle, &mut moved);
                (socket, sent)
            })
            .await?;
        sent?;
        Self::from_blocking(socket)
    }

    async fn receive_payload(
        self: Box<Self>,
        env: &Env,
        length: u64,
        mut sink: Box<dyn Sink>,
        limits: PayloadLimits,
    ) -> io::Result<Box<dyn Stream>> {
        let socket = self.into_blocking(limits)?;
        let clock = env.clock.clone();
        let (socket, received) = env
            .blocking(move || {
                let mut pace = Pace::new(limits, clock.now());
                let mut moved = |bytes| {
                    pace.moved(bytes, clock.now())?;
                    let early = pace.early(clock.now());
                    if !early.is_zero() {
                        // A thread of its own for as long as it lasts; the sender waits for the socket.
                        std::thread::sleep(early);
                    }
                    Ok(())
                };
                let received = payload::receive(&socket, length, sink.as_mut(), &mut moved);
                (socket, received)
            })
            .await?;
        received?;
        Self::from_blocking(socket)
    }
}

impl Socket {
    /// Out of tokio, with the kernel's own time-outs.
    fn into_blocking(self, limits: PayloadLimits) -> io::Result<payload::Blocking> {
        Ok(match self {
            Self::Tcp(stream) => {
                let stream = stream.into_std()?;
                stream.set_nonblocking(false)?;
                stream.set_read_timeout(Some(limits.idle))?;
                stream.set_write_timeout(Some(limits.idle))?;
                payload::Blocking::Tcp(stream)
            }
            Self::Unix(stream) => {
                let stream = stream.into_std()?;
                stream.set_nonblocking(false)?;
                stream.set_read_timeout(Some(limits.idle))?;
                stream.set_write_timeout(Some(limits.idle))?;
                payload::Blocking::Unix(stream)
            }
        })
    }

    fn from_blocking(socket: payload::Blocking) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(match socket {
            payload::Blocking::Tcp(stream) => {
                stream.set_nonblocking(true)?;
                Self::Tcp(TcpStream::from_std(stream)?)
            }
            payload::Blocking::Unix(stream) => {
                stream.set_nonblocking(true)?;
                Self::Unix(UnixStream::from_std(stream)?)
            }
        }))
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
