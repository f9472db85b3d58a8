//! `cairnd`: one node of a cluster, and whole clusters to try out.
//!
//! - `args`: what can be typed;
//! - `init`, `join`, `start`: the life of one node; `folder`: what its folder says of it; `logs`: what it tells;
//!   `descriptors`: how many files it may open;
//! - `recover`: a new cluster with what a node of a lost one knows; `former`: what stays of the lost one in its folder;
//! - `dev`, `demo`: a cluster of processes on loopback; `cluster`: how one is planned, started, watched and ended;
//! - `crash`: where a test lets the process end, in a build that has such places;
//! - `config`: a configuration, without a node; `fsck`: a node's folder, while it does not run; `man`: the manual;
//! - `output`: where data goes; `failure`: errors, and the exit codes; `durable`: files that survive a power cut;
//!   `parent`: processes that end with the one that started them; `signals`: asked to end.

// The daemon's own main stands outside the seams: it makes the real ones, and never runs in the simulation.
#![allow(clippy::disallowed_methods)]

mod args;
mod cluster;
mod config;
#[cfg(all(feature = "crash-points", debug_assertions))]
mod crash;
mod demo;
mod descriptors;
mod dev;
mod durable;
mod failure;
mod folder;
mod former;
mod fsck;
mod init;
mod join;
mod logs;
mod man;
mod output;
mod parent;
mod recover;
mod signals;
mod start;

use std::process::ExitCode;

use crate::args::Command;
use crate::failure::Failure;

fn main() -> ExitCode {
    let args = match args::parse() {
        Ok(args) => args,
        Err(code) => return ExitCode::from(code),
    };
    let format = args.command.format();
    match run(args.command) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            output::error(&failure, format);
            ExitCode::from(failure.exit)
        }
    }
}

fn run(command: Command) -> Result<u8, Failure> {
    match command {
        Command::Demo(args) => demo::run(args),
        Command::Dev(args) => dev::run(args),
        Command::Init(args) => init::run(&args).map(|()| 0),
        Command::Join(args) => join::run(&args).map(|()| 0),
        Command::Start(args) => start::run(&args).map(|()| 0),
        Command::Config { command } => config::run(&command).map(|()| 0),
        Command::Recover(args) => recover::run(&args).map(|()| 0),
        Command::Fsck(args) => fsck::run(&args),
        #[cfg(all(feature = "crash-points", debug_assertions))]
        Command::CrashPoints => Ok(crash::list()),
        Command::Man { dir } => man::run(&dir).map(|()| 0),
        Command::DemoApp(args) => demo::app::run(args).map(|()| 0),
    }
}

/// The runtime of everything but `start`. One thread: children get their parent-death signal when the *thread* that
/// started them ends, and this one lasts as long as the process.
fn small_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(16).build();
    built.map_err(|e| Failure::new(format!("cannot start: {e}")))
}
