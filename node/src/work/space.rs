//! Looks at the disk's free space, so that commands, health and probes need not: they get the newest look, and how old
//! it is, or wait for the next one. A disk that hangs holds up this one task, and not a thread for each who asks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cairn_store::id::NodeId;
use futures::future::join_all;
use tokio::sync::{Notify, watch};

use crate::core::Core;
use crate::raft::rpc;

/// How often it looks.
const LOOK: Duration = Duration::from_secs(1);
/// How long a look that somebody waits for may take; after it the one before has to do.
const LOOK_PATIENCE: Duration = Duration::from_secs(1);
/// How long another node's answer may take.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);

/// What the disk said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Bytes that are free; none before it was asked.
    pub free: Option<u64>,
    /// Whether that is less than the reserve.
    pub low: bool,
    /// When it was asked, by the env's clock.
    pub at: Duration,
}

/// The newest look at the disk.
#[derive(Debug)]
pub struct Space {
    seen: watch::Sender<Seen>,
    asked: Notify,
}

impl Space {
    /// Nothing is known at first, and nothing is wrong.
    pub fn new(now: Duration) -> Self {
        Self { seen: watch::Sender::new(Seen { free: None, low: false, at: now }), asked: Notify::new() }
    }

    /// What the disk said last.
    pub fn seen(&self) -> Seen {
        *self.seen.borrow()
    }
}

/// Runs until the node ends.
pub async fn watch_space(core: Arc<Core>) {
    while !core.stop.is_set() {
        let at = core.env.clock.now();
        if let Some(free) = core.free().await {
            let low = free < core.limits.reserve;
            let before = core.space.seen.send_replace(Seen { free: Some(free), low, at });
            if before.low != low {
                tracing::warn!(low, free, reserve = core.limits.reserve, "the disk's reserve");
            }
        }
        tokio::select! {
            biased;
            () = core.space.asked.notified() => {}
            () = core.env.clock.sleep(LOOK) => {}
        }
    }
}

impl Core {
    /// Whether the disk is below its reserve: then only what frees space or keeps order is taken (R17).
    pub fn nearly_full(&self) -> bool {
        self.space.seen().low
    }

    /// Whether the disk has room when it is asked now; if it does not answer soon, whether it had some before.
    pub async fn has_room_now(&self) -> bool {
        let (asked, mut seen) = (self.env.clock.now(), self.space.seen.subscribe());
        self.space.asked.notify_one();
        // In time or not: the newest look counts.
        let _ = self.env.timeout(LOOK_PATIENCE, seen.wait_for(|seen| seen.at >= asked)).await;
        !self.nearly_full()
    }

    /// Which of these nodes have room when they are asked now. Who does not answer is left out.
    pub async fn with_room(&self, nodes: impl Iterator<Item = NodeId>) -> BTreeMap<NodeId, bool> {
        let asked = nodes.map(|node| async move {
            if node == self.me() {
                return Some((node, self.has_room_now().await));
            }
            let ask = |peer: rpc::PeerClient| async move { peer.has_room(rpc::context()).await };
            self.links.ask(node, ANSWER_PATIENCE, ask).await.ok().map(|room| (node, room))
        });
        join_all(asked).await.into_iter().flatten().collect()
    }
}
