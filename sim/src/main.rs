//! `cairn-sim`: plays scenarios, a process for each seed.

use std::io::Write as _;
use std::ops::Range;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, bail};
use cairn_sim::scenarios::{ALL, Play};
use cairn_sim::trace::Trace;
use cairn_sim::world;
use clap::{Parser, Subcommand};

/// Plays scenarios on a simulated cluster.
#[derive(Debug, Parser)]
#[command(name = "cairn-sim", version)]
struct Args {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Plays every scenario, or one, with each of the seeds.
    Run {
        /// FROM..TO, without TO.
        #[arg(long, value_parser = seeds)]
        seeds: Range<u64>,
        /// Only this one.
        #[arg(long)]
        scenario: Option<String>,
    },
    /// Plays one scenario with one seed, in this process.
    Replay {
        /// The seed.
        seed: u64,
        /// Which scenario.
        #[arg(long)]
        scenario: String,
        /// Tell every event on stderr.
        #[arg(long)]
        trace: bool,
    },
}

fn seeds(text: &str) -> anyhow::Result<Range<u64>> {
    let (from, to) = text.split_once("..").context("write FROM..TO")?;
    Ok(from.parse()?..to.parse()?)
}

fn named(name: &str) -> anyhow::Result<&'static Play> {
    let names = || ALL.iter().map(|play| play.name).collect::<Vec<_>>().join(", ");
    ALL.iter().find(|play| play.name == name).with_context(|| format!("no scenario {name}; there are {}", names()))
}

fn main() -> anyhow::Result<ExitCode> {
    match Args::parse().command {
        Task::Replay { seed, scenario, trace } => replay(named(&scenario)?, seed, trace),
        Task::Run { seeds, scenario } => {
            let plays = match &scenario {
                Some(name) => vec![named(name)?],
                None => ALL.iter().collect(),
            };
            run(&plays, seeds)
        }
    }
}

fn replay(play: &Play, seed: u64, tell: bool) -> anyhow::Result<ExitCode> {
    let trace = Trace::begin(tell)?;
    let outcome = world::run((play.spec)(), play.scenario, seed, &trace);
    let (hash, mut out) = (trace.hash(), std::io::stdout().lock());
    match outcome {
        Ok(span) => {
            writeln!(out, "ok   {} seed {seed} trace {hash} in {:.1} s", play.name, span.as_secs_f64())?;
            Ok(ExitCode::SUCCESS)
        }
        Err(e) => {
            writeln!(out, "FAIL {} seed {seed} trace {hash}: {e:#}", play.name)?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// The same seed twice in one process diverges: each gets its own.
fn run(plays: &[&Play], seeds: Range<u64>) -> anyhow::Result<ExitCode> {
    let program = std::env::current_exe()?;
    let mut failed = 0;
    for play in plays {
        for seed in seeds.clone() {
            let mut child = Command::new(&program);
            child.args(["replay", &seed.to_string(), "--scenario", play.name]).stdin(Stdio::null());
            let status = child.status().context("cannot start a process")?;
            if !status.success() {
                failed += 1;
            }
        }
    }
    if failed > 0 {
        bail!("{failed} runs failed; look at one with `cairn-sim replay SEED --scenario NAME --trace`");
    }
    Ok(ExitCode::SUCCESS)
}
