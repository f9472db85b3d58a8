//! `soak`: a cluster of real processes on real disks, in trouble for as long as is wanted; and whether it kept what it
//! had acknowledged.
//!
//! - `args`: what can be typed; `report`: what is said in the end;
//! - `apart`: mounts and networks of its own; `image`: file systems in files;
//! - `ground`: what every kind has: a folder, a seed, a history, a judge;
//! - `terms`: who led when; `rounds`: trouble that comes and goes; `tracer`: system calls that fail; `network`: a router
//!   that drops packets;
//! - one file for each kind of trouble.
//!
//! Whatever happens, and however this ends, its processes, mounts and networks go with it.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed expectation is told as a failed soak"
)]

mod apart;
mod args;
mod crash;
mod eio;
mod failover;
mod full;
mod ground;
mod image;
mod kill;
mod network;
mod partition;
mod power;
mod report;
mod rounds;
mod slow;
mod stall;
mod terms;
mod tracer;

use std::process::ExitCode;

use cairn_tests::{bins, wait};
use clap::Parser;

use args::{Args, Trouble};
use ground::Ground;
use report::Report;

/// What a program says that could not do its work here. Not 0: nothing was shown.
const SKIPPED: u8 = 77;

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(programs) = &args.programs {
        bins::take_from(programs);
    }
    if let Err(error) = listen() {
        report::note(&format!("signals cannot be listened to: {error}"));
    }
    let seed = args.seed.unwrap_or_else(|| uuid::Uuid::now_v7().as_u128() as u64 % 1_000_000_000);
    if matches!(args.trouble, Trouble::Crash(_)) && args.programs.is_none() {
        bins::with_crash_points();
    }
    report::note(&format!("seed {seed}; programs in {}", bins::folder().display()));
    match apart::enter(&args.trouble) {
        apart::Entered::Here => {}
        apart::Entered::Done(code) => return code,
        apart::Entered::Impossible(why) => {
            let mut report = Report::new(args.trouble.name(), seed);
            report.skipped = Some(why);
            report.print(args.output);
            return ExitCode::from(SKIPPED);
        }
    }
    let report = run(&args, seed);
    report.print(args.output);
    match (&report.skipped, report.wrong.is_empty()) {
        (Some(_), _) => ExitCode::from(SKIPPED),
        (None, true) => ExitCode::SUCCESS,
        (None, false) => ExitCode::FAILURE,
    }
}

fn run(args: &Args, seed: u64) -> Report {
    let name = args.trouble.name();
    let mut ground = match Ground::new(name, seed, args.dir.as_deref()) {
        Ok(ground) => ground,
        Err(error) => {
            let wrong = vec![format!("{error:#}")];
            return Report { wrong, ..Report::new(name, seed) };
        }
    };
    // A failed expectation of the harness must not keep what was found from being told.
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match &args.trouble {
        Trouble::Kill(wish) => kill::run(&mut ground, wish),
        Trouble::Crash(wish) => crash::run(&mut ground, wish),
        Trouble::Power(wish) => power::run(&mut ground, wish),
        Trouble::Failover(wish) => failover::run(&mut ground, wish),
        Trouble::Full(wish) => full::run(&mut ground, wish),
        Trouble::Eio(wish) => eio::run(&mut ground, wish),
        Trouble::Slow(wish) => slow::run(&mut ground, wish),
        Trouble::Stall(wish) => stall::run(&mut ground, wish),
        Trouble::Partition(wish) => partition::run(&mut ground, wish),
    }));
    match done {
        Ok(Ok(())) => {}
        Ok(Err(error)) => ground.judge.wrong.push(format!("{error:#}")),
        Err(_) => ground.judge.wrong.push("the harness gave up: see above".into()),
    }
    ground.report()
}

/// Somebody who asks us to end, or a terminal that goes, interrupts whatever waits.
fn listen() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
            let [int, term, hup] = kinds.map(signal);
            let (Ok(mut int), Ok(mut term), Ok(mut hup)) = (int, term, hup) else { return };
            tokio::select! { _ = int.recv() => {}, _ = term.recv() => {}, _ = hup.recv() => {} }
            wait::interrupt();
        });
    });
    Ok(())
}
