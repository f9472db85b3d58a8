//! `cairn-sim`: plays seeds, a process for each.

mod fleet;
mod parts;
mod shrink;
mod watchdog;

use std::io::Write as _;
use std::ops::Range;
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::{Context as _, ensure};
use cairn_sim::chaos::{self, Plan, Tally};
use cairn_sim::scenarios::{ALL, Play};
use cairn_sim::trace::Trace;
use cairn_sim::world;
use clap::{Parser, Subcommand};

use crate::parts::Parts;

/// Plays random lives of a simulated cluster, and fixed stories. A failure is the same again with the same seed.
#[derive(Debug, Parser)]
#[command(name = "cairn-sim", version)]
struct Args {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Plays each of the seeds, and tells what failed and what was met on the way.
    ///
    /// Of a thousand seeds or more, every kind of fault and every refusal must have been met.
    Run {
        /// FROM..TO, without TO.
        #[arg(long, value_parser = seeds)]
        seeds: Range<u64>,
        /// So many at a time; one a processor unless given.
        #[arg(long)]
        jobs: Option<usize>,
        /// A story instead of random lives; `all` for all of them.
        #[arg(long)]
        scenario: Option<String>,
    },
    /// Plays one seed, in this process.
    Replay {
        /// The seed.
        seed: u64,
        /// A story instead of a random life.
        #[arg(long)]
        scenario: Option<String>,
        /// Tell every event on stderr.
        #[arg(long)]
        trace: bool,
        /// Only these steps and faults of the plan, such as 3,17-40: what `shrink` found.
        #[arg(long, value_name = "PARTS", conflicts_with = "scenario")]
        only: Option<Parts>,
        /// Print the plan first.
        #[arg(long, conflicts_with = "scenario")]
        plan: bool,
        /// Print what was counted, as JSON.
        #[arg(long, conflicts_with = "scenario")]
        tally: bool,
    },
    /// Leaves out what a failure of a seed does not need, and prints how to replay the rest.
    Shrink {
        /// The seed.
        seed: u64,
    },
}

fn seeds(text: &str) -> anyhow::Result<Range<u64>> {
    let (from, to) = text.split_once("..").context("write FROM..TO")?;
    let seeds = from.parse()?..to.parse()?;
    ensure!(!seeds.is_empty(), "no seed is in it: TO is the first that is not played");
    Ok(seeds)
}

fn named(name: &str) -> anyhow::Result<&'static Play> {
    let names = || ALL.iter().map(|play| play.name).collect::<Vec<_>>().join(", ");
    ALL.iter().find(|play| play.name == name).with_context(|| format!("no scenario {name}; there are {}", names()))
}

fn main() -> anyhow::Result<ExitCode> {
    match Args::parse().command {
        Task::Run { seeds, jobs, scenario } => {
            let plays = match scenario.as_deref() {
                None => vec![None],
                Some("all") => ALL.iter().map(|play| Some(play.name)).collect(),
                Some(name) => vec![Some(named(name)?.name)],
            };
            fleet::run(&plays, seeds, jobs)
        }
        Task::Replay { seed, scenario: Some(name), trace, .. } => {
            let (play, trace) = (named(&name)?, Trace::begin(trace)?);
            let outcome = world::run((play.spec)(), seed, &trace, play.scenario);
            tell(&format!("{name} seed {seed}"), &trace, outcome)
        }
        Task::Replay { seed, trace, only, plan, tally: counted, .. } => {
            let mut life = Plan::of(seed);
            if let Some(parts) = only {
                life.keep(|id| parts.contains(id));
            }
            let mut out = std::io::stdout();
            if plan {
                writeln!(out, "{life:#?}")?;
            }
            let (trace, tally) = (Trace::begin(trace)?, Tally::default());
            let (spec, life, counts) = (life.spec.clone(), Rc::new(life), tally.clone());
            let outcome = world::run(spec, seed, &trace, |cluster| chaos::play(cluster, life, tally));
            if counted {
                let span = outcome.as_ref().map_or(0, |span| u64::try_from(span.as_millis()).unwrap_or(0));
                writeln!(out, "{}", serde_json::to_string(&counts.counts(trace.rejections(), span))?)?;
            }
            tell(&format!("seed {seed}"), &trace, outcome)
        }
        Task::Shrink { seed } => shrink::shrink(seed),
    }
}

fn tell(what: &str, trace: &Trace, outcome: anyhow::Result<std::time::Duration>) -> anyhow::Result<ExitCode> {
    let (hash, mut out) = (trace.hash(), std::io::stdout());
    match outcome {
        Ok(span) => {
            writeln!(out, "ok   {what} trace {hash} in {:.1} s", span.as_secs_f64())?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            writeln!(out, "FAIL {what} trace {hash}: {error:#}")?;
            Ok(ExitCode::FAILURE)
        }
    }
}
