//! `cairnd start`: runs a node.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use cairn_node::catalogue::SledCatalogue;
use cairn_node::config::Config;
use cairn_node::env::real::{SocketNet, SystemClock, SystemRng, TokioSpawn};
use cairn_node::env::{Clock, Env};
use cairn_node::node::Node;
use cairn_node::raft::log::{LogTuning, WalLog};
use cairn_node::raft::machine::FORGOTTEN;
use cairn_node::work::leave::{REMOVED, STILL_VOTES};
use cairn_store::disk::FileDisk;
use sd_notify::NotifyState;

use crate::args::StartArgs;
#[cfg(all(feature = "crash-points", debug_assertions))]
use crate::crash;
use crate::durable::boot_id;
use crate::failure::{CONFLICT, Failure};
use crate::folder::{Folder, advice, is_removed};
use crate::signals::Signals;
use crate::{descriptors, logs, parent};

/// Threads that run tasks, at least and at most; between them one a core. Each has allocator memory of its own.
const WORKERS_MIN: usize = 2;
const WORKERS_MAX: usize = 4;
/// Threads for blocking work: one for each payload in and out, and for each save's and load's own work; and some.
const BLOCKING_PER_TRANSFER: usize = 4;
const BLOCKING_SPARE: usize = 64;
/// How long what still blocks may take in the end.
const END_PATIENCE: Duration = Duration::from_secs(2);
/// What becomes of a machine whose node was removed.
const JOIN_ANEW: &str = "the machine may join as a new node: give node.dir an empty folder, and run `cairnd join`";

pub(crate) fn run(args: &StartArgs) -> Result<(), Failure> {
    if let Some(expected) = args.die_with_parent {
        parent::die_with(expected)?;
    }
    let config = Config::read(&args.node.config, &args.node.set)?;
    logs::init(&config.log);
    #[cfg(all(feature = "crash-points", debug_assertions))]
    let config = crash::arm(config)?;
    config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    descriptors::raise();
    let cores = std::thread::available_parallelism().map_or(WORKERS_MIN, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.clamp(WORKERS_MIN, WORKERS_MAX))
        .max_blocking_threads(
            config.limits.transfers.saturating_mul(BLOCKING_PER_TRANSFER).saturating_add(BLOCKING_SPARE),
        )
        .enable_all()
        .build()
        .map_err(Failure::io("cannot start"))?;
    let ended = runtime.block_on(serve(&config));
    runtime.shutdown_timeout(END_PATIENCE);
    ended
}

async fn serve(config: &Config) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    // Held to the end: two daemons in one folder would destroy each other's work.
    let (folder, identity) = Folder::open(&config.dir, &config.file)?;
    let (cluster, id) = (identity.cluster, identity.node);
    if is_removed(&config.dir)? {
        return Err(Failure::new(format!("node {id} does not start: {REMOVED}")).exit(CONFLICT).hint(JOIN_ANEW));
    }
    match folder.disk.tidy_spool(SystemClock::default().wall()) {
        Ok(0) => {}
        Ok(count) => tracing::info!("removed {count} old files from the spool that killed clients had left"),
        Err(error) => tracing::warn!(%error, "old files in the spool could not be removed"),
    }
    // The log first: on a full disk it gives back the space that it had set aside, and the catalogue needs some too.
    let tuning = LogTuning::default();
    #[cfg(all(feature = "crash-points", debug_assertions))]
    let tuning = crash::tuned(tuning)?;
    let log = WalLog::open(&config.dir.join("log"), tuning).map_err(unusable)?;
    let (catalogue, trust) = SledCatalogue::open(&config.dir.join("catalogue"), &boot_id()).map_err(unusable)?;
    tracing::debug!(?trust, "the catalogue is open");
    let catalogue = Arc::new(catalogue);
    let env = Env {
        clock: Arc::new(SystemClock::default()),
        rng: Arc::new(SystemRng::default()),
        spawn: Arc::new(TokioSpawn),
        net: Arc::new(SocketNet),
        disk: Arc::new(FileDisk::open(folder.disk.dir()).map_err(unusable)?),
        catalogue: catalogue.clone(),
        objects: config.objects()?,
    };
    let node = tokio::select! {
        started = Node::start(config.settings()?, identity, env, log) => started.map_err(unusable)?,
        _ = signals.next() => return Ok(()),
    };
    let listen = &config.listen;
    tracing::info!(node = %config.name, %id, %cluster, rpc = %listen.rpc, data = %listen.data, http = %listen.http, "ready");
    // A manager that did not ask has no socket for it.
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    let stop = node.core.stop.clone();
    let ended = tokio::select! {
        ended = node.run() => ended,
        _ = signals.next() => {
            tracing::info!("asked to end");
            let _ = sd_notify::notify(&[NotifyState::Stopping]);
            stop.end();
            node.run().await
        }
    };
    if ended.is_err() {
        // After a fault nothing is written any more, not by sled's own end either: it panics over a disk that fails.
        std::mem::forget(catalogue.clone());
    }
    ended.map_err(|fault| {
        let ended = || Failure::new(format!("node {id} ends: {fault}")).exit(CONFLICT);
        match fault.as_str() {
            REMOVED => return ended().hint(JOIN_ANEW),
            STILL_VOTES => {
                return ended().hint("leave its folder as it is; start it again if the other nodes lack a quorum");
            }
            FORGOTTEN => {
                return Failure::new(format!("the node must not go on: {fault}"))
                    .hint("`cairn cluster recover --dry-run` tells what it knows; then remove it, and join with an empty folder");
            }
            _ => {}
        }
        Failure::new(format!("the node must not go on: {fault}")).hint(
            "see the lines above; what is committed is safe on the other nodes. Mend the cause before a restart",
        )
    })?;
    // After a fault nothing is written any more; the catalogue is checked at the next start.
    catalogue.close()?;
    tracing::info!("ended");
    Ok(())
}

/// Says what to do about what cannot be used.
fn unusable(error: io::Error) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::InvalidData => Some(
            "nothing was changed. What a newer cairnd wrote, that one can start; else keep the folder to be looked at, \
             and let this machine join as a new node, in an empty folder: the other nodes have what was committed",
        ),
        io::ErrorKind::AddrInUse => Some("another process has that port: end it, or choose another under [listen]"),
        io::ErrorKind::AddrNotAvailable => Some("this machine has no such address: see [listen]"),
        kind => advice(kind),
    };
    let failure = Failure::from(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
