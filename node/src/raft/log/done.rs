//! Tells a waiter when its write is durable.

use std::io;

use cairn_store::crash_point;
use openraft::storage::IOFlushed;

use super::rotation;
use crate::raft::types::Types;

/// Passes on raft-log's word. If raft-log drops it without one, as it does on a full disk with everything that is
/// still queued, the waiter gets an error: else Raft would wait for ever.
pub(super) struct Done(Option<IOFlushed<Types>>);

impl Done {
    pub(super) fn new(waiter: IOFlushed<Types>) -> Self {
        Self(Some(waiter))
    }
}

impl raft_log::Callback for Done {
    fn send(mut self, result: io::Result<()>) {
        crash_point!("log.durable");
        rotation::durable();
        if let Some(waiter) = self.0.take() {
            waiter.io_completed(result);
        }
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        if let Some(waiter) = self.0.take() {
            waiter.io_completed(Err(io::Error::other("raft log: it stopped before this write was durable")));
        }
    }
}
