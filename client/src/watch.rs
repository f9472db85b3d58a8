//! Following the changes of segments, on whatever node answers.
//!
//! ```text
//! Client::watch ──ask from──► a node: changes, or "none so far", and where to go on ──► Watch::next
//! ```
//!
//! Every change is told at least once and in order: after a lost connection the next node is asked from the same
//! revision. Nothing is kept for a watcher on a node, so a slow one costs nothing there; one that falls so far behind
//! that the history is gone is told to list the segments anew.

use std::collections::VecDeque;
use std::time::Duration;

use cairn_store::id::ClusterId;

use crate::api::{CairnClient, Error, Event, WatchRequest, Watched};
use crate::dial::{Client, shortened};

/// How long a node may take for an answer, be it that nothing changed. After it the next one is asked.
pub const WATCH_WAIT_MAX: Duration = Duration::from_secs(10);

/// What a watcher is told next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A change.
    Event(Event),
    /// Changes before this revision may have been missed: list the segments anew. The changes from it on follow.
    Relist(u64),
}

/// A place in the history of a cluster's segments.
#[derive(Debug)]
pub struct Watch {
    client: Client,
    prefix: String,
    from: Option<u64>,
    cluster: Option<ClusterId>,
    pending: VecDeque<News>,
}

impl Client {
    /// Follows the changes of all segments whose names start with `prefix`: from now on, or again from a revision
    /// that an event or [`Client::show`] gave; what happened at that revision is told once more.
    ///
    /// ```no_run
    /// # async fn example(client: cairn_client::dial::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use cairn_client::watch::News;
    ///
    /// let mut watch = client.watch("jobs/", None);
    /// loop {
    ///     match watch.next().await? {
    ///         News::Event(event) => println!("{:?} {} at {}", event.change, event.name, event.revision),
    ///         News::Relist(_) => println!("{} segments now", client.list_all("jobs/", None).await?.len()),
    ///     }
    /// }
    /// # }
    /// ```
    pub fn watch(&self, prefix: &str, from: Option<u64>) -> Watch {
        Watch { client: self.clone(), prefix: prefix.into(), from, cluster: None, pending: VecDeque::new() }
    }
}

impl Watch {
    /// The next change, for which it waits as long as it takes. May be dropped at any point: nothing is lost.
    ///
    /// # Errors
    /// No node answered within the client's time-out, be it that nothing changed; or one refused. Asking again goes on
    /// at the same place.
    pub async fn next(&mut self) -> Result<News, Error> {
        loop {
            if let Some(news) = self.pending.pop_front() {
                return Ok(news);
            }
            let Watched { cluster, events, next, relist } = self.ask().await?;
            (self.cluster, self.from) = (Some(cluster), Some(next));
            self.pending.extend(relist.then_some(News::Relist(next)));
            self.pending.extend(events.into_iter().map(News::Event));
        }
    }

    async fn ask(&self) -> Result<Watched, Error> {
        let limit = self.client.share().min(WATCH_WAIT_MAX);
        let request = WatchRequest {
            prefix: self.prefix.clone(),
            from: self.from,
            cluster: self.cluster,
            wait: shortened(limit),
        };
        let ask = |rpc: CairnClient, context| {
            let request = request.clone();
            async move { rpc.watch(context, request).await }
        };
        self.client.call_within(limit, false, ask).await
    }
}
