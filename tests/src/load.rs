//! Load: several clients that save, load, take over and remove, and write down what they were told.
//!
//! - `names`: which names are in use, and what is known of them;
//! - `sink`: where loads go;
//! - `client`: one client's calls;
//! - here: all of them, let go and halted.
//!
//! Each name gets a bounded number of calls and then makes room for the next one, so that a search can decide whether
//! what was told of it makes sense. Small segments keep all of their versions: each one that was acknowledged can be
//! asked for.

mod client;
mod names;
mod sink;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use cairn_store::name::Name;
use cairn_store::node::NodeName;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

pub(crate) use sink::Sink;

pub use names::{KEEP_LARGE, KEEP_SMALL};

use crate::book::Book;
use crate::chance::Chance;
use crate::site::Site;
use client::Worker;
use names::Names;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// What is drawn.
    pub seed: u64,
    /// How many clients at once.
    pub clients: usize,
    /// Names in use at once.
    pub names: usize,
    /// How many of those have large segments.
    pub large: usize,
    /// How many saves of a hundred want a copy on only one other node: the fewer copies, the more loads pull.
    pub sparse_percent: u64,
    /// How long a call is tried, at least and at most, in milliseconds.
    pub timeout_ms: (u64, u64),
}

impl Default for Wish {
    fn default() -> Self {
        Self { seed: 0, clients: 6, names: 9, large: 3, sparse_percent: 20, timeout_ms: (1_500, 6_000) }
    }
}

/// What the clients share.
struct Shared {
    book: Arc<Book>,
    /// Executors, with their endpoints.
    nodes: Vec<(NodeName, String)>,
    names: Names,
    base: Vec<u8>,
    stamp: AtomicU64,
    wish: Wish,
    scratch: std::path::PathBuf,
    halted: AtomicBool,
    ended: AtomicBool,
    busy: AtomicUsize,
}

/// Clients at work.
pub struct Load {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
    handle: Handle,
}

/// The largest segment that is saved, in bytes.
const LARGE_MAX: usize = 9 << 20;
/// How often a halted client looks whether it may go on.
const LOOK: Duration = Duration::from_millis(20);

impl Load {
    /// Starts the clients; `scratch` is a folder of theirs.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn start(site: &Site, book: &Arc<Book>, scratch: &Path, wish: Wish) -> anyhow::Result<Self> {
        std::fs::create_dir_all(scratch)?;
        let host = |index: usize| (site.hosts[index].name.clone(), site.hosts[index].addresses.rpc.clone());
        let mut base = vec![0; LARGE_MAX];
        blake3::Hasher::new().update(&wish.seed.to_le_bytes()).finalize_xof().fill(&mut base);
        let shared = Arc::new(Shared {
            book: book.clone(),
            nodes: site.executors().into_iter().map(host).collect(),
            names: Names::new(wish),
            base,
            stamp: AtomicU64::new(0),
            wish,
            scratch: scratch.to_owned(),
            halted: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            busy: AtomicUsize::new(0),
        });
        let handle = site.handle();
        let mut chance = Chance::new(wish.seed);
        let worker = |number| {
            let worker = Worker::new(shared.clone(), chance.fork(), number);
            handle.spawn(work(shared.clone(), worker))
        };
        let tasks = (0..wish.clients).map(worker).collect();
        Ok(Self { shared, tasks, handle })
    }

    /// Lets no new call begin, and waits until those that go on are answered or given up.
    ///
    /// # Errors
    /// It was interrupted, or a client hangs.
    pub fn halt(&self) -> anyhow::Result<()> {
        self.shared.halted.store(true, Ordering::SeqCst);
        // Longer than any call with its retries: a save whose work goes on renews its time.
        crate::wait::within(Duration::from_secs(180), "the clients stand still", || {
            Ok((self.shared.busy.load(Ordering::SeqCst) == 0).then_some(()))
        })
    }

    /// Lets calls begin again.
    pub fn go_on(&self) {
        self.shared.halted.store(false, Ordering::SeqCst);
    }

    /// Names that had their calls. Told once.
    pub fn take_done(&self) -> Vec<Name> {
        self.shared.names.take_done()
    }

    /// Names in use.
    pub fn active(&self) -> Vec<Name> {
        self.shared.names.active()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.tasks.iter().for_each(JoinHandle::abort);
        let tasks = std::mem::take(&mut self.tasks);
        self.handle.block_on(async move {
            for task in tasks {
                let _ = task.await;
            }
        });
    }
}

async fn work(shared: Arc<Shared>, mut worker: Worker) {
    while !shared.ended.load(Ordering::SeqCst) {
        // Counted before the look, so that whoever halts sees either none at work or this one.
        shared.busy.fetch_add(1, Ordering::SeqCst);
        if shared.halted.load(Ordering::SeqCst) {
            shared.busy.fetch_sub(1, Ordering::SeqCst);
            tokio::time::sleep(LOOK).await;
            continue;
        }
        worker.call().await;
        shared.busy.fetch_sub(1, Ordering::SeqCst);
    }
}
