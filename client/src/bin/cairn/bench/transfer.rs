//! `cairn bench save` and `cairn bench load`: one large file, moved between machines' disks by each contestant in turn.

use std::fs;
use std::future::ready;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cairn_client::load::LoadOptions;
use cairn_client::save::{SaveOptions, Source};
use cairn_store::name::Name;

use super::args::{SaveArgs, TransferArgs};
use super::ground::{Ground, failed};
use super::machine::Machine;
use super::rsync::Rsync;
use super::sheet::Sheet;
use super::site::Site;
use super::spread::{Spread, millis};
use super::stage::Stage;
use super::{cpu, limit};
use crate::report::Report;

/// The unit of the processors' figure, in bytes.
const GB: f64 = 1e9;

/// One run of one contestant.
struct Lap {
    took: Duration,
    /// What its processes used of the processors; none if they are not on this machine.
    cpu: Option<Duration>,
}

impl Lap {
    /// Of this process and of `others`; without the processors' time if those are not known. `settled` ends when all of
    /// that is counted; it is not timed.
    async fn of(
        others: Option<&[u32]>,
        work: impl Future<Output = Result<(), Report>>,
        settled: impl Future<Output = ()>,
    ) -> Result<Self, Report> {
        let used = || others.and_then(cpu::used);
        let (before, begun) = (used(), Instant::now());
        work.await?;
        let took = begun.elapsed();
        settled.await;
        Ok(Self { took, cpu: used().zip(before).map(|(after, before)| after.saturating_sub(before)) })
    }
}

/// What both measurements share: a file, who is to move it, and what was measured.
struct Course<'a> {
    site: &'a Site,
    ground: &'a Ground,
    stage: &'a Stage,
    machine: Machine,
    file: PathBuf,
    rsync: Option<Rsync>,
    cairn: Vec<Lap>,
    limit: Vec<Lap>,
    peer: Vec<Lap>,
}

/// A save to `--replicas` other nodes.
pub(super) async fn save(
    SaveArgs { replicas, transfer: args }: &SaveArgs,
    site: &Site,
    ground: &Ground,
    rsync: Option<&Path>,
    stage: &Stage,
) -> Result<Sheet, Report> {
    let mut course = Course::new(args, site, ground, rsync, stage, *replicas).await?;
    for turn in 0..args.runs.runs {
        stage.run(turn, args.runs.runs, "cairn");
        let (name, left) = (site.name(&format!("save/{turn}"))?, site.copies().len());
        let copy = ground.copy(&course.file, "to-save").await?;
        ground.settle().await?;
        let saved = Lap::of(site.pids().as_deref(), put(site, &name, copy, *replicas), ready(())).await?;
        course.cairn.push(saved);
        site.remove(&name, left).await?;
        course.others(turn, args.runs.runs, *replicas, false).await?;
    }
    course.sheet("save", args, *replicas)
}

/// A load on a node without a copy.
pub(super) async fn load(
    args: &TransferArgs,
    site: &Site,
    ground: &Ground,
    rsync: Option<&Path>,
    stage: &Stage,
) -> Result<Sheet, Report> {
    let mut course = Course::new(args, site, ground, rsync, stage, 1).await?;
    for turn in 0..args.runs.runs {
        stage.run(turn, args.runs.runs, "cairn");
        let (name, left) = (site.name(&format!("load/{turn}"))?, site.copies().len());
        let copy = ground.copy(&course.file, "to-save").await?;
        put(site, &name, copy, 1).await?;
        let node = site.client_of(&site.without_copy(&name).await?.endpoint);
        // The connection is not what is measured.
        node.hello().await?;
        site.forget(ground, &course.file).await?;
        let brought = async { node.load(LoadOptions::new(name.clone())).await.map(drop).map_err(Report::from) };
        let brought = Lap::of(site.pids().as_deref(), brought, ready(())).await?;
        course.cairn.push(brought);
        site.remove(&name, left).await?;
        course.others(turn, args.runs.runs, 1, true).await?;
    }
    course.sheet("load", args, 1)
}

async fn put(site: &Site, name: &Name, file: PathBuf, replicas: u8) -> Result<(), Report> {
    let source = Source::File { path: file, take: true };
    site.client.save(SaveOptions { replicas, ..SaveOptions::new(name.clone(), source) }).await?;
    Ok(())
}

impl<'a> Course<'a> {
    async fn new(
        args: &TransferArgs,
        site: &'a Site,
        ground: &'a Ground,
        rsync: Option<&Path>,
        stage: &'a Stage,
        copies: u8,
    ) -> Result<Self, Report> {
        let machine = Machine::look(ground.dir());
        stage.say("making a file");
        let file = ground.random("source", args.size).await?;
        let rsync = match rsync {
            Some(program) => Some(Rsync::start(program, ground, copies).await?),
            None => None,
        };
        // A connection is not what is measured.
        site.client.hello().await?;
        let (cairn, limit, peer) = Default::default();
        Ok(Self { site, ground, stage, machine, file, rsync, cairn, limit, peer })
    }

    /// One run of everyone but cairn.
    async fn others(&mut self, turn: u32, runs: u32, copies: u8, cold: bool) -> Result<(), Report> {
        self.stage.run(turn, runs, "the machine's limit");
        self.prepare(cold).await?;
        let to: Vec<PathBuf> = (0..copies).map(|nth| self.ground.dir().join(format!("limit-{nth}"))).collect();
        let (file, targets) = (self.file.clone(), to.clone());
        let sent = self.ground.blocking(move |stop| limit::send(&file, &targets, stop));
        let sent = Lap::of(Some(&[]), sent, ready(())).await?;
        self.limit.push(sent);
        for path in &to {
            fs::remove_file(path).map_err(failed("remove", path))?;
        }
        if self.rsync.is_some() {
            self.stage.run(turn, runs, "rsync");
            self.prepare(cold).await?;
        }
        if let Some(rsync) = &self.rsync {
            let pushed = Lap::of(Some(&[rsync.pid()]), rsync.push(&self.file), rsync.settled()).await?;
            self.peer.push(pushed);
            rsync.clear(&self.file)?;
            self.ground.settle().await?;
        }
        Ok(())
    }

    /// Nothing that came before is still being written; `cold`: and the file is read from the disk.
    async fn prepare(&self, cold: bool) -> Result<(), Report> {
        if cold { self.site.forget(self.ground, &self.file).await } else { self.ground.settle().await }
    }

    fn sheet(self, bench: &'static str, args: &TransferArgs, copies: u8) -> Result<Sheet, Report> {
        let took = |laps: &[Lap]| Spread::of(laps.iter().map(|lap| millis(lap.took)));
        let amount = args.size as f64 / GB * f64::from(copies);
        let cpu = |laps: &[Lap]| Spread::of_all(laps.iter().map(|lap| Some(lap.cpu?.as_secs_f64() / amount)));
        let (cairn, limit, rsync) = (took(&self.cairn), took(&self.limit), took(&self.peer));
        let peaks: Option<Vec<u64>> =
            self.site.pids().and_then(|pids| pids.into_iter().map(cpu::peak_bytes).collect());
        let facts = vec![("size_bytes", args.size.into()), ("copies", copies.into())];
        Ok(Sheet::new(bench, self.machine, facts)
            .runs(args.runs.runs)
            .spread(format!("{bench}_ms"), cairn)
            .spread("limit_ms", limit)
            .spread("rsync_ms", rsync)
            .ratio("limit_ratio", cairn, limit)
            .ratio("rsync_ratio", cairn, rsync)
            .spread("cpu_seconds_per_gb_and_copy", cpu(&self.cairn))
            .spread("limit_cpu_seconds_per_gb_and_copy", cpu(&self.limit))
            .spread("rsync_cpu_seconds_per_gb_and_copy", cpu(&self.peer))
            .one("peak_bytes", peaks.and_then(|peaks| peaks.into_iter().max())))
    }
}
