//! The seams. Everything outside the node's own logic goes through here, so that the simulation runs the real node.
//!
//! | seam | real | simulated |
//! |---|---|---|
//! | [`Clock`] | tokio's | turmoil's |
//! | [`Rng`], ids | the kernel's | a seed's |
//! | [`Spawn`] | tokio's tasks and blocking threads | tasks; blocking work is one of them, a little later |
//! | [`Net`], [`Stream`] | TCP and Unix sockets, `sendfile` | turmoil's sockets, plain copies |
//! | [`Disk`] | [`cairn_store::disk::FileDisk`] on the kernel's file system | the same, on one in memory that forgets what was not fsynced |
//! | [`Catalogue`] | sled | memory |
//! | [`Objects`] | an object store, if the node has one | one in memory that fails as such stores do |
//! | the Raft log | `raft-log` | memory that forgets what was not flushed |
//!
//! `clippy.toml` forbids the direct ways. The real versions are in [`real`].

mod objects;
mod pace;
pub mod real;
mod seeded;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
pub use cairn_store::disk::{Disk, ReadAt, SegmentWriter};
use cairn_store::id::CopyId;
use cairn_store::time::WallTime;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

pub use crate::catalogue::Catalogue;
pub use objects::{Listed, ObjectError, Objects, PART_BYTES, Upload};
pub use pace::Pace;
pub use seeded::seeded;

/// Everything that a node gets from outside.
#[derive(Clone)]
pub struct Env {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// Tasks and threads.
    pub spawn: Arc<dyn Spawn>,
    /// Connections.
    pub net: Arc<dyn Net>,
    /// Segment files.
    pub disk: Arc<dyn Disk>,
    /// What lies on this node.
    pub catalogue: Arc<dyn Catalogue>,
    /// Where the global tier lies, if this node has one.
    pub objects: Option<Arc<dyn Objects>>,
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Env")
    }
}

impl Env {
    /// A new id, ordered by wall time (UUIDv7).
    pub fn uuid(&self) -> uuid::Uuid {
        let mut random = [0; 10];
        let (a, b) = (self.rng.next().to_le_bytes(), self.rng.next().to_le_bytes());
        for (to, from) in random.iter_mut().zip(a.into_iter().chain(b)) {
            *to = from;
        }
        uuid::Builder::from_unix_timestamp_millis(self.clock.wall().0, &random).into_uuid()
    }

    /// A new copy's id.
    pub fn copy_id(&self) -> CopyId {
        CopyId(self.uuid())
    }

    /// Runs `work` where it may block, and waits for it.
    pub async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let (tx, rx) = tokio::sync::oneshot::channel();
        self.spawn.blocking(Box::new(move || {
            // Nobody may be waiting any more.
            let _ = tx.send(work());
        }));
        rx.await.map_err(|_| io::Error::other("the blocking work ended without a result"))
    }

    /// Starts a task.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn.task(Box::pin(seeded(self.rng.next(), task)));
    }

    /// `work`, or `None` if it takes longer than `limit`.
    ///
    /// The work is put on the heap: a future that waits for it within another one would hold it twice, and requests are
    /// moved several times before they run.
    pub fn timeout<T, F>(&self, limit: Duration, work: F) -> impl Future<Output = Option<T>> + use<T, F>
    where
        F: Future<Output = T>,
    {
        let (mut work, sleep) = (Box::pin(work), self.clock.sleep(limit));
        async move {
            tokio::select! {
                biased;
                value = &mut work => Some(value),
                () = sleep => None,
            }
        }
    }
}

/// Time.
pub trait Clock: Send + Sync {
    /// Monotonic, since some fixed moment before the node started.
    fn now(&self) -> Duration;
    /// For people.
    fn wall(&self) -> WallTime;
    /// Waits.
    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()>;
}

/// Randomness.
pub trait Rng: Send + Sync {
    /// 64 random bits.
    fn next(&self) -> u64;
}

/// Tasks and threads.
pub trait Spawn: Send + Sync {
    /// Starts a task.
    fn task(&self, task: BoxFuture<'static, ()>);
    /// Runs blocking work on a thread of its own pool.
    fn blocking(&self, work: Box<dyn FnOnce() + Send>);
}

/// Connections.
#[async_trait]
pub trait Net: Send + Sync {
    /// Listens on `HOST:PORT`, or on `unix:PATH`.
    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>>;
    /// Connects to `HOST:PORT`.
    async fn dial(&self, address: &str) -> io::Result<Box<dyn Stream>>;
}

/// Where connections arrive.
#[async_trait]
pub trait Listener: Send + Sync {
    /// The next connection, and whom it is from, for logs.
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, String)>;
    /// The address that it really listens on.
    fn address(&self) -> String;
}

/// Takes blocks of payload, in order. Runs where it may block.
pub trait Sink: Send {
    /// The next block: [`cairn_store::digest::BLOCK_BYTES`] bytes, the last one fewer. An error ends the transfer.
    fn block(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// Told how many more bytes went through. An error ends the transfer.
pub type Progress = Arc<dyn Fn(u64) -> io::Result<()> + Send + Sync>;

/// Bounds of a payload's way.
#[derive(Clone, Copy, Debug)]
pub struct PayloadLimits {
    /// A peer that moves nothing for so long is given up.
    pub idle: Duration,
    /// And one that moves fewer bytes than this a second, all in all.
    pub rate_min: u64,
    /// Whoever receives takes no more bytes a second, all in all; 0: as many as come.
    pub rate_max: u64,
}

/// One connection.
#[async_trait]
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {
    /// Sends `file` from `offset` to its end as plain bytes, then gives the connection back. An error ends it.
    async fn send_payload(
        self: Box<Self>,
        env: &Env,
        file: Arc<dyn ReadAt>,
        offset: u64,
        limits: PayloadLimits,
        progress: Progress,
    ) -> io::Result<Box<dyn Stream>>;

    /// Receives `length` plain bytes into `sink`, then gives the connection back. An error ends it.
    async fn receive_payload(
        self: Box<Self>,
        env: &Env,
        length: u64,
        sink: Box<dyn Sink>,
        limits: PayloadLimits,
    ) -> io::Result<Box<dyn Stream>>;
}
