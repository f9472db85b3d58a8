//! turmoil's network: for nodes as `env::Net`, for clients as `dial::Connect`.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use cairn_client::dial::{self, Connect};
use cairn_node::data::stream;
use cairn_node::env::{Env, Listener, Net, PayloadLimits, Progress, ReadAt, Sink, Stream};
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

/// The most connections of a machine that are remembered.
const RECORDS_MAX: usize = 64;
/// The most bytes of one connection that are remembered.
const RECORD_BYTES_MAX: usize = 64 << 10;
/// How long an echo lasts: whoever is meant may be gone, and nobody wants its answer.
const ECHO_MAX: Duration = Duration::from_secs(2);

/// The network of the simulation. Addresses are `MACHINE:PORT`.
#[derive(Clone, Debug, Default)]
pub struct SimNet {
    recorder: Option<Recorder>,
}

impl SimNet {
    /// A network that remembers what was sent.
    pub fn recording(recorder: Recorder) -> Self {
        Self { recorder: Some(recorder) }
    }
}

/// What a machine sent at the beginning of its newest connections, so that it can come twice, and late.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<VecDeque<Record>>>);

/// One connection: to whom, and the first of its bytes.
#[derive(Clone, Debug)]
struct Record {
    to: String,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Recorder {
    fn begin(&self, to: &str) -> Arc<Mutex<Vec<u8>>> {
        let record = Record { to: to.to_owned(), bytes: Arc::default() };
        let bytes = record.bytes.clone();
        let mut records = lock(&self.0);
        if records.len() >= RECORDS_MAX {
            records.pop_front();
        }
        records.push_back(record);
        bytes
    }

    /// How many connections are remembered.
    pub fn len(&self) -> usize {
        lock(&self.0).len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sends the bytes of one remembered connection again, over a new one. The network may do that: whoever receives
    /// them must know what came before.
    pub async fn echo(&self, index: usize) -> io::Result<()> {
        let record = lock(&self.0).get(index).cloned().ok_or(io::ErrorKind::NotFound)?;
        let bytes = lock(&record.bytes).clone();
        tracing::info!(to = %record.to, bytes = bytes.len(), "an echo");
        let again = async {
            let mut stream = TcpStream::connect(record.to).await?;
            stream.write_all(&bytes).await?;
            stream.read_to_end(&mut Vec::new()).await
        };
        match tokio::time::timeout(ECHO_MAX, again).await {
            Ok(ended) => ended.map(drop),
            Err(_) => Ok(()),
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Net for SimNet {
    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        let (_, port) = address.rsplit_once(':').ok_or(io::ErrorKind::InvalidInput)?;
        // turmoil listens on all addresses of a machine, or on none.
        let listener = TcpListener::bind(format!("0.0.0.0:{port}")).await?;
        tracing::trace!(target: "cairn_sim::net", %address, "listen");
        Ok(Box::new(SimListener { listener, address: address.to_owned() }))
    }

    async fn dial(&self, address: &str) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(self.connect(address).await?))
    }
}

impl Connect for SimNet {
    fn connect<'a>(&'a self, endpoint: &'a str) -> BoxFuture<'a, io::Result<Box<dyn dial::Stream>>> {
        Box::pin(async move {
            let stream: Box<dyn dial::Stream> = Box::new(SimNet::connect(self, endpoint).await?);
            Ok(stream)
        })
    }
}

impl SimNet {
    async fn connect(&self, address: &str) -> io::Result<SimStream> {
        tracing::trace!(target: "cairn_sim::net", %address, "dial");
        let stream = TcpStream::connect(address).await?;
        tracing::trace!(target: "cairn_sim::net", %address, "connected");
        let sent = self.recorder.as_ref().map(|recorder| recorder.begin(address));
        Ok(SimStream { stream, sent })
    }
}

struct SimListener {
    listener: TcpListener,
    address: String,
}

#[async_trait]
impl Listener for SimListener {
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, String)> {
        let (stream, from) = self.listener.accept().await?;
        tracing::trace!(target: "cairn_sim::net", address = %self.address, %from, "accepted");
        Ok((Box::new(SimStream { stream, sent: None }), from.to_string()))
    }

    fn address(&self) -> String {
        self.address.clone()
    }
}

/// One connection. Payloads are copied through it like everything else.
struct SimStream {
    stream: TcpStream,
    /// What was sent, if it is remembered.
    sent: Option<Arc<Mutex<Vec<u8>>>>,
}

#[async_trait]
impl Stream for SimStream {
    async fn send_payload(
        mut self: Box<Self>,
        env: &Env,
        file: Arc<dyn ReadAt>,
        offset: u64,
        limits: PayloadLimits,
        progress: Progress,
    ) -> io::Result<Box<dyn Stream>> {
        stream::send(&mut *self, env, file, offset, limits, &progress).await?;
        Ok(self)
    }

    async fn receive_payload(
        mut self: Box<Self>,
        env: &Env,
        length: u64,
        sink: Box<dyn Sink>,
        limits: PayloadLimits,
    ) -> io::Result<Box<dyn Stream>> {
        stream::receive(&mut *self, env, length, sink, limits).await?;
        Ok(self)
    }
}

impl AsyncRead for SimStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let (Poll::Ready(Ok(count)), Some(sent)) = (&written, &self.sent) {
            let mut sent = lock(sent);
            let room = RECORD_BYTES_MAX - sent.len();
            sent.extend(bytes.iter().take((*count).min(room)));
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
