//! Configuration: what a node is told, by a flag, a `CAIRN_…` variable, a TOML file, or a default; the first counts.
//!
//! - `keys`: every key, with its default;
//! - `values`: where each value came from, before anybody looks at what it means;
//! - `address`: what may be listened on, and what others are told;
//! - `size`: bytes, as people write them.

mod address;
mod keys;
mod size;
#[cfg(test)]
mod tests;
mod values;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cairn_store::node::{NodeName, Profile, Role};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

pub use keys::{KEYS, Key};
pub use values::{Origin, Value, Values};

use crate::core::Limits;
use crate::env::Objects;
use crate::env::real::StoredObjects;
use crate::node::{RaftTimes, Settings};

/// A commented default: every key, its default and what it is for. Byte for byte `deploy/config.example.toml`.
pub const EXAMPLE: &str = include_str!("../../deploy/config.example.toml");

/// What the command line calls the global tier where it names nodes.
const GLOBAL: &str = "global";
/// The longest path of a Unix socket, in bytes.
const SOCKET_PATH_MAX: usize = 107;

/// What a node is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that it was read from.
    pub file: PathBuf,
    /// `node.name`.
    pub name: NodeName,
    /// `node.role`.
    pub role: Role,
    /// `node.zone`.
    pub zone: String,
    /// `node.dir`, absolute.
    pub dir: PathBuf,
    /// `node.capacity`, in bytes; none: all of the file system.
    pub capacity: Option<u64>,
    /// `listen.*`.
    pub listen: Listen,
    /// `log.*`.
    pub log: Log,
    /// `raft.*`.
    pub raft: RaftTimes,
    /// `limits.*`.
    pub limits: Limits,
    /// `global.url`; none: no global tier.
    pub global: Option<String>,
    /// Every key's text, and where it came from.
    pub values: Values,
    /// What is allowed and should be known.
    pub warnings: Vec<String>,
}

/// Where a node listens, and what others are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// `HOST:PORT` of the service.
    pub rpc: String,
    /// `HOST:PORT` of the data plane.
    pub data: String,
    /// `HOST:PORT` of health and metrics over HTTP.
    pub http: String,
    /// The socket of the service; none if it has none.
    pub unix: Option<PathBuf>,
    /// `HOST:PORT` of each, as others reach them: service, data plane, HTTP.
    pub advertised: [String; 3],
}

/// How a node tells what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// What is told: a level, or directives such as `info,cairn_node=debug`.
    pub level: String,
    /// How.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConfigError {
    /// What is wrong, and where.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl ConfigError {
    fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }
}

impl Config {
    /// Reads `file`, with this process's variables and `flags` (`key=value`) above it.
    ///
    /// # Errors
    /// A file that cannot be read, a key that is unknown, missing, or has a value that makes no sense.
    pub fn read(file: &Path, flags: &[String]) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            let hint = "name a TOML file with --config; `cairnd config default` shows every key";
            let why = error.to_string();
            let why = why.split(" (os error").next().unwrap_or(&why);
            ConfigError::new(format!("cannot read the configuration {}: {why}", file.display()), hint)
        })?;
        // A variable that is not UTF-8 is none of ours.
        let variables = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Self::parse(&text, file, flags, variables)
    }

    /// The same, of a file's text and of these variables.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn parse(
        text: &str,
        file: &Path,
        flags: &[String],
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut warnings = Vec::new();
        let values = Values::gather(text, file, flags, variables, &mut warnings)?;
        let name: NodeName = values.parse("node.name", str::parse)?;
        if name.as_str() == GLOBAL {
            let hint = "choose another one: as a source of bytes it stands for the global tier";
            return Err(values.wrong("node.name", &format!("\"{GLOBAL}\" cannot be used"), hint));
        }
        let dir = node_dir(file, values.text("node.dir")?)?;
        let zone = match values.text("node.zone")? {
            "" => name.to_string(),
            zone => zone.to_owned(),
        };
        let capacity = match values.text("node.capacity")? {
            "" => None,
            _ => Some(values.parse("node.capacity", size::parse)?),
        };
        let listen = address::listen(&values, socket(&values, &dir, &mut warnings)?, &mut warnings)?;
        let log = log(&values)?;
        let (raft, limits) = (raft(&values)?, limits(&values)?);
        let role = values.parse("node.role", role)?;
        let global = Some(values.text("global.url")?).filter(|url| !url.is_empty()).map(str::to_owned);
        if let Some(url) = &global {
            // What is wrong with it is told here, and not when a copy is to go there.
            StoredObjects::check(url).map_err(|why| {
                let hint = "docs/global.md shows what can be written; \"\" for none";
                values.wrong("global.url", &format!("it cannot be used: {why}"), hint)
            })?;
        }
        let file = file.to_path_buf();
        Ok(Self { file, name, role, zone, dir, capacity, listen, log, raft, limits, global, values, warnings })
    }

    /// What the node says of itself.
    ///
    /// # Errors
    /// The file system cannot be asked how large it is.
    pub fn profile(&self) -> io::Result<Profile> {
        let [rpc, data, http] = self.listen.advertised.clone();
        let capacity = match self.capacity {
            Some(capacity) => capacity,
            None => file_system_bytes(&self.dir)?,
        };
        Ok(Profile { name: self.name.clone(), role: self.role, zone: self.zone.clone(), rpc, data, http, capacity })
    }

    /// The object store of [`Config::global`], with the credentials that are in this process's variables.
    ///
    /// # Errors
    /// A variable makes no sense to the store.
    pub fn objects(&self) -> Result<Option<Arc<dyn Objects>>, ConfigError> {
        let Some(url) = &self.global else { return Ok(None) };
        let variables = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        let opened = StoredObjects::open(url, variables).map_err(|why| {
            ConfigError::new(
                format!("the global tier cannot be used: {why}"),
                "look at the variables AWS_…, AZURE_… and GOOGLE_…",
            )
        });
        Ok(Some(Arc::new(opened?)))
    }

    /// What the node is started with.
    ///
    /// # Errors
    /// As [`Config::profile`].
    pub fn settings(&self) -> io::Result<Settings> {
        let unix = self.listen.unix.iter().map(|path| format!("unix:{}", path.display()));
        Ok(Settings {
            profile: self.profile()?,
            rpc: std::iter::once(self.listen.rpc.clone()).chain(unix).collect(),
            data: self.listen.data.clone(),
            http: Some(self.listen.http.clone()),
            limits: self.limits,
            raft: self.raft,
        })
    }
}

/// Relative to the file; without `.` in it, because people read it.
fn node_dir(file: &Path, dir: &str) -> Result<PathBuf, ConfigError> {
    let dir = file.parent().unwrap_or(Path::new("")).join(dir);
    let absolute = std::path::absolute(&dir)
        .map_err(|error| ConfigError::new(format!("node.dir {}: {error}", dir.display()), "give an absolute path"))?;
    Ok(absolute.components().collect())
}

fn socket(values: &Values, dir: &Path, warnings: &mut Vec<String>) -> Result<Option<PathBuf>, ConfigError> {
    let value = values.get("listen.unix")?;
    let path = match (&value.origin, value.text.as_str()) {
        (Origin::Default, _) => dir.join("cairnd.sock"),
        (_, "") => return Ok(None),
        (_, path) => dir.join(path),
    };
    if path.as_os_str().len() <= SOCKET_PATH_MAX {
        return Ok(Some(path));
    }
    let long = format!("the path of the Unix socket is longer than {SOCKET_PATH_MAX} bytes: {}", path.display());
    if value.origin == Origin::Default {
        warnings.push(format!("{long}; the node listens without it (listen.unix sets a shorter one)"));
        return Ok(None);
    }
    Err(values.wrong("listen.unix", &long, "choose a shorter path, or \"\" for no socket"))
}

fn log(values: &Values) -> Result<Log, ConfigError> {
    let level = values.parse("log.level", level)?.to_owned();
    let format = values.parse("log.format", |text| match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("write \"text\" or \"json\""),
    })?;
    Ok(Log { level, format })
}

/// Alone, a word that is no level would name a crate, and everything else would be silent.
fn level(text: &str) -> Result<&str, String> {
    let hint = "write off, error, warn, info, debug or trace; or directives such as info,cairn_node=debug";
    let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
    let words = || text.split(',').filter(|word| !word.contains(['=', '[']));
    if words().any(|word| !is_level(word)) {
        return Err(hint.into());
    }
    log_filter(text).map(|_| text).map_err(|error| format!("{error}; {hint}"))
}

/// What a node tells, as directives: targets and spans. Fields are not among them: their values are patterns, and a short
/// one can take minutes and gigabytes to be understood. What is no letter of ours can make the parser panic.
///
/// # Errors
/// What is wrong with them.
pub fn log_filter(directives: &str) -> Result<EnvFilter, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_:-.,=[] ".contains(&byte);
    if !directives.bytes().all(plain) {
        return Err("targets and spans can be told apart, by their plain names".into());
    }
    EnvFilter::builder().parse(directives).map_err(|error| error.to_string())
}

fn raft(values: &Values) -> Result<RaftTimes, ConfigError> {
    let times = RaftTimes {
        heartbeat: values.parse("raft.heartbeat", span)?,
        election_min: values.parse("raft.election_min", span)?,
        election_max: values.parse("raft.election_max", span)?,
        snapshot_every: values.parse("raft.snapshot_every", count)?,
        ..RaftTimes::default()
    };
    if times.election_min < times.heartbeat * 2 {
        let hint = "a follower must miss two heartbeats at least before it stands for election";
        return Err(values.wrong("raft.election_min", "is less than twice raft.heartbeat", hint));
    }
    if times.election_max <= times.election_min {
        let hint = "followers draw their time-outs between the two, so that they do not stand all at once";
        return Err(values.wrong("raft.election_max", "is not more than raft.election_min", hint));
    }
    Ok(times)
}

fn limits(values: &Values) -> Result<Limits, ConfigError> {
    let usize_of = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(PERMITS_MAX);
    let (repair_rate, repair_transfers) =
        (values.parse("repair.rate", rate)?, usize_of(values.parse("repair.transfers", count)?));
    let least = REPAIR_RATE_MIN.saturating_mul(u64::try_from(repair_transfers).unwrap_or(u64::MAX));
    if repair_rate < least {
        let hint = format!("write {least} bytes or more, or lower repair.transfers: slower transfers are given up");
        return Err(values.wrong("repair.rate", "is too little for so many transfers", &hint));
    }
    Ok(Limits {
        transfers: usize_of(values.parse("limits.transfers", count)?),
        connections: usize_of(values.parse("limits.connections", count)?),
        reserve: values.parse("limits.reserve", size::parse)?,
        idle: values.parse("limits.idle", span)?,
        handshake: values.parse("limits.handshake", span)?,
        down_after: values.parse("limits.down_after", span)?,
        repair_after: values.parse("repair.after", span)?,
        scrub_period: values.parse("repair.scrub_every", long_span)?,
        scrub_rate: values.parse("repair.scrub_rate", rate)?,
        archive: values.parse("global.archive", str::parse)?,
        archive_transfers: usize_of(values.parse("global.transfers", count)?),
        archive_rate: values.parse("global.rate", rate)?,
        sweep_every: values.parse("global.sweep_every", long_span)?,
        backup_every: values.parse("global.backup_every", long_span)?,
        backups: usize_of(values.parse("global.backups", count)?),
        repair_rate,
        repair_transfers,
        ..Limits::default()
    })
}

/// The least that one transfer of a repair may take, in bytes a second: a block. One that takes it more slowly is silent for
/// longer than its sender waits.
const REPAIR_RATE_MIN: u64 = 1 << 20;

/// The most of anything that is counted.
const PERMITS_MAX: usize = 1 << 20;

fn role(text: &str) -> Result<Role, &'static str> {
    match text {
        "executor" => Ok(Role::Executor),
        "storage" => Ok(Role::Storage),
        _ => Err("write \"executor\" or \"storage\""),
    }
}

fn span(text: &str) -> Result<Duration, String> {
    match long_span(text)? {
        span if span > SPAN_MAX => Err("it is longer than a day".into()),
        span => Ok(span),
    }
}

fn long_span(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(span) if span < Duration::from_millis(1) => Err("it is shorter than 1ms".into()),
        Ok(span) if span > LONG_SPAN_MAX => Err("it is longer than a year".into()),
        Ok(span) => Ok(span),
        Err(_) => Err("write a duration with its unit, such as 150ms or 3s".into()),
    }
}

/// The longest time that makes sense where somebody waits.
const SPAN_MAX: Duration = Duration::from_secs(24 * 3600);
/// The longest time that makes sense anywhere.
const LONG_SPAN_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// Bytes a second.
fn rate(text: &str) -> Result<u64, String> {
    match size::parse(text) {
        Ok(0) => Err("write a size above 0, such as 64MiB".into()),
        Ok(rate) => Ok(rate),
        Err(error) => Err(error.to_string()),
    }
}

fn count(text: &str) -> Result<u64, &'static str> {
    match text.parse() {
        Ok(0) | Err(_) => Err("write a whole number above 0"),
        Ok(number) => Ok(number),
    }
}

/// Of the file system that `dir` lies on, or will.
fn file_system_bytes(dir: &Path) -> io::Result<u64> {
    let there = dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let found = rustix::fs::statvfs(there).map_err(|e| {
        io::Error::other(format!("the size of the file system of {} is not known: {e}", dir.display()))
    })?;
    Ok(found.f_blocks.saturating_mul(found.f_frsize))
}
