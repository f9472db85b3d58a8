//! turmoil's network: for nodes as `env::Net`, for clients as `dial::Connect`.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use cairn_client::dial::{self, Connect};
use cairn_node::data::stream;
use cairn_node::env::{Env, Listener, Net, PayloadLimits, Progress, ReadAt, Sink, Stream};
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

/// The network of the simulation. Addresses are `MACHINE:PORT`.
#[derive(Clone, Copy, Debug, Default)]
pub struct SimNet;

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
        Ok(Box::new(connect(address).await?))
    }
}

impl Connect for SimNet {
    fn connect<'a>(&'a self, endpoint: &'a str) -> BoxFuture<'a, io::Result<Box<dyn dial::Stream>>> {
        Box::pin(async move {
            let stream: Box<dyn dial::Stream> = Box::new(connect(endpoint).await?);
            Ok(stream)
        })
    }
}

async fn connect(address: &str) -> io::Result<SimStream> {
    tracing::trace!(target: "cairn_sim::net", %address, "dial");
    let stream = TcpStream::connect(address).await?;
    tracing::trace!(target: "cairn_sim::net", %address, "connected");
    Ok(SimStream(stream))
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
        Ok((Box::new(SimStream(stream)), from.to_string()))
    }

    fn address(&self) -> String {
        self.address.clone()
    }
}

/// One connection. Payloads are copied through it like everything else.
struct SimStream(TcpStream);

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
        stream::send(&mut self.0, env, file, offset, limits, &progress).await?;
        Ok(self)
    }

    async fn receive_payload(
        mut self: Box<Self>,
        env: &Env,
        length: u64,
        sink: Box<dyn Sink>,
        limits: PayloadLimits,
    ) -> io::Result<Box<dyn Stream>> {
        stream::receive(&mut self.0, env, length, sink, limits).await?;
        Ok(self)
    }
}

impl AsyncRead for SimStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
