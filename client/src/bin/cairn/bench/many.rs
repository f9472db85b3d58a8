//! `cairn bench many`: what a cluster takes that knows of very many segments: memory, a start, a new member, look-ups.
//!
//! They come as a backup does, so that no bytes have to be written for them: each has a version without copies.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use cairn_client::api::CairnClient;
use cairn_client::dial::{CONNECT_MAX, Client, channel, dial};
use cairn_store::digest::Digest;
use cairn_store::id::{ClusterId, NodeId, RequestId, SegmentId};
use cairn_store::meta::{RestoreStep, Source};
use cairn_store::name::Name;
use cairn_store::segment::{Epoch, Kind, Segment, Version, VersionRecord};
use cairn_store::time::{LogTime, WallTime};
use futures::{StreamExt, TryStreamExt, stream};
use uuid::Uuid;

use super::args::ManyArgs;
use super::cpu;
use super::ground::Ground;
use super::load::{Repeat, repeat};
use super::machine::Machine;
use super::program::{Running, cairnd, free_ports};
use super::sheet::{Sheet, number};
use super::site::{NodeProcess, Shape, Site};
use super::spread::millis;
use super::stage::Stage;
use crate::report::Report;

/// So many segments are registered by one entry: some 45 KiB.
const AT_ONCE: u64 = 180;
/// No snapshot is made of fewer entries: there is none then.
const SNAPSHOT_EVERY_MIN: u64 = 2000;
/// So many entries are on their way at once.
const STEPS_AT_ONCE: usize = 8;
/// How long a node may take to answer that is started, or that joins.
const START_MAX: Duration = Duration::from_secs(300);

/// A cluster that makes a snapshot about when all is registered, and none before.
pub(super) fn shape(args: &ManyArgs) -> Shape {
    let entries = (args.segments / AT_ONCE).max(SNAPSHOT_EVERY_MIN);
    Shape { set: vec![format!("raft.snapshot_every={entries}")], ..Shape::default() }
}

/// One who looks segments up, on a connection of its own.
struct Reader {
    rpc: CairnClient,
    next: u64,
    segments: u64,
}

impl Reader {
    async fn new(client: &Client, nth: u64, segments: u64) -> Result<Self, Report> {
        let endpoint = client.endpoints().first().map(String::as_str).unwrap_or_default();
        let dialled = dial(client.connector(), endpoint, CONNECT_MAX).await;
        let stream = dialled.map_err(|error| Report::internal(format!("cannot reach {endpoint}: {error}")))?;
        Ok(Self { rpc: channel(stream), next: nth, segments })
    }
}

impl Repeat for Reader {
    async fn once(&mut self) -> Result<(), Report> {
        // A prime step: all over the names, and each reader elsewhere.
        self.next = (self.next + 7_919) % self.segments;
        let answer = self.rpc.show(tarpc::context::current(), name(self.next)?, CONNECT_MAX).await;
        answer.map_err(|error| Report::internal(format!("a look-up got no answer: {error}")))??;
        Ok(())
    }
}

pub(super) async fn run(args: &ManyArgs, site: &Site, ground: &Ground, stage: &Stage) -> Result<Sheet, Report> {
    site.must_be_own("very many segments are only registered")?;
    let (machine, segments) = (Machine::look(ground.dir()), args.segments);
    stage.say("registering");
    let begun = Instant::now();
    register(&site.client, segments).await?;
    let registered = begun.elapsed();

    stage.say("looking up");
    let mut readers = Vec::new();
    for (nth, client) in (0..).zip(site.clients(args.clients)) {
        readers.push(Reader::new(&client, nth * 104_729 % segments, segments).await?);
    }
    let lookups = repeat(&mut readers, args.span.duration()).await?;

    stage.say("backing up");
    let begun = Instant::now();
    let backup = ground.dir().join("backup");
    site.client.backup(&backup, false).await?;
    let backed_up = begun.elapsed();
    let bytes = fs::metadata(&backup).ok().map(|about| about.len());
    let most = site.nodes().iter().map(|node| node.pid.and_then(cpu::peak_bytes)).max().flatten();

    let snapshots: Vec<(Duration, u64)> = site.nodes().iter().filter_map(snapshot).collect();
    let longest = snapshots.iter().map(|(took, _)| millis(*took)).max_by(f64::total_cmp);

    stage.say("starting a node again");
    let last = site.nodes().last().ok_or_else(|| Report::internal("the cluster has no nodes"))?;
    let (again, restarted) = restart(site, last.clone(), segments).await?;
    let restarted_bytes = cpu::peak_bytes(again.pid());

    stage.say("joining a node");
    let (joiner, joined) = join(site, &ground.folder("joined")?, segments).await?;
    let joined_bytes = cpu::peak_bytes(joiner.pid());
    let facts =
        vec![("segments", segments.into()), ("clients", args.clients.into()), ("seconds", args.span.seconds.into())];
    let seconds = registered.as_secs_f64();
    Ok(Sheet::new("many", machine, facts)
        .one("registered_per_second", number(Some(segments as f64 / seconds)))
        .one("peak_bytes", most)
        .one("lookups_per_second", number(Some(lookups.per_second)))
        .one("lookup_p50_ms", number(Some(lookups.p50_ms)))
        .one("lookup_p99_ms", number(Some(lookups.p99_ms)))
        .one("snapshot_ms", number(longest))
        .one("snapshot_bytes", snapshots.iter().map(|(_, bytes)| *bytes).max())
        .one("backup_ms", number(Some(millis(backed_up))))
        .one("backup_bytes", bytes)
        .one("restart_ms", number(Some(millis(restarted))))
        .one("restart_peak_bytes", restarted_bytes)
        .one("join_ms", number(Some(millis(joined))))
        .one("join_peak_bytes", joined_bytes))
}

/// Has the cluster begin with so many segments.
async fn register(client: &Client, segments: u64) -> Result<(), Report> {
    let source = Source { cluster: ClusterId(Uuid::now_v7()), revision: 1 };
    let floor = Epoch(1).next_generation();
    client.restore_step(RestoreStep::Begin { source, ancestors: Vec::new(), floor }).await?;
    let starts = (0..segments).step_by(usize::try_from(AT_ONCE).unwrap_or(usize::MAX));
    let steps = starts.map(|start| async move {
        let some = (start..segments.min(start + AT_ONCE)).map(segment).collect::<Result<Vec<_>, Report>>()?;
        Ok::<_, Report>(client.restore_step(RestoreStep::Segments { source, segments: some }).await?)
    });
    stream::iter(steps).buffer_unordered(STEPS_AT_ONCE).try_collect::<()>().await?;
    client.restore_step(RestoreStep::End { source }).await?;
    Ok(client.resume().await?)
}

/// How long the newest snapshot of a node was in the making, and its bytes: from when its file was created until it was durable
/// and took its name, which changes the file's `ctime`. None if there is none, or the file system does not tell.
fn snapshot(node: &NodeProcess) -> Option<(Duration, u64)> {
    let about = fs::metadata(node.dir.join("snapshots/state")).ok()?;
    let begun = about.created().ok()?.duration_since(UNIX_EPOCH).ok()?;
    let ended = Duration::new(u64::try_from(about.ctime()).ok()?, u32::try_from(about.ctime_nsec()).ok()?);
    Some((ended.checked_sub(begun)?, about.len()))
}

fn name(number: u64) -> Result<Name, Report> {
    let text = format!("bench/many/{:03}/segment-{number}", number % 1000);
    text.parse().map_err(|error| Report::internal(format!("{text}: {error}")))
}

fn segment(number: u64) -> Result<Segment, Report> {
    let request = RequestId(Uuid::from_u128(u128::from(number) + 1));
    let record = VersionRecord {
        size: 64 << 10,
        digest: Digest::of(&number.to_le_bytes()),
        created: WallTime(0),
        epoch: Epoch(1),
        owner: NodeId(1),
        request,
        wanted: 2,
        copies: Vec::new(),
        ended: Vec::new(),
        pinned: false,
    };
    Ok(Segment {
        id: SegmentId(Uuid::from_u128(u128::from(number) + 1)),
        name: name(number)?,
        kind: Kind::File,
        owner: None,
        epoch: Epoch(1),
        head: Version(1),
        versions: BTreeMap::from([(Version(1), Arc::new(record))]),
        keep: 2,
        labels: BTreeMap::new(),
        registered: (request, LogTime(0), Epoch(1)),
        claimed: None,
        modified: WallTime(0),
        revision: 0,
    })
}

/// Kills a node, and starts it again; until it answers with what was committed.
async fn restart(site: &Site, mut node: NodeProcess, segments: u64) -> Result<(Running, Duration), Report> {
    node.kill()?;
    let begun = Instant::now();
    let started = node.start()?;
    answers(site, &node.endpoint, segments).await?;
    Ok((started, begun.elapsed()))
}

/// Has a new node join; until it answers with what was committed.
async fn join(site: &Site, dir: &Path, segments: u64) -> Result<(Running, Duration), Report> {
    let [rpc, data, http] = free_ports()?.map(|port| format!("127.0.0.1:{port}"));
    let config = dir.join("cairnd.toml");
    let text = format!(
        "[node]\nname = \"joined\"\ndir = \".\"\n[listen]\nrpc = \"{rpc}\"\ndata = \"{data}\"\nhttp = \"{http}\"\n"
    );
    fs::write(&config, text).map_err(|error| Report::internal(format!("{}: {error}", config.display())))?;
    let begun = Instant::now();
    let mut joining = Command::new(cairnd()?.as_os_str());
    joining.arg("join").arg("--config").arg(&config).arg("--seed").args(&site.endpoints);
    let joined = joining.stdin(Stdio::null()).output();
    let joined = joined.map_err(|error| Report::internal(format!("cannot start cairnd: {error}")))?;
    if !joined.status.success() {
        let why = String::from_utf8_lossy(&joined.stderr);
        return Err(Report::internal(format!("`cairnd join` failed: {}", why.trim())));
    }
    let started = Running::node(&config)?;
    answers(site, &rpc, segments).await?;
    Ok((started, begun.elapsed()))
}

/// A linearizable look-up: the node has applied all that was committed.
async fn answers(site: &Site, endpoint: &str, segments: u64) -> Result<(), Report> {
    let client = Client::new(vec![endpoint.to_owned()], START_MAX.max(site.client.timeout()));
    client.show(&name(segments - 1)?).await?;
    Ok(())
}
