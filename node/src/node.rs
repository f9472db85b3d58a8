//! Assembly: a node out of its parts.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use cairn_store::disk::Toc;
use cairn_store::id::{ClusterId, CopyId};
use cairn_store::meta::Command;
use cairn_store::node::Profile;
use openraft::RaftLogReader;
use openraft::async_runtime::WatchReceiver;
use openraft::storage::RaftLogStorage;
use openraft::{Config, SnapshotPolicy};
use tokio::sync::Semaphore;

use crate::catalogue::Held;
use crate::core::{Core, Limits, Stop};
use crate::env::{Env, Listener, seeded};
use crate::http;
use crate::identity::Identity;
use crate::jobs::Jobs;
use crate::links::Links;
use crate::listen::{Purpose, listen};
use crate::metrics::Metrics;
use crate::raft::machine::Machine;
use crate::raft::network::Network;
use crate::raft::types::{LogId, Peer, Vote};
use crate::raft::{Raft, Types};
use crate::service::Service;
use crate::storage::Storage;
use crate::tier::Tier;
use crate::turns::Turns;
use crate::versions::Versions;
use crate::work::{self, adopt::Heritage, repair::Crew, space::Space, verify::Looks};

/// What a node is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What it says of itself; its addresses are those that others use.
    pub profile: Profile,
    /// Where its service listens: `HOST:PORT`, `unix:PATH`; one of them at least.
    pub rpc: Vec<String>,
    /// Where its data plane listens.
    pub data: String,
    /// Where it tells its health and metrics over HTTP, if it does.
    pub http: Option<String>,
    /// Bounds and times.
    pub limits: Limits,
    /// Raft's times.
    pub raft: RaftTimes,
}

/// Raft's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaftTimes {
    /// How often the leader is heard.
    pub heartbeat: Duration,
    /// After this silence at the soonest a follower stands for election.
    pub election_min: Duration,
    /// After this silence at the latest.
    pub election_max: Duration,
    /// A snapshot after so many entries.
    pub snapshot_every: u64,
    /// Entries that stay in the log behind a snapshot, for members that are a little behind.
    pub log_kept: u64,
}

impl Default for RaftTimes {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(150),
            election_min: Duration::from_millis(600),
            election_max: Duration::from_millis(1200),
            snapshot_every: 20_000,
            log_kept: 2_000,
        }
    }
}

/// How long a snapshot's frame, or its installation, may take.
const SNAPSHOT_MS: u64 = 60_000;
/// The most entries in one message.
const APPEND_MAX: u64 = 256;
/// So many requests look through all segments at once: each keeps a processor busy for as long as it takes.
const SCANS_MAX: usize = 2;
/// How long a clean end waits for Raft.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(5);

/// A running node.
pub struct Node {
    /// What its parts share.
    pub core: Arc<Core>,
}

impl Node {
    /// Starts a node: tidies its disk, opens its state, listens, and lets its loops go.
    ///
    /// # Errors
    /// A disk, a log or a snapshot that cannot be used; an address that cannot be listened on.
    pub async fn start(
        settings: Settings,
        identity: Identity,
        env: Env,
        log: impl RaftLogStorage<Types>,
    ) -> io::Result<Self> {
        let seed = env.rng.next();
        seeded(seed, Self::assemble(settings, identity, env, log)).await
    }

    async fn assemble(
        settings: Settings,
        identity: Identity,
        env: Env,
        mut log: impl RaftLogStorage<Types>,
    ) -> io::Result<Self> {
        // First the ports: an address in use must not cost a scan.
        let mut fronts: Vec<Box<dyn Listener>> = Vec::new();
        for address in &settings.rpc {
            fronts.push(bind(&env, address).await?);
        }
        let data = bind(&env, &settings.data).await?;
        let http = match &settings.http {
            Some(address) => Some(bind(&env, address).await?),
            None => None,
        };
        let foreign = tidy(&env, identity.cluster).await?;

        let machine = Machine::open(env.clone())?;
        let view = machine.watch();
        let applied = view.borrow().applied;
        check_span(&mut log, applied).await?;
        check_log(&env, &identity, &mut log, applied.is_some()).await?;
        let links = Links::new(env.clone(), identity.clone(), settings.limits.handshake, view.clone());
        let network = Network { env: env.clone(), links: links.clone(), me: identity.node };
        let config = Arc::new(config(&identity, settings.raft)?);
        let raft = Raft::new(identity.node.0, config, network, log, machine).await.map_err(io::Error::other)?;
        let limits = settings.limits;
        let space = Space::new(env.clock.now());
        let tier = Arc::new(Tier::new(env.objects.clone(), limits.archive_transfers));
        let core = Arc::new(Core {
            process: env.uuid(),
            env,
            identity,
            profile: settings.profile,
            limits,
            metrics: raft.metrics(),
            raft,
            view,
            links,
            stop: Stop::default(),
            serving: Arc::new(Semaphore::new(limits.transfers)),
            pushing: Arc::new(Semaphore::new(limits.transfers)),
            saving: Arc::new(Semaphore::new(limits.transfers)),
            loading: Semaphore::new(limits.transfers),
            scanning: Arc::new(Semaphore::new(SCANS_MAX)),
            storage: Storage::default(),
            heritage: Heritage::new(foreign),
            looks: Looks::default(),
            space,
            tier,
            counts: Metrics::default(),
            saves: Arc::new(Jobs::default()),
            loads: Arc::new(Jobs::default()),
            errands: Arc::new(Jobs::default()),
            crew: Crew::default(),
            repairing: Semaphore::new(limits.repair_transfers),
            fetched: Versions::default(),
            pushed: Versions::default(),
            names: Turns::default(),
        });
        for front in fronts {
            let purpose = Purpose::Service(Service { core: core.clone() });
            core.env.spawn(listen(core.clone(), front, purpose));
        }
        core.env.spawn(listen(core.clone(), data, Purpose::Data));
        if let Some(http) = http {
            core.env.spawn(http::serve(core.clone(), http));
        }
        core.env.spawn(watch_raft(core.clone()));
        core.env.spawn(found(core.clone()));
        core.env.spawn(work::lead::lead(core.clone()));
        core.env.spawn(work::space::watch_space(core.clone()));
        core.env.spawn(work::adopt::adopt(core.clone()));
        core.env.spawn(work::collect::collect(core.clone()));
        core.env.spawn(work::describe::describe(core.clone()));
        core.env.spawn(work::leave::leave(core.clone()));
        core.env.spawn(work::repair::repair(core.clone()));
        core.env.spawn(work::scrub::scrub(core.clone()));
        core.env.spawn(work::reach::reach(core.clone()));
        core.env.spawn(work::archive::archive_all(core.clone()));
        core.env.spawn(work::sweep::sweep(core.clone()));
        core.env.spawn(work::backup::back_up(core.clone()));
        Ok(Self { core })
    }

    /// Runs until it is asked to end, or must not go on.
    ///
    /// # Errors
    /// What happened, if it must not go on.
    pub async fn run(&self) -> Result<(), String> {
        let reason = self.core.stop.wait().await;
        let core = &self.core;
        let _ = core.env.timeout(SHUTDOWN_PATIENCE, core.raft.shutdown()).await;
        if reason.is_ok() {
            let catalogue = core.env.catalogue.clone();
            let _ = core.env.blocking(move || catalogue.flush()).await;
        }
        reason
    }
}

async fn bind(env: &Env, address: &str) -> io::Result<Box<dyn Listener>> {
    env.net.listen(address).await.map_err(|e| io::Error::new(e.kind(), format!("cannot listen on {address}: {e}")))
}

/// Entries go only once a snapshot that holds what they did is durable. Where neither is there, the snapshot was lost, or
/// an older one was put in its place: the node would go on with a state that never was.
async fn check_span(log: &mut impl RaftLogStorage<Types>, applied: Option<LogId>) -> io::Result<()> {
    let purged = log.get_log_state().await?.last_purged_log_id;
    if purged <= applied {
        return Ok(());
    }
    let index = |id: Option<LogId>| id.map_or("none".into(), |id| id.index.to_string());
    let lost = format!(
        "the log's entries up to {} are gone, and the snapshot ends with {}: the snapshot was lost",
        index(purged),
        index(applied)
    );
    Err(io::Error::new(io::ErrorKind::InvalidData, lost))
}

/// Begins the log of a node that never ran, and refuses one that ran and lost it: without its vote it could vote twice
/// in a term, and undo what was committed.
///
/// The order is what makes it safe: first a vote that says nothing, then the mark beside the log, both durable, and only
/// then does Raft begin. So the mark is never there before a vote is, whenever the power goes; and as long as the mark
/// is not there, nobody was promised anything.
async fn check_log(
    env: &Env,
    identity: &Identity,
    log: &mut impl RaftLogStorage<Types>,
    restored: bool,
) -> io::Result<()> {
    let (disk, life) = (env.disk.clone(), identity.incarnation);
    let begun = env.blocking(move || disk.log_was_begun(life)).await??;
    if log.get_log_reader().await.read_vote().await?.is_none() {
        // A snapshot or a copy tells of earlier runs too, should the mark have gone with the log.
        let catalogue = env.catalogue.clone();
        if begun || restored || !env.blocking(move || catalogue.page(None, 1)).await??.is_empty() {
            let lost = "the log is empty, and this node ran before: the log was lost, and the node's vote with it";
            return Err(io::Error::new(io::ErrorKind::InvalidData, lost));
        }
        // What Raft takes a log without a vote for.
        log.save_vote(&Vote::new(0, identity.node.0)).await?;
    }
    if !begun {
        let disk = env.disk.clone();
        env.blocking(move || disk.mark_log_begun(life)).await??;
    }
    Ok(())
}

/// Removes halves, and makes the catalogue agree with the files. Copies of another cluster are left alone (R1), and told.
async fn tidy(env: &Env, cluster: ClusterId) -> io::Result<Vec<CopyId>> {
    let (disk, catalogue) = (env.disk.clone(), env.catalogue.clone());
    env.blocking(move || {
        // Only to tell of what is new there.
        let aside = disk.quarantined().unwrap_or_default();
        let (ours, others): (Vec<Toc>, Vec<Toc>) = disk.scan()?.into_iter().partition(|toc| toc.cluster == cluster);
        for copy in disk.quarantined().unwrap_or_default().difference(&aside) {
            tracing::warn!(%copy, "a copy whose table is damaged was put into quarantine");
        }
        if let Some(one) = others.first() {
            let (copies, cluster) = (others.len(), one.cluster);
            tracing::info!(copies, %cluster, "copies of another cluster lie here; only a cluster that began with its backup takes them");
        }
        catalogue.replace(&ours.iter().map(Held::from).collect::<Vec<_>>())?;
        Ok(others.iter().map(|toc| toc.copy).collect())
    })
    .await?
}

fn config(identity: &Identity, times: RaftTimes) -> io::Result<Config> {
    let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    Config {
        cluster_name: identity.cluster.to_string(),
        heartbeat_interval: millis(times.heartbeat),
        election_timeout_min: millis(times.election_min),
        election_timeout_max: millis(times.election_max),
        install_snapshot_timeout: SNAPSHOT_MS,
        max_payload_entries: APPEND_MAX,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(times.snapshot_every),
        max_in_snapshot_log_to_keep: times.log_kept,
        enable_pre_vote: Some(true),
        // A leader may commit by its followers' fsyncs before its own. One that lost such an entry and leads on in the
        // same term would give its place to another entry: it must be elected anew, by those who have it.
        enable_leader_restore: Some(false),
        ..Config::default()
    }
    .validate()
    .map_err(io::Error::other)
}

/// Ends the node when Raft cannot go on.
async fn watch_raft(core: Arc<Core>) {
    let mut metrics = core.metrics.clone();
    loop {
        let fatal = metrics.borrow_watched().running_state.clone().err();
        if let Some(fatal) = fatal {
            if !core.stop.is_set() {
                core.stop.fault(format!("raft cannot go on: {fatal}"));
            }
            return;
        }
        if metrics.changed().await.is_err() {
            if !core.stop.is_set() {
                core.stop.fault("raft has ended");
            }
            return;
        }
    }
}

/// The founder's first steps. Each may be taken again after a crash.
async fn found(core: Arc<Core>) {
    if !core.identity.founder {
        return;
    }
    if matches!(core.raft.is_initialized().await, Ok(false)) {
        let (rpc, data) = (core.profile.rpc.clone(), core.profile.data.clone());
        let me = Peer { rpc, data, incarnation: Some(core.identity.incarnation) };
        let first = BTreeMap::from([(core.me().0, me)]);
        if let Err(e) = core.raft.initialize(first).await {
            core.stop.fault(format!("the cluster could not be founded: {e}"));
            return;
        }
    }
    while !core.stop.is_set() && core.now().state.cluster.is_none() {
        let command = Command::Found {
            cluster: core.identity.cluster,
            incarnation: core.identity.incarnation,
            profile: core.profile.clone(),
        };
        if let Err(e) = core.propose(command, core.env.clock.now() + core.limits.idle).await {
            tracing::warn!(error = %e, "the cluster is not founded yet");
        }
    }
}
