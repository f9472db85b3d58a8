//! Crash points: nodes end at a step of their work, each step in turn, and start again.
//!
//! A point counts only when the process really ended there: by SIGABRT, after the line that names it.

use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use cairn_store::node::{NodeName, Role};
use cairn_tests::bins;
use cairn_tests::load::Wish;
use cairn_tests::site::{Host, Site};
use cairn_tests::store::url_of;
use rustix::process::Signal;

use crate::args::CrashArgs;
use crate::ground::Ground;
use crate::report::note;

/// Snapshots, chunks of the log and what stays of it are small, so that their points are come by.
const SETTINGS: [(&str, &str); 7] = [
    ("raft.snapshot_every", "30"),
    // A leader ends every few seconds: its absence must not take longer than everything else.
    ("raft.heartbeat", "60ms"),
    ("raft.election_min", "300ms"),
    ("raft.election_max", "600ms"),
    ("limits.down_after", "1s"),
    // What nothing refers to goes from the global tier, and the metadata go there, all the time.
    ("global.sweep_every", "1s"),
    ("global.backup_every", "1s"),
];
const VARIABLES: [(&str, &str); 2] = [("CAIRN_CRASH_CHUNK", "8000"), ("CAIRN_CRASH_KEPT", "40")];
/// Nodes that wait for their end at the same time.
const ARMED_MAX: usize = 3;
/// How long a point may take to be come by.
const TRY: Duration = Duration::from_secs(6);
/// How often at most a node comes by a point before it ends there.
const PASSES_MAX: u64 = 4;
/// For how many calls of clients a node stays away that is to be behind; more entries than stay in the log.
const AWAY_CALLS: usize = 120;
/// And for how long at most.
const AWAY: Duration = Duration::from_secs(20);
/// How often a leader is ended for points that need an election.
const NUDGE: Duration = Duration::from_secs(2);
/// How often, in a hundred, the folder of a node that ended is checked.
const FSCK_PERCENT: u64 = 4;
const LOOK: Duration = Duration::from_millis(15);

/// One point, as the daemon lists it.
struct Point {
    name: String,
    way: String,
    hits: u64,
    /// How often it may be passed before.
    passes: u64,
    /// Tries without a hit, one after the other.
    missed: u64,
}

/// A node that is to end.
struct Armed {
    host: usize,
    point: usize,
    nth: u64,
    /// How many calls were made when it is started, if it was not yet.
    start: Option<usize>,
    since: Instant,
    nudged: Instant,
    asked: bool,
}

pub(crate) fn run(ground: &mut Ground, wish: &CrashArgs) -> anyhow::Result<()> {
    let mut points = list(ground, wish.sample)?;
    if points.is_empty() {
        ground.skip("this build of cairnd has no crash points: it takes a debug build with the feature crash-points");
        return Ok(());
    }
    let mut hosts = Site::plan(&ground.root(), 3, 1, &SETTINGS, ".")?;
    let tier = ground.root().join("tier");
    std::fs::create_dir(&tier)?;
    for host in &mut hosts {
        host.env.extend(VARIABLES.map(|(key, value)| (key.to_owned(), value.to_owned())));
        // Work there falls to nodes that only store, if they have it; most points are tried on others.
        if host.role == Role::Executor {
            host.env.push(("CAIRN_GLOBAL_URL".to_owned(), url_of(&tier)));
        }
    }
    let mut site = Site::found(hosts)?;
    let load = ground.load(&site, Wish { large: 2, sparse_percent: 60, ..Wish::default() })?;
    let (begun, mut auditing, mut hits, mut audited) = (Instant::now(), Duration::ZERO, 0, 0);
    let mut armed: Vec<Armed> = Vec::new();
    loop {
        let open = points.iter().any(|point| point.hits < wish.hits);
        let spent = begun.elapsed().saturating_sub(auditing).as_secs();
        let over = wish.seconds.is_some_and(|seconds| spent >= seconds);
        if !open || over || hits - audited >= wish.audit_every {
            // Whoever still waits for its end is started anew without it.
            armed.drain(..).for_each(|armed| site.hosts[armed.host].kill());
            audited = hits;
            if !open || over {
                break;
            }
            note(&format!("{hits} hits, the fewest {}", points.iter().map(|point| point.hits).min().unwrap_or(0)));
            let start = Instant::now();
            ground.audit(&mut site, &load)?;
            auditing += start.elapsed();
        }
        arm(ground, &mut site, &mut points, &mut armed, wish.hits)?;
        hits += look(ground, &mut site, &mut points, &mut armed)?;
        nudge(&mut site, &points, &mut armed)?;
        cairn_tests::wait::pause(LOOK)?;
    }
    for point in &points {
        ground.count(&format!("hits of {}", point.name), point.hits);
        if point.hits < wish.hits && wish.seconds.is_none() {
            ground.judge.wrong.push(format!("{} was hit {} times, of {}", point.name, point.hits, wish.hits));
        }
    }
    ground.finish(&mut site, load)
}

fn list(ground: &mut Ground, sample: Option<usize>) -> anyhow::Result<Vec<Point>> {
    let listed = Command::new(bins::cairnd()).arg("crash-points").output()?;
    if !listed.status.success() {
        return Ok(Vec::new());
    }
    let text = String::from_utf8(listed.stdout)?;
    let point = |line: &str| {
        let (name, way) = line.split_once(' ')?;
        Some(Point { name: name.into(), way: way.into(), hits: 0, passes: PASSES_MAX, missed: 0 })
    };
    // A cluster that recovers is another story, which `tests/tests/recovery.rs` tells.
    let mut points: Vec<Point> = text.lines().filter_map(point).filter(|point| point.way != "recover").collect();
    while sample.is_some_and(|sample| points.len() > sample) {
        let drawn = ground.chance.below(points.len() as u64);
        points.remove(usize::try_from(drawn)?);
    }
    Ok(points)
}

/// Gives nodes a point, as long as there are nodes and points for it.
fn arm(
    ground: &mut Ground,
    site: &mut Site,
    points: &mut [Point],
    armed: &mut Vec<Armed>,
    wanted: u64,
) -> anyhow::Result<()> {
    while armed.len() < ARMED_MAX {
        let free = |index: &usize| !armed.iter().any(|armed| armed.point == *index);
        let open: Vec<usize> = (0..points.len()).filter(|index| points[*index].hits < wanted).filter(free).collect();
        let Some(fewest) = open.iter().map(|index| points[*index].hits).min() else { return Ok(()) };
        let next: Vec<usize> = open.into_iter().filter(|index| points[*index].hits <= fewest + 1).collect();
        let point = *ground.chance.one(&next);
        // A node that has just ended; else whoever is drawn. What is stored only comes by fewer points.
        let away = (0..site.hosts.len()).find(|index| !site.hosts[*index].runs() && !is_armed(armed, *index));
        let drawn = if ground.chance.percent(12) { site.hosts.len() } else { site.executors().len() } as u64;
        let host = away.unwrap_or(usize::try_from(ground.chance.below(drawn))?);
        if is_armed(armed, host) {
            continue;
        }
        site.hosts[host].kill();
        let nth = match points[point].way.as_str() {
            "load" if ground.chance.percent(30) => ground.chance.between(1, points[point].passes),
            _ => 1,
        };
        let now = Instant::now();
        let start = ground.book.len() + if points[point].way == "behind" { AWAY_CALLS } else { 0 };
        armed.push(Armed { host, point, nth, start: Some(start), since: now, nudged: now, asked: false });
    }
    Ok(())
}

fn is_armed(armed: &[Armed], host: usize) -> bool {
    armed.iter().any(|armed| armed.host == host)
}

/// Starts those whose time has come, and sees who has ended. Tells how many points were hit.
fn look(ground: &mut Ground, site: &mut Site, points: &mut [Point], armed: &mut Vec<Armed>) -> anyhow::Result<u64> {
    let (mut hits, mut behind, now) = (0, false, Instant::now());
    let mut left = Vec::new();
    for mut one in armed.drain(..) {
        let (host, point) = (&mut site.hosts[one.host], &mut points[one.point]);
        if let Some(start) = one.start {
            if ground.book.len() >= start || one.since.elapsed() >= AWAY {
                if point.way == "behind" {
                    // A leader keeps what somebody lacks; another one does not.
                    behind = true;
                }
                let spec = format!("{}:{}", point.name, one.nth);
                host.spawn(&[("CAIRN_CRASH_POINT", &spec)])?;
                (one.start, one.since) = (None, now);
            }
            left.push(one);
            continue;
        }
        match host.ended() {
            Some(status) => {
                count(ground, host, &point.name, one.nth, status)?;
                point.hits += 1;
                point.missed = 0;
                hits += 1;
                if ground.chance.percent(FSCK_PERCENT) {
                    ground.judge.check_folder(site, one.host)?;
                    ground.count("folders checked after a crash", 1);
                }
            }
            None if one.since.elapsed() >= TRY => {
                host.kill();
                point.passes = (point.passes / 2).max(1);
                point.missed += 1;
                ground.count("tries without a hit", 1);
                note(&format!("  nobody came by {}:{}", point.name, one.nth));
                ensure!(point.missed < 40, "nothing ever comes by {}", point.name);
            }
            None => left.push(one),
        }
    }
    armed.extend(left);
    if behind {
        end_leader(site, armed)?;
    }
    // Nobody else may end.
    for (index, host) in site.hosts.iter_mut().enumerate() {
        if let Some(status) = host.ended().filter(|_| !is_armed(armed, index)) {
            bail!("{} ended by itself: {status}; {}", host.name, host.last_words());
        }
        if !host.runs() && !is_armed(armed, index) && armed.len() >= ARMED_MAX {
            host.spawn(&[])?;
        }
    }
    Ok(hits)
}

/// Insists that it ended at its point, and counts what it did by the ways that no simulation runs.
fn count(ground: &mut Ground, host: &Host, name: &str, nth: u64, status: ExitStatus) -> anyhow::Result<()> {
    let wanted = format!("crash point {name}:{nth} ");
    let mut log = std::fs::File::open(host.log())?;
    let from = log.metadata()?.len().saturating_sub(4096);
    log.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    log.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().rev().find_map(|line| line.split_once(&wanted).map(|(_, rest)| rest.to_owned()));
    let aborted = status.signal() == Some(Signal::ABORT.as_raw());
    let Some(line) = line.filter(|_| aborted) else {
        bail!("{} was to end at {name}:{nth}, and ended otherwise: {status}; {}", host.name, host.last_words());
    };
    for (key, what) in [("sendfile=", "MiB by sendfile"), ("direct=", "MiB by O_DIRECT")] {
        let value =
            line.split_whitespace().find_map(|word| word.strip_prefix(key)).and_then(|n| n.parse::<u64>().ok());
        ground.count(what, value.unwrap_or(0) >> 20);
    }
    Ok(())
}

/// Does what load alone does not: ends a leader, so that another is elected; asks a node to end.
fn nudge(site: &mut Site, points: &[Point], armed: &mut Vec<Armed>) -> anyhow::Result<()> {
    let mut leaders = Vec::new();
    for one in armed.iter_mut().filter(|one| one.start.is_none()) {
        let way = points[one.point].way.as_str();
        let host = &site.hosts[one.host];
        match way {
            "end" if !one.asked => {
                // Not before it listens to signals, which it does when it answers.
                let client = host.client(Duration::from_millis(200));
                if site.wait(client.hello()).is_ok() {
                    host.signal(Signal::TERM);
                    one.asked = true;
                }
            }
            "lead" | "elect" if one.nudged.elapsed() >= NUDGE => {
                one.nudged = Instant::now();
                let client = host.client(Duration::from_millis(500));
                if let Ok(status) = site.wait(client.status())
                    && let Some(leader) = status.leader.filter(|leader| *leader != host.name)
                {
                    leaders.push(leader);
                }
            }
            _ => {}
        }
    }
    for leader in leaders {
        restart(site, armed, &leader)?;
    }
    Ok(())
}

/// Ends whoever leads.
fn end_leader(site: &mut Site, armed: &mut Vec<Armed>) -> anyhow::Result<()> {
    let client = site.client(Duration::from_millis(500));
    match site.wait(client.status()) {
        Ok(status) => status.leader.map_or(Ok(()), |leader| restart(site, armed, &leader)),
        Err(_) => Ok(()),
    }
}

/// If it waits for an end of its own, it does so no more.
fn restart(site: &mut Site, armed: &mut Vec<Armed>, name: &NodeName) -> anyhow::Result<()> {
    let index = site.index(name)?;
    armed.retain(|armed| armed.host != index);
    site.hosts[index].kill();
    site.hosts[index].spawn(&[])
}
