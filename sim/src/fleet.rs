//! Many seeds, a process each: the same seed twice in one process diverges.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::ops::Range;
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use cairn_sim::chaos::{Counts, Fault, LOSSES, REJECTIONS, UNMET};

use crate::watchdog::{SEED_MAX, watched};

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// From so many seeds on everything must have been met.
const COVERED_FROM: usize = 1_000;

/// Plays all seeds with each story (none: a random life).
pub(crate) fn run(plays: &[Option<&str>], seeds: Range<u64>, jobs: Option<usize>) -> anyhow::Result<ExitCode> {
    let runs: Vec<(Option<&str>, u64)> =
        plays.iter().flat_map(|play| seeds.clone().map(move |seed| (*play, seed))).collect();
    let lives = runs.iter().filter(|(play, _)| play.is_none()).count();
    let jobs = jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1);
    let (next, begun) = (AtomicUsize::new(0), Instant::now());
    let sum = Mutex::new(Sum::at(begun));
    std::thread::scope(|scope| {
        let worker = || -> anyhow::Result<()> {
            while let Some((play, seed)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let ended = play_one(*play, *seed)?;
                lock(&sum).add(ended, begun, runs.len());
            }
            Ok(())
        };
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|_| bail!("a worker panicked")))
    })?;
    let sum = sum.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let unmet = if lives >= COVERED_FROM { sum.unmet() } else { Vec::new() };
    sum.tell(begun.elapsed(), jobs)?;
    let mut out = std::io::stdout();
    for what in &unmet {
        writeln!(out, "never met: {what}")?;
    }
    if sum.failed > 0 || !unmet.is_empty() {
        bail!("{} of {} runs failed; look at one with `cairn-sim replay SEED --trace`", sum.failed, sum.ended);
    }
    Ok(ExitCode::SUCCESS)
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// How a run ended.
struct Ended {
    failure: Option<String>,
    counts: Counts,
}

fn play_one(play: Option<&str>, seed: u64) -> anyhow::Result<Ended> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["replay", &seed.to_string()]);
    match play {
        Some(name) => command.args(["--scenario", name]),
        None => command.arg("--tally"),
    };
    let (output, hung) = watched(&mut command)?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let counts = out.lines().find_map(|line| serde_json::from_str(line).ok()).unwrap_or_default();
    let last = out.lines().last().unwrap_or_default();
    let failure = match output.status.success() {
        true => None,
        false if hung => Some(format!("FAIL seed {seed}: it hung for {SEED_MAX:?}")),
        false if last.starts_with("FAIL") => Some(last.to_owned()),
        false => Some(format!("FAIL seed {seed}: {}{}", err.trim(), if err.is_empty() { last } else { "" })),
    };
    Ok(Ended { failure, counts })
}

/// What all runs came to.
struct Sum {
    ended: usize,
    failed: usize,
    counts: Counts,
    told: Instant,
}

impl Sum {
    fn at(told: Instant) -> Self {
        Self { ended: 0, failed: 0, counts: Counts::default(), told }
    }

    fn add(&mut self, ended: Ended, begun: Instant, all: usize) {
        self.ended += 1;
        self.counts.add(&ended.counts);
        let mut err = std::io::stderr();
        if let Some(failure) = ended.failure {
            self.failed += 1;
            let _ = writeln!(err, "{failure}");
        }
        if self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            let (ended, failed, an_hour) = (self.ended, self.failed, self.an_hour(begun.elapsed()));
            let _ = writeln!(err, "{ended} of {all} ended, {failed} failed, {an_hour:.0} an hour");
        }
    }

    fn an_hour(&self, span: Duration) -> f64 {
        self.ended as f64 * 3600.0 / span.as_secs_f64().max(0.001)
    }

    /// Kinds of faults and of refusals that no run met.
    fn unmet(&self) -> Vec<String> {
        let faults = Fault::ALL.iter().map(|fault| format!("{fault:?}")).chain(LOSSES.map(str::to_owned));
        let faults = faults.filter(|fault| !self.counts.faults.contains_key(fault));
        let left_out: BTreeSet<&str> = UNMET.iter().map(|(rejection, _)| *rejection).collect();
        let rejections = REJECTIONS.iter().filter(|name| !left_out.contains(**name));
        let rejections = rejections.filter(|name| !self.counts.rejections.contains_key(**name));
        faults.chain(rejections.map(|name| (*name).to_owned())).collect()
    }

    fn tell(&self, span: Duration, jobs: usize) -> anyhow::Result<()> {
        let mut out = std::io::stdout();
        let (ended, failed, hours) = (self.ended, self.failed, self.counts.virtual_ms as f64 / 3.6e6);
        writeln!(
            out,
            "{ended} seeds in {:.0} s with {jobs} at a time: {:.0} an hour, {hours:.1} hours of virtual time, {failed} failed",
            span.as_secs_f64(),
            self.an_hour(span)
        )?;
        let kinds =
            [("faults", &self.counts.faults), ("refusals", &self.counts.rejections), ("calls", &self.counts.calls)];
        for (what, counts) in kinds {
            writeln!(out, "{what}: {} in all", counts.values().sum::<u64>())?;
            for (kind, count) in counts {
                writeln!(out, "  {count:>9} {kind}")?;
            }
        }
        let (searched, left_out) = (self.counts.searched, self.counts.left_out);
        writeln!(out, "names searched for an order: {searched}; with too many calls for that: {left_out}")?;
        Ok(())
    }
}
