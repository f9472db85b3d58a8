//! An SQLite database under constant writes, whose consistent copies are saved: SQLite's backup, then a save.
//!
//! ```sh
//! cairn run app/ledger --state /var/lib/ledger/copy.db --every never --standby -- ledger /var/lib/ledger/live.db
//! ```
//!
//! The database that is written to is another file than the state. The state is only ever a whole copy, put into its place by a
//! rename, so whoever saves it saves what SQLite itself would restore. What was written after the newest copy is lost with the node:
//! who must not lose it waits for the save, as `counter` does.

#![allow(clippy::print_stdout, reason = "it talks to people")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context, ensure};
use cairn_client::dial::Client;
use cairn_client::save::{SaveOptions, Source};
use cairn_store::name::Name;
use cairn_store::segment::Epoch;
use rusqlite::Connection;
use rusqlite::backup::Backup;

/// How often a copy is made and saved.
const EVERY: Duration = Duration::from_millis(300);
/// How many pages are copied at once, and the pause after that: writes go on in between.
const PAGES: i32 = 100;
const PAUSE: Duration = Duration::from_millis(1);
/// How long a save may stand still.
const SAVE_MAX: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let live = PathBuf::from(env::args().nth(1).context("usage: ledger DATABASE")?);
    let told = |variable: &str| env::var(variable).with_context(|| format!("no {variable}: run it with cairn run"));
    let (copy, name): (_, Name) = (PathBuf::from(told("CAIRN_STATE")?), told("CAIRN_NAME")?.parse()?);
    let epoch = Epoch(told("CAIRN_EPOCH")?.parse()?);
    let client = Client::new(told("CAIRN_ENDPOINTS")?.split(',').map(str::to_owned).collect(), SAVE_MAX);

    let database = open(&live, &copy)?;
    println!("begins with {} entries, in epoch {epoch}", entries(&database)?);
    loop {
        write_for(&database, EVERY)?;
        let written = entries(&database)?;
        back_up(&database, &copy)?;
        let source = Source::File { path: copy.clone(), take: false };
        let options = SaveOptions { epoch: Some(epoch), ..SaveOptions::new(name.clone(), source) };
        let saved = client.save(options).await?;
        println!("saved {written} entries as version {}", saved.version);
    }
}

/// The database that is written to: begun with the newest copy, if there is one.
fn open(live: &Path, copy: &Path) -> anyhow::Result<Connection> {
    for end in ["", "-wal", "-shm"] {
        let mut old = live.as_os_str().to_owned();
        old.push(end);
        if fs::exists(&old)? {
            fs::remove_file(&old)?;
        }
    }
    if fs::exists(copy)? {
        fs::copy(copy, live)?;
    }
    let database = Connection::open(live)?;
    database.pragma_update(None, "journal_mode", "wal")?;
    let found: String = database.pragma_query_value(None, "integrity_check", |row| row.get(0))?;
    ensure!(found == "ok", "the copy is damaged: {found}");
    // Each entry is one more than the one before: none may be missing.
    database
        .execute_batch("create table if not exists entry (number integer primary key, before integer not null)")?;
    let odd: u64 =
        database.query_row("select count(*) from entry where number <> before + 1", [], |row| row.get(0))?;
    ensure!(odd == 0, "{odd} entries do not follow the one before");
    Ok(database)
}

fn entries(database: &Connection) -> anyhow::Result<u64> {
    Ok(database.query_row("select count(*) from entry", [], |row| row.get(0))?)
}

fn write_for(database: &Connection, span: Duration) -> anyhow::Result<()> {
    let start = Instant::now();
    while start.elapsed() < span {
        database.execute("insert into entry (before) select coalesce(max(number), 0) from entry", [])?;
    }
    Ok(())
}

/// A whole copy of the database as it is at one moment, in the place of the last one.
fn back_up(database: &Connection, copy: &Path) -> anyhow::Result<()> {
    let new = copy.with_extension("new");
    if fs::exists(&new)? {
        fs::remove_file(&new)?;
    }
    let mut target = Connection::open(&new)?;
    Backup::new(database, &mut target)?.run_to_completion(PAGES, PAUSE, None)?;
    target.close().map_err(|(_, error)| error)?;
    fs::rename(&new, copy)?;
    Ok(())
}
