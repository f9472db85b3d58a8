//! Changes of segments, as they are committed.
//!
//! A watcher asks again and again, each time from where it is: the node keeps nothing for it.

use cairn_client::api::{Code, EVENTS_MAX, Error, Event, WatchRequest, Watched};
use cairn_store::meta;
use cairn_store::name::Name;

use super::Service;
use super::show::name_of;
use crate::raft::View;

impl Service {
    /// Answers with the next changes; or, within half the request's time, that there are none: then by the word of a
    /// quorum, because a node that was cut off hears of nothing either.
    pub(super) async fn watch_segments(&self, request: WatchRequest) -> Result<Watched, Error> {
        let core = &self.core;
        Name::check_prefix(&request.prefix)
            .map_err(|e| Error::new(Code::Invalid, format!("no name starts with {:?}: {e}", request.prefix)))?;
        let deadline = self.deadline(request.wait);
        // Revisions count from 1.
        let Some(mut from) = request.from.map(|from| from.max(1)) else {
            let next = core.read(deadline).await?.state.revision.saturating_add(1);
            return Ok(Watched { cluster: core.identity.cluster, events: Vec::new(), next, relist: false });
        };
        let stranger = request.cluster.is_some_and(|cluster| cluster != core.identity.cluster);
        let quiet_until = self.deadline(request.wait / 2);
        let mut news = core.view.clone();
        let mut sure = false;
        loop {
            let known = {
                let view = news.borrow_and_update();
                let known = view.state.revision.saturating_add(1);
                if stranger || (sure && from > known) {
                    // A revision that this cluster has not reached is of another history.
                    return Ok(self.relist(known));
                }
                if from <= known {
                    let Some(watched) = self.collect(&view, &request.prefix, from) else {
                        return Ok(self.relist(known));
                    };
                    if sure || !watched.events.is_empty() {
                        return Ok(watched);
                    }
                    from = watched.next;
                }
                known
            };
            let left = quiet_until.saturating_sub(core.env.clock.now());
            // Who waits for a revision that is not reached here may know more than this node.
            let changed = from <= known && core.env.timeout(left, news.changed()).await.is_some_and(|c| c.is_ok());
            if !changed {
                core.read(deadline).await?;
                sure = true;
            }
        }
    }

    fn relist(&self, next: u64) -> Watched {
        Watched { cluster: self.core.identity.cluster, events: Vec::new(), next, relist: true }
    }

    /// The changes from a revision on, as many as fit into one answer; none if they are not all known.
    fn collect(&self, view: &View, prefix: &str, from: u64) -> Option<Watched> {
        let mut events = Vec::new();
        let mut next = view.state.revision.saturating_add(1);
        for entry in view.history.since(from)? {
            if let (Some(first), true) = (entry.first(), events.len() >= EVENTS_MAX) {
                // What one entry changed is never cut in two.
                next = first.revision;
                break;
            }
            let meant = entry.iter().filter(|event| event.name.as_str().starts_with(prefix));
            events.extend(meant.map(|event| told(view, event)));
        }
        Some(Watched { cluster: self.core.identity.cluster, events, next, relist: false })
    }
}

fn told(view: &View, event: &meta::Event) -> Event {
    Event {
        revision: event.revision,
        at: event.at,
        change: event.change,
        name: event.name.clone(),
        version: event.version,
        epoch: event.epoch,
        owner: event.owner.and_then(|id| name_of(&view.state, id)),
    }
}
