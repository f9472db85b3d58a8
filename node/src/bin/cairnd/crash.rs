//! Crash points, armed by variables. Only tests have a build with this file.
//!
//! `CAIRN_CRASH_POINT=NAME:N` ends the process when it comes by the point NAME for the N-th time, with a line that says
//! so. `CAIRN_CRASH_CHUNK` and `CAIRN_CRASH_KEPT` make chunks of the log and what is left of it behind a snapshot small, so
//! that their points are come by at all.

use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use cairn_node::config::Config;
use cairn_node::env::real::sendfile_bytes;
use cairn_node::raft::log::LogTuning;
use cairn_store::crash::{POINTS, fail};
use cairn_store::disk::direct_bytes;
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::failure::Failure;
use crate::output;

/// One line for each point: its name, and the way to it.
pub(crate) fn list() -> u8 {
    POINTS.iter().for_each(|(name, way)| output::line(&format!("{name} {}", format!("{way:?}").to_lowercase())));
    0
}

/// Arms the point that the variable names.
pub(crate) fn arm(mut config: Config) -> Result<Config, Failure> {
    if let Some(kept) = variable("CAIRN_CRASH_KEPT")? {
        config.raft.log_kept = kept;
    }
    let Ok(spec) = std::env::var("CAIRN_CRASH_POINT") else { return Ok(config) };
    let parsed = spec.split_once(':').and_then(|(name, nth)| Some((name, nth.parse::<u64>().ok()?)));
    let known = |(name, nth): &(&str, u64)| *nth > 0 && POINTS.iter().any(|(known, _)| known == name);
    let Some((name, nth)) = parsed.filter(known) else {
        return Err(Failure::new(format!("CAIRN_CRASH_POINT={spec} is not NAME:N of a point that there is")));
    };
    let (passed, told) = (AtomicU64::new(0), name.to_owned());
    let pass = move || {
        if passed.fetch_add(1, Ordering::SeqCst) + 1 == nth {
            end(&told, nth);
        }
    };
    fail::cfg_callback(name, pass).map_err(Failure::new)?;
    Ok(config)
}

/// A log whose chunks are small.
pub(crate) fn tuned(tuning: LogTuning) -> Result<LogTuning, Failure> {
    Ok(LogTuning { chunk_bytes: variable("CAIRN_CRASH_CHUNK")?.unwrap_or(tuning.chunk_bytes), ..tuning })
}

fn variable<T: FromStr>(name: &str) -> Result<Option<T>, Failure> {
    let Ok(text) = std::env::var(name) else { return Ok(None) };
    let parsed = text.parse().map(Some);
    parsed.map_err(|_| Failure::new(format!("{name}={text} is not a number")))
}

/// Nothing is unwound, flushed or written but the line: it is as if the process had been killed here.
#[allow(clippy::print_stderr, reason = "the line that proves it")]
fn end(name: &str, nth: u64) {
    let (sendfile, direct) = (sendfile_bytes(), direct_bytes());
    eprintln!("crash point {name}:{nth} sendfile={sendfile} direct={direct}");
    // No core file, which would take longer than all the rest.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    std::process::abort();
}
