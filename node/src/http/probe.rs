//! What probes ask of one node. Whether it should be restarted never depends on others; whether it can serve does.

use std::fmt;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;

use crate::core::Core;

/// A disk that says nothing for so long is broken. It is asked every second.
const DISK_SILENCE_MAX: Duration = Duration::from_secs(15);
/// How long a leader's word, and what it says to apply, are waited for.
const READY_PATIENCE: Duration = Duration::from_secs(2);

/// One thing that a node needs to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// In a word.
    pub name: &'static str,
    /// Why it is not so; none if it is.
    pub failed: Option<String>,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.failed {
            None => write!(f, "{} ok", self.name),
            Some(why) => write!(f, "{} failed: {why}", self.name),
        }
    }
}

/// Whether the process and its disk are fine.
///
/// # Errors
/// What is wrong, in words.
pub fn live(core: &Core) -> Result<(), String> {
    if let Some(why) = core.stop.why() {
        return Err(format!("the node must not go on: {why}"));
    }
    let silent = core.env.clock.now().saturating_sub(core.space.seen().at);
    if silent > DISK_SILENCE_MAX {
        return Err(format!("the disk has not answered for {} s", silent.as_secs()));
    }
    Ok(())
}

/// Everything that this node needs to serve.
pub async fn ready(core: &Core) -> Vec<Check> {
    let check = |name, done: Result<(), String>| Check { name, failed: done.err() };
    let ending = if core.stop.is_set() { Err("it is ending".to_owned()) } else { Ok(()) };
    let deadline = core.env.clock.now() + READY_PATIENCE;
    let index = core.read_index(deadline).await;
    let state = match &index {
        Ok(index) => caught_up(core, *index, deadline).await,
        Err(_) => Err("without a leader nobody knows what was committed".into()),
    };
    vec![
        check("node", live(core).and(ending)),
        check("leader", index.map(drop).map_err(|e| e.message)),
        check("state", state),
        check("disk", disk(core)),
    ]
}

async fn caught_up(core: &Core, index: Option<crate::raft::types::LogId>, deadline: Duration) -> Result<(), String> {
    let Some(view) = core.applied(index, deadline).await else {
        let applied = core.metrics.borrow_watched().last_applied.map_or(0, |log| log.index());
        let committed = index.map_or(0, |log| log.index());
        return Err(format!("entry {applied} of {committed} is applied"));
    };
    match view.state.members.contains_key(&core.me()) {
        true => Ok(()),
        false => Err("this node is no member".into()),
    }
}

fn disk(core: &Core) -> Result<(), String> {
    let seen = core.space.seen();
    match seen.free {
        None => Err("its free space is not known yet".into()),
        Some(free) if seen.low => Err(format!("{free} bytes are free, less than limits.reserve")),
        Some(_) => Ok(()),
    }
}
