//! `cairn`: asks a cluster, from the command line.
//!
//! - `args`: what can be typed;
//! - a file per command: `save`, `load`, `ls`, `show`, `history`, `rm`, `pin`, `watch`, `claim`, `renew`, `release`,
//!   `follow`, `node`,
//!   `drain`, `cluster`, `global`, `recover`, `recovery`, `meta`, `bench`, `completions`, `man`;
//! - `run/`: the failover agent;
//! - `views`: what each prints, as JSON and as a table; `output`: where it goes;
//! - `daemon`: where the daemon's program is; `confirm`: asks before what cannot be undone;
//! - `report`: errors; `progress`: the bar on a terminal; `waiting`: a word there while no node answers.

mod args;
mod bench;
mod claim;
mod cluster;
mod completions;
mod confirm;
mod daemon;
mod drain;
mod follow;
mod global;
mod history;
mod load;
mod ls;
mod man;
mod meta;
mod node;
mod output;
mod pin;
mod progress;
mod recover;
mod recovery;
mod release;
mod renew;
mod report;
mod rm;
mod run;
mod save;
mod show;
mod views;
mod waiting;
mod watch;

use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::args::{Args, ClusterCommand, Command, GlobalCommand, MetaCommand, NodeCommand};
use crate::output::Output;
use crate::report::Report;
use crate::waiting::Waiting;

/// How long what blocks may take to tidy up after an interruption.
const TIDY_MAX: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let args = match args::parse(std::env::args_os()) {
        Ok(args) => args,
        Err(code) => return code,
    };
    let args = match args.command {
        // These are processes of their own, in which nothing else is to run.
        Command::Guard(guard) => return run::guard(guard),
        Command::Ward(ward) => return run::become_ward(ward),
        command => Args { command, ..args },
    };
    let output = Output::new(args.globals.output);
    let done = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => {
            log();
            let done = runtime.block_on(run_until_signal(args, &output));
            runtime.shutdown_timeout(TIDY_MAX);
            done
        }
        Err(error) => Err(Report::internal(format!("cannot start: {error}"))),
    };
    ExitCode::from(done.unwrap_or_else(|report| {
        output.report(&report);
        report.exit
    }))
}

/// Warnings of our own go to stderr; `CAIRN_LOG` asks for more.
fn log() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("CAIRN_LOG").unwrap_or_else(|_| EnvFilter::new("off,cairn_client=warn"));
    let layer = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).without_time();
    layer.with_target(false).with_env_filter(filter).init();
}

/// A signal drops the work, so that what it put on disk is tidied. A measurement has more to tidy, and asks for itself.
async fn run_until_signal(args: Args, output: &Output) -> Result<u8, Report> {
    let asks = matches!(
        args.command,
        Command::Ls(_)
            | Command::Show(_)
            | Command::History(_)
            | Command::Watch(_)
            | Command::Follow(_)
            | Command::Node { command: NodeCommand::Ls(_) | NodeCommand::Show(_) | NodeCommand::Check(_) }
            | Command::Global { command: GlobalCommand::Status | GlobalCommand::Backup(_) }
            | Command::Meta { command: MetaCommand::Backup(_) | MetaCommand::Inspect(_) }
            | Command::Cluster {
                command: ClusterCommand::Status
                    | ClusterCommand::Peers
                    | ClusterCommand::Health
                    | ClusterCommand::Repairs
                    | ClusterCommand::Recovery(args::RecoveryArgs { end: false, .. })
            }
    );
    let tidies_itself = matches!(args.command, Command::Bench { .. } | Command::Run(_));
    let (waiting, patience) = (Waiting::default(), args.globals.timeout());
    tokio::select! {
        done = carry_out(args, output, &waiting) => done,
        never = waiting.tell(patience) => match never {},
        report = interrupted(), if !tidies_itself => Err(if asks { report.without_effect() } else { report }),
    }
}

/// Ends with the first signal that asks this process to end.
async fn interrupted() -> Report {
    let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = int.recv() => Report::interrupted(130),
        _ = term.recv() => Report::interrupted(143),
    }
}

async fn carry_out(args: Args, output: &Output, waiting: &Waiting) -> Result<u8, Report> {
    let Args { globals, command } = args;
    let client = waiting.on(globals.client());
    match command {
        Command::Save(args) => save::run(&client, *args, output).await,
        Command::Load(args) => load::run(&client, *args, output).await,
        Command::Ls(args) => ls::run(&client, args, output).await,
        Command::Show(args) => show::run(&client, args, output).await,
        Command::History(args) => history::run(&client, args, output).await,
        Command::Rm(args) => rm::run(&client, args, output).await,
        Command::Pin(args) => pin::pin(&client, args, output).await,
        Command::Unpin(args) => pin::unpin(&client, args, output).await,
        Command::Watch(args) => watch::run(&client, &globals, args, output).await,
        Command::Claim(args) => claim::run(&client, args, output).await,
        Command::Renew(args) => renew::run(&client, args, output).await,
        Command::Release(args) => release::run(&client, args, output).await,
        Command::Run(args) => run::run(&globals, *args).await,
        Command::Follow(args) => follow::run(&client, &globals, args, output).await,
        // Answered in `main`.
        Command::Guard(_) | Command::Ward(_) => Ok(0),
        Command::Node { command: NodeCommand::Ls(args) } => node::ls(&client, args, output).await,
        Command::Node { command: NodeCommand::Show(args) } => node::show(&client, args, output).await,
        Command::Node { command: NodeCommand::Drain(args) } => drain::drain(&client, &globals, args, output).await,
        Command::Node { command: NodeCommand::Undrain(args) } => drain::undrain(&client, args, output).await,
        Command::Node { command: NodeCommand::Remove(args) } => node::remove(&client, args, output).await,
        Command::Node { command: NodeCommand::Check(args) } => node::check(&client, args, output).await,
        Command::Cluster { command: ClusterCommand::Status } => cluster::status(&client, output).await,
        Command::Cluster { command: ClusterCommand::Peers } => cluster::peers(&client, output).await,
        Command::Cluster { command: ClusterCommand::Health } => cluster::health(&client, output).await,
        Command::Cluster { command: ClusterCommand::Repairs } => cluster::repairs(&client, output).await,
        Command::Cluster { command: ClusterCommand::Recover(args) } => recover::run(&globals, &args),
        Command::Cluster { command: ClusterCommand::Recovery(args) } => recovery::run(&client, args, output).await,
        Command::Global { command: GlobalCommand::Status } => global::status(&client, output).await,
        Command::Global { command: GlobalCommand::Backup(args) } => global::backup(&client, args, output).await,
        Command::Global { command: GlobalCommand::Adopt(args) } => global::adopt(&client, args, output).await,
        Command::Meta { command: MetaCommand::Backup(args) } => meta::backup(&client, args, output).await,
        Command::Meta { command: MetaCommand::Inspect(args) } => meta::inspect(&args, output).await,
        Command::Meta { command: MetaCommand::Restore(args) } => meta::restore(&client, args, output).await,
        Command::Bench { command } => bench::run(&globals, command, output).await,
        Command::Completions { shell } => completions::run(shell, output),
        Command::Man { dir } => man::run(&dir),
    }
}
