//! The failover agent, and warm standbys.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use cairn_store::name::Name;

use super::CopiesArgs;
use super::ownership::lease;

/// The shortest and the longest interval at which an agent saves.
const EVERY_MIN: Duration = Duration::from_millis(100);
const EVERY_MAX: Duration = Duration::from_secs(24 * 3600);
/// The most restarts in a row that can be asked for.
const RESTARTS_MAX: u32 = 1000;

#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// The segment. It is registered if there is none: with what is at PATH, if anything is.
    pub(crate) name: Name,
    /// Where the command has its state: a file or a folder. With a slash at its end it is a folder, and made if it is not
    /// there.
    #[arg(long, value_name = "PATH")]
    pub(crate) state: PathBuf,
    /// How often the state is saved, if it changed; 100ms to 24h, or never.
    #[arg(long, value_name = "TIME|never", default_value = "10s")]
    pub(crate) every: Every,
    /// How long nobody else takes over when nothing is heard of this agent; 1s to 1h.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = lease)]
    pub(crate) lease: Duration,
    /// Wait while another node has the lease, with the newest version at hand, and take over when it ends.
    #[arg(long)]
    pub(crate) standby: bool,
    #[command(flatten)]
    pub(crate) copies: CopiesArgs,
    /// How long the command may take to end when this agent is asked to; then it is killed.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = grace)]
    pub(crate) grace: Duration,
    /// How often in a row the command is started again when it fails; then the lease is given up.
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(..=i64::from(RESTARTS_MAX)))]
    pub(crate) restarts: u32,
    /// What to run, in the foreground, with CAIRN_NAME, CAIRN_EPOCH, CAIRN_VERSION, CAIRN_STATE and CAIRN_ENDPOINTS.
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct FollowArgs {
    /// The segment; it may come to be later.
    pub(crate) name: Name,
    /// Bring each version to this path too, over what is there; a tree as a folder.
    #[arg(long, value_name = "PATH")]
    pub(crate) out: Option<PathBuf>,
}

/// The agent's other half.
#[derive(Debug, clap::Args)]
pub(crate) struct GuardArgs {
    /// Nobody else guards the same while this file is locked.
    #[arg(long)]
    pub(crate) lock: PathBuf,
    /// What to run.
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<OsString>,
}

/// What the guard runs, which becomes the command.
#[derive(Debug, clap::Args)]
pub(crate) struct WardArgs {
    /// The process with which it ends.
    #[arg(long)]
    pub(crate) parent: i32,
    /// What to run.
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<OsString>,
}

/// How long a command may take to end.
fn grace(text: &str) -> Result<Duration, String> {
    let span = humantime::parse_duration(text).map_err(|e| e.to_string())?;
    if span <= EVERY_MAX { Ok(span) } else { Err("at most 24h".into()) }
}

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Every(pub(crate) Option<Duration>);

impl FromStr for Every {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "never" {
            return Ok(Self(None));
        }
        let span = humantime::parse_duration(text).map_err(|e| e.to_string())?;
        if (EVERY_MIN..=EVERY_MAX).contains(&span) {
            return Ok(Self(Some(span)));
        }
        let [least, most] = [EVERY_MIN, EVERY_MAX].map(humantime::format_duration);
        Err(format!("an interval lasts {least} to {most}; or say never"))
    }
}
