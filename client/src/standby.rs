//! A warm standby: the newest version of a segment comes to this node, and to a path, as soon as it is committed.
//!
//! ```text
//! Standby::next ──show──► head? owner? lease?
//!      │                  newer than what is received ──load──► received ──deliver──► applied
//!      └──watch──► something changed: look again
//! ```
//!
//! What is received lies in the node's local storage, verified; what is applied, at the path, where an application can begin
//! with it. Both only go forward while the name keeps its registration.

use std::time::Duration;

use cairn_store::digest::Digest;
use cairn_store::id::SegmentId;
use cairn_store::name::Name;
use cairn_store::node::NodeName;
use cairn_store::segment::{Epoch, Kind, Version};
use tokio::time::{Instant, timeout_at};

use crate::api::{Code, SegmentDetail};
use crate::deliver::Output;
use crate::dial::Client;
use crate::fault::Fault;
use crate::load::LoadOptions;
use crate::save::Observer;
use crate::watch::{News, Watch};

/// How often a copy that no cluster refers to is asked for again, so that the node keeps it: less than the hour after which it
/// would be collected (R1).
const REFRESH: Duration = Duration::from_secs(20 * 60);
/// How much longer than a lease should last it is waited for the word that it is over.
const LAPSE_MARGIN: Duration = Duration::from_secs(1);
/// How often a name is looked for that is not there.
const LOOK: Duration = Duration::from_secs(2);

/// What a standby knows of its segment, and has of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The registration.
    pub segment: SegmentId,
    /// What the bytes are.
    pub kind: Kind,
    /// The owner.
    pub owner: Option<NodeName>,
    /// The epoch.
    pub epoch: Epoch,
    /// How long the owner's lease would last from when it was looked at; none if it has none.
    pub lease: Option<Duration>,
    /// The newest version; none before the first.
    pub head: Option<Version>,
    /// Of the newest version.
    pub digest: Option<Digest>,
    /// Of the newest version, in bytes.
    pub size: Option<u64>,
    /// The newest that came to this node's local storage.
    pub received: Option<Version>,
    /// The newest that came to the path.
    pub applied: Option<Version>,
    /// At which revision of the cluster.
    pub revision: u64,
}

impl Standing {
    /// Whether nothing newer is to come.
    pub fn is_fresh(&self) -> bool {
        self.received >= self.head
    }
}

/// Follows a segment.
pub struct Standby {
    client: Client,
    name: Name,
    output: Option<Output>,
    observer: Option<Observer>,
    known: Option<Standing>,
    watch: Option<Watch>,
    /// When to look again, whether or not anything is told.
    look_at: Instant,
    /// When to ask for the copy again.
    refresh_at: Instant,
    /// A change was told that was not looked at.
    stale: bool,
}

impl Standby {
    /// One that brings every new version to the node that answers, and to `output` too, over what is there.
    pub fn new(client: Client, name: Name, output: Option<Output>) -> Self {
        let now = Instant::now();
        let (observer, known, watch) = (None, None, None);
        Self { client, name, output, observer, known, watch, look_at: now, refresh_at: now + REFRESH, stale: true }
    }

    /// From now on this is told how far a version is on its way.
    pub fn observe(&mut self, observer: Option<Observer>) {
        self.observer = observer;
    }

    /// What is known by now.
    pub fn known(&self) -> Option<&Standing> {
        self.known.as_ref()
    }

    /// Says that a version is at the path already; or, with none, that what is there is not to be counted on any more.
    pub fn set_applied(&mut self, version: Option<Version>) {
        if let Some(known) = &mut self.known {
            known.applied = version;
        }
        self.stale = true;
    }

    /// Has [`Standby::changed`] return at once.
    pub fn set_stale(&mut self) {
        self.stale = true;
    }

    /// Looks at the segment, without waiting for anything; none if there is no such name.
    ///
    /// # Errors
    /// No node answered in the client's time; or one refused.
    pub async fn look(&mut self) -> Result<Option<&Standing>, Fault> {
        let shown = match self.client.show(&self.name).await {
            Ok(shown) => Some(shown),
            Err(error) if error.code == Code::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        self.stale = false;
        let lease = shown.as_ref().map(|shown| shown.lease.map_or(REFRESH, |lease| lease + LAPSE_MARGIN));
        self.look_at = Instant::now() + lease.unwrap_or(LOOK);
        let before = self.known.take();
        self.known = shown.map(|shown| standing(&shown, before.as_ref()));
        if self.watch.is_none() {
            // What was seen just now needs not be told once more.
            let from = self.known.as_ref().map(|known| known.revision.saturating_add(1));
            self.watch = Some(self.client.watch(self.name.as_str(), from));
        }
        Ok(self.known.as_ref())
    }

    /// Waits for the next thing to know: another owner, the end of a lease, a new version, which is here by then. None if there
    /// is no such name. May be dropped at any point.
    ///
    /// # Errors
    /// As for [`Client::load`] and [`Client::show`]. Asking again goes on from here.
    pub async fn next(&mut self) -> Result<Option<&Standing>, Fault> {
        self.changed().await?;
        self.look().await?;
        self.bring().await?;
        Ok(self.known.as_ref())
    }

    /// Whether the newest version is not here, or not at the path.
    fn lacks(&self) -> bool {
        self.known.as_ref().is_some_and(|known| !known.is_fresh() || self.lacks_at_path(known))
    }

    fn lacks_at_path(&self, known: &Standing) -> bool {
        self.output.is_some() && known.applied < known.head
    }

    /// Brings the newest version here, if it is not.
    ///
    /// # Errors
    /// As for [`Client::load`].
    pub async fn bring(&mut self) -> Result<(), Fault> {
        if !self.lacks() {
            return Ok(());
        }
        let wanted = self.known.as_ref().is_some_and(|known| self.lacks_at_path(known));
        let output = self.output.clone().filter(|_| wanted);
        let (applies, observer) = (output.is_some(), self.observer.clone());
        let options = LoadOptions { output, observer, ..LoadOptions::new(self.name.clone()) };
        let loaded = match self.client.load(options).await {
            Ok(loaded) => loaded,
            // It goes or went: looked at again.
            Err(Fault::Request(error)) if error.code == Code::NotFound => {
                self.stale = true;
                return Ok(());
            }
            Err(fault) => return Err(fault),
        };
        self.refresh_at = Instant::now() + REFRESH;
        if let Some(known) = &mut self.known {
            let version = Some(loaded.version);
            known.received = known.received.max(version);
            known.applied = if applies { version } else { known.applied };
            if known.head <= version {
                (known.head, known.digest, known.size) = (version, Some(loaded.digest), Some(loaded.size));
            }
        }
        Ok(())
    }

    /// Waits until something is told of the segment, or it is time to look; not at all if something is lacking here. May be dropped
    /// at any point.
    ///
    /// # Errors
    /// No node answered in the client's time.
    pub async fn changed(&mut self) -> Result<(), Fault> {
        if self.stale || self.lacks() {
            return Ok(());
        }
        let Some(watch) = &mut self.watch else { return Ok(()) };
        loop {
            match timeout_at(self.look_at.min(self.refresh_at), watch.next()).await {
                // Names that only begin like ours are told too.
                Ok(Ok(News::Event(event))) if event.name != self.name => {}
                Ok(Ok(_)) => break,
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => break,
            }
        }
        self.refresh(Instant::now());
        self.stale = true;
        Ok(())
    }

    /// Has the copy asked for again, if it is time to. It is not time again at once, whether or not there is one.
    fn refresh(&mut self, now: Instant) {
        if now < self.refresh_at {
            return;
        }
        self.refresh_at = now + REFRESH;
        if let Some(known) = &mut self.known {
            known.received = None;
        }
    }
}

/// What is known now. Of another registration nothing is here yet.
fn standing(shown: &SegmentDetail, before: Option<&Standing>) -> Standing {
    let same = before.filter(|before| before.segment == shown.segment);
    Standing {
        segment: shown.segment,
        kind: shown.summary.kind,
        owner: shown.summary.owner.clone(),
        epoch: shown.summary.epoch,
        lease: shown.lease,
        head: shown.summary.head,
        digest: shown.summary.digest,
        size: shown.summary.size,
        received: same.and_then(|before| before.received),
        applied: same.and_then(|before| before.applied),
        revision: shown.revision,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_is_due_once_even_if_there_is_nothing_to_refresh() {
        let client = Client::new(Vec::new(), Duration::from_secs(1));
        let mut standby = Standby::new(client, "app".parse().unwrap(), None);
        let due = standby.refresh_at;
        standby.refresh(due - Duration::from_secs(1));
        assert_eq!(standby.refresh_at, due);
        standby.refresh(due);
        assert_eq!(standby.refresh_at, due + REFRESH);
    }
}
