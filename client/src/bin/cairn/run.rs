//! `cairn run`: the failover agent.
//!
//! ```text
//! stand by ──its turn──► take over ──► serve: the command runs ──done──► save, release
//!    ▲                                   │ lost
//!    └──────────────(--standby)──────────┘
//! ```
//!
//! - `agent`: the way above; `takeover`: its first half; `serve`: one ownership;
//! - `home`: the node of this machine; `lock`: one agent of a name there;
//! - `keeper`: renews the lease; `saver`: saves the state; `state`: what is at its path;
//! - `ward`: the command, seen from here; `guard`: the process between; `orders`: what the two say; `family`: all that the
//!   command forked;
//! - `restarts`: when a command that failed is started again; `signals`: what is asked of the agent; `note`: what it tells.

mod agent;
mod family;
mod guard;
mod home;
mod keeper;
mod lock;
mod note;
mod orders;
mod restarts;
mod saver;
mod serve;
mod signals;
mod state;
mod takeover;
mod ward;

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cairn_client::dial::TIMEOUT_MAX;
use tokio::time::{Instant, sleep};

use crate::args::{Globals, RunArgs};
use crate::daemon::on_path;
use crate::report::Report;
use agent::{Agent, Job, PATIENCE};
use home::Home;
use note::{Notes, What};
use saver::Terms;
use signals::Signals;
use state::StatePath;

pub(crate) use guard::{become_ward, run as guard};

pub(crate) async fn run(globals: &Globals, args: RunArgs) -> Result<u8, Report> {
    check_program(args.command.first().map(OsStr::new).unwrap_or_default())?;
    let state = StatePath::open(&args.state)?;
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: std::io::Error| Report::internal(format!("cannot {what}: {error}"))
    };
    let mut signals = Signals::listen().map_err(failed("listen to signals"))?;
    family::adopt().map_err(|error| Report::internal(format!("cannot adopt processes: {error}")))?;
    let notes = Notes::new(args.name.clone(), globals.output);
    let home = tokio::select! {
        home = find(globals, &notes) => home?,
        _ = signals.end() => return Ok(0),
    };
    // Held to the end.
    let _lock = home.lock(&args.name)?;
    let _state_lock = home.lock_state(state.path())?;
    tokio::select! {
        gone = home.until_unguarded(&args.name) => gone?,
        _ = signals.end() => return Ok(0),
    }
    let job = Job {
        name: args.name,
        command: args.command,
        lease: args.lease,
        standby: args.standby,
        terms: Terms::new(args.every.0, &args.copies),
        grace: args.grace,
        restarts: args.restarts,
        timeout: globals.timeout,
    };
    let client = home.client(job.patience());
    Agent { job, home, client, state, notes, signals }.run().await
}

/// The node of this machine, once it answers.
async fn find(globals: &Globals, notes: &Notes) -> Result<Home, Report> {
    let (endpoints, start) = (globals.endpoints(), Instant::now());
    let limit = globals.timeout.unwrap_or(TIMEOUT_MAX);
    loop {
        let report = match Home::find(&endpoints, PATIENCE.min(limit)).await {
            Ok(home) => return Ok(home),
            Err(report) => report,
        };
        if !report.retryable || start.elapsed() >= limit {
            return Err(report);
        }
        notes.say_once(What::Waiting, None, None, &format!("waiting for the node: {}", report.message));
        sleep(agent::PAUSE).await;
    }
}

/// Whether there is such a program: before anything is claimed.
fn check_program(program: &OsStr) -> Result<(), Report> {
    let hint = "give the command after --, with its path if it is not in a folder of PATH";
    // As the system looks for it: a word alone is in a folder of PATH.
    let named = Path::new(program);
    let file = if named.components().count() > 1 { Some(named.into()) } else { program.to_str().and_then(on_path) };
    let Some(file) = file.filter(|file| file.is_file()) else {
        return Err(Report::invalid(format!("there is no program {}", program.display()), hint));
    };
    let executable = file.metadata().is_ok_and(|there| there.permissions().mode() & 0o111 != 0);
    if executable { Ok(()) } else { Err(Report::invalid(format!("{} is not executable", program.display()), hint)) }
}
