//! `cairn bench repair`: a node is lost, and its copies are made again elsewhere; what that takes, and what saves notice of it.

use std::time::{Duration, Instant};

use cairn_client::dial::Client;
use cairn_client::save::{SaveOptions, Source};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::sleep;

use super::args::RepairArgs;
use super::ground::Ground;
use super::limit;
use super::load::{Tally, repeat};
use super::machine::Machine;
use super::sheet::{Sheet, number};
use super::site::{Shape, Site};
use super::small::Application;
use super::spread::{Spread, millis};
use super::stage::Stage;
use crate::report::Report;

/// How many nodes there are, one of which is lost.
const NODES: u16 = 5;
/// How long a node is down before its copies are made again.
const AFTER: &str = "repair.after=1s";
/// No bound that any disk of today reaches, and more copies at once.
const UNTHROTTLED: [&str; 2] = ["repair.rate=16GiB", "repair.transfers=8"];
/// So many segments are saved at once.
const SAVES_AT_ONCE: usize = 4;
/// How large a small file is, in bytes.
const SMALL_BYTES: u64 = 64 << 10;
/// How often the machine's own rate of copying is measured, and with how many bytes at most.
const LIMIT_RUNS: u32 = 5;
const LIMIT_BYTES_MAX: u64 = 1 << 30;
/// The pause between two looks at what is left.
const LOOK: Duration = Duration::from_millis(100);
/// A repair that does not go on for so long is given up.
const STILL_MAX: Duration = Duration::from_secs(300);

/// Five nodes whose repairs begin soon, and go as fast as was asked for.
pub(super) fn shape(args: &RepairArgs) -> Shape {
    let mut set = vec![AFTER.to_owned()];
    if args.unthrottled {
        set.extend(UNTHROTTLED.map(str::to_owned));
    } else if let Some(rate) = args.rate {
        set.push(format!("repair.rate={rate}"));
    }
    Shape { nodes: NODES, set }
}

pub(super) async fn run(args: &RepairArgs, site: &Site, ground: &Ground, stage: &Stage) -> Result<Sheet, Report> {
    site.must_be_own("nodes are only lost")?;
    let machine = Machine::look(ground.dir());
    let [lost, others @ ..] = site.nodes() else { return Err(Report::internal("the cluster has no nodes")) };
    stage.say("saving");
    let owner = site.client_of(&lost.endpoint);
    let saves = (0..args.segments).map(|nth| save(site, ground, &owner, nth, args.size));
    stream::iter(saves).buffer_unordered(SAVES_AT_ONCE).try_collect::<()>().await?;
    let rate = limit_of(args, ground, stage).await?;

    let mut applications = Vec::new();
    if !args.unthrottled {
        let file = ground.random("small", SMALL_BYTES).await?;
        let bytes: std::sync::Arc<[u8]> = std::fs::read(&file).map_err(super::ground::failed("read", &file))?.into();
        for (nth, node) in (0..args.clients).zip(others.iter().cycle()) {
            let (client, name) = (site.client_of(&node.endpoint), site.name(&format!("small/{nth}"))?);
            applications.push(Application::new(site, client, name, 1, bytes.clone()).await?);
        }
    }
    let idle = tally(&mut applications, args.span.duration(), stage, "saving small files").await?;

    ground.settle().await?;
    stage.say("repairing");
    let watch = Client::new(others.iter().map(|node| node.endpoint.clone()).collect(), site.client.timeout());
    lost.kill()?;
    let (bytes, begin) = begun(&watch).await?;
    let (ended, busy) = tokio::join!(
        ended(&watch),
        tally(&mut applications, args.span.duration(), stage, "repairing, and saving small files")
    );
    let (took, busy) = (ended? - begin, busy?);
    // Saves beside a repair that was over sooner say little of it.
    let busy = busy.filter(|_| took >= args.span.duration());

    let facts = vec![
        ("segments", args.segments.into()),
        ("size_bytes", args.size.into()),
        ("unthrottled", args.unthrottled.into()),
        ("clients", applications.len().into()),
        ("seconds", args.span.seconds.into()),
    ];
    let speed = bytes as f64 / took.as_secs_f64();
    let of = |tally: Option<Tally>, value: fn(&Tally) -> f64| number(tally.as_ref().map(value));
    let p99_ratio = busy.zip(idle).map(|(busy, idle)| busy.p99_ms / idle.p99_ms);
    Ok(Sheet::new("repair", machine, facts)
        .one("repaired_bytes", bytes)
        .one("repair_ms", number(Some(millis(took))))
        .one("repair_bytes_per_second", number(Some(speed)))
        .spread("limit_bytes_per_second", rate)
        .one("limit_ratio", number(rate.map(|rate| speed / rate.median)))
        .one("saves_per_second", of(idle, |t| t.per_second))
        .one("p50_ms", of(idle, |t| t.p50_ms))
        .one("p99_ms", of(idle, |t| t.p99_ms))
        .one("repairing_saves_per_second", of(busy, |t| t.per_second))
        .one("repairing_p50_ms", of(busy, |t| t.p50_ms))
        .one("repairing_p99_ms", of(busy, |t| t.p99_ms))
        .one("p99_ratio", number(p99_ratio)))
}

/// One segment on the node that will be lost, and one other copy of it.
async fn save(site: &Site, ground: &Ground, owner: &Client, nth: u64, size: u64) -> Result<(), Report> {
    let source = Source::File { path: ground.random(&format!("segment-{nth}"), size).await?, take: true };
    let options = SaveOptions { replicas: 1, ..SaveOptions::new(site.name(&format!("repair/{nth}"))?, source) };
    owner.save(options).await?;
    Ok(())
}

/// What this machine copies by itself, in bytes a second: from a cold file through loopback onto the disk.
async fn limit_of(args: &RepairArgs, ground: &Ground, stage: &Stage) -> Result<Option<Spread>, Report> {
    let size = args.size.saturating_mul(args.segments).min(LIMIT_BYTES_MAX);
    let file = ground.random("limit", size).await?;
    let mut rates = Vec::new();
    for turn in 0..LIMIT_RUNS {
        stage.run(turn, LIMIT_RUNS, "the machine's limit");
        ground.cool(vec![file.clone()]).await?;
        let (from, to) = (file.clone(), ground.dir().join("limit-copy"));
        let took = ground
            .blocking(move |stop| {
                let begun = Instant::now();
                limit::send(&from, std::slice::from_ref(&to), stop)?;
                Ok(begun.elapsed())
            })
            .await?;
        rates.push(size as f64 / took.as_secs_f64());
    }
    Ok(Spread::of(rates))
}

/// What saves of small files take; none if nobody saves any.
async fn tally(
    applications: &mut Vec<Application>,
    span: Duration,
    stage: &Stage,
    what: &str,
) -> Result<Option<Tally>, Report> {
    if applications.is_empty() {
        return Ok(None);
    }
    stage.say(what);
    repeat(applications, span).await.map(Some)
}

/// Waits until the first copy was made: the bytes that were lacking, and when none was made yet. A leader waits for a while
/// before it repairs.
async fn begun(watch: &Client) -> Result<(u64, Instant), Report> {
    let start = Instant::now();
    let (mut most, mut begin) = (0, start);
    while start.elapsed() < STILL_MAX {
        let (now, lacking) = (Instant::now(), watch.repairs().await?.bytes);
        if lacking < most {
            return Ok((most, begin));
        }
        (most, begin) = (lacking, now);
        sleep(LOOK).await;
    }
    Err(Report::internal("the repair does not begin"))
}

/// Waits until no copy is lacking, and tells when that was.
async fn ended(watch: &Client) -> Result<Instant, Report> {
    let (mut least, mut moved) = (u64::MAX, Instant::now());
    loop {
        let (now, lacking) = (Instant::now(), watch.repairs().await?.bytes);
        if lacking == 0 {
            return Ok(now);
        }
        if lacking < least {
            (least, moved) = (lacking, now);
        }
        if moved.elapsed() >= STILL_MAX {
            return Err(Report::internal(format!("the repair does not go on: {lacking} bytes are lacking")));
        }
        sleep(LOOK).await;
    }
}
