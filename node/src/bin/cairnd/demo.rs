//! `cairnd demo`: the whole story, told with real processes.
//!
//! - `story`: the steps, and what is told of them;
//! - `app`: the application, in a process of its own: all it knows is its node's address;
//! - `compare`: byte for byte.
//!
//! Exit 0 only if the bytes that were loaded are those that were saved.

pub(crate) mod app;
mod compare;
mod story;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::args::DemoArgs;
use crate::cluster::{BasePort, Cluster, Plan, Wish};
use crate::dev::temporary_dir;
use crate::failure::{Failure, USAGE};
use crate::signals::Signals;
use crate::{output, small_runtime};

pub(crate) fn run(args: DemoArgs) -> Result<u8, Failure> {
    let file = match args.file {
        Some(file) => file,
        None => std::env::current_exe().map_err(Failure::io("cannot find this program's own file"))?,
    };
    check(&file)?;
    let runtime = small_runtime()?;
    // First of all: whoever is asked to end must still tidy up.
    let signals = runtime.block_on(async { Signals::listen() })?;
    let folder = temporary_dir()?;
    let wish = Wish { dir: folder.path(), executors: 3, storage: 1, base: BasePort::Free, capacity: None, set: &[] };
    let mut plan = Plan::make(&wish)?;
    plan.write()?;
    let ended = runtime.block_on(until_signal(plan, &file, signals));
    // In this order: the folder goes only when nothing writes there any more.
    drop(runtime);
    drop(folder);
    ended
}

/// Before anything is made. Only what is a regular file is opened: a FIFO would make us wait.
fn check(file: &Path) -> Result<(), Failure> {
    let regular = fs::metadata(file).and_then(|found| match found.is_file() {
        true => File::open(file).map(drop),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    });
    let hint = "give a file that can be read, or none for this program itself";
    regular.map_err(|error| Failure::io(file.display())(error).exit(USAGE).hint(hint))
}

async fn until_signal(plan: Plan, file: &Path, mut signals: Signals) -> Result<u8, Failure> {
    let file: PathBuf = std::path::absolute(file).map_err(Failure::io(file.display()))?;
    let mut cluster = Cluster::new(plan)?;
    let ended = tokio::select! {
        told = story::tell(&mut cluster, &file) => told.map(|()| 0),
        code = signals.next() => Ok(code),
    };
    cluster.stop().await;
    if matches!(ended, Ok(0)) {
        output::line("\nEvery process has ended; the temporary folder is gone.");
    }
    ended
}
