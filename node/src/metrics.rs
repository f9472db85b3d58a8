//! What a node counts and times while it works. What can be looked up is not counted: `/metrics` reads it when asked.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The upper bounds of times: 20 of them, from a millisecond to almost nine minutes, each twice the one before.
const BUCKETS: (f64, f64, u16) = (0.001, 2.0, 20);

/// Where a payload goes, seen from this node.
type Direction = [(&'static str, &'static str); 1];

/// A node's counts since it was started.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Payload that was sent, to new holders and to loaders, in bytes.
    pub sent: Counter,
    /// Payload that was received, in bytes.
    pub received: Counter,
    /// Copies and payloads whose bytes were not what they should be.
    pub checksum_failures: Counter,
    /// Copies that were read through because their time had come, in bytes.
    pub scrubbed: Counter,
    /// Payload that was sent to the global tier, in bytes.
    pub archived: Counter,
    /// Payload that came from there, in bytes.
    pub recalled: Counter,
    /// Versions that did not get into the global tier when it was their turn.
    pub archive_failures: Counter,
    transfers: Family<Direction, Counter>,
    saves: Histogram,
    loads: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let transfers = Family::<Direction, Counter>::default();
        let way = |direction| transfers.get_or_create(&[("direction", direction)]).clone();
        let (sent, received) = (way("sent"), way("received"));
        let (first, factor, count) = BUCKETS;
        let times = || Histogram::new(exponential_buckets(first, factor, count));
        let checksum_failures = Counter::default();
        let scrubbed = Counter::default();
        let (archived, recalled) = (way("archived"), way("recalled"));
        let archive_failures = Counter::default();
        let (saves, loads) = (times(), times());
        Self {
            sent,
            received,
            checksum_failures,
            scrubbed,
            archived,
            recalled,
            archive_failures,
            transfers,
            saves,
            loads,
        }
    }
}

impl Metrics {
    /// A save was committed, so long after it was asked for.
    pub fn saved(&self, took: Duration) {
        self.saves.observe(took.as_secs_f64());
    }

    /// A load has delivered, so long after it was asked for.
    pub fn loaded(&self, took: Duration) {
        self.loads.observe(took.as_secs_f64());
    }

    /// Names them for Prometheus. A counter's name gets its `_total` when it is written.
    pub fn register(&self, registry: &mut Registry) {
        let transfers = self.transfers.clone();
        registry.register("cairn_transfer_bytes", "Bytes of copies that went through this node's ports", transfers);
        let failures = self.checksum_failures.clone();
        let help = "Copies and transfers whose bytes were not what they should be";
        registry.register("cairn_checksum_failures", help, failures);
        let help = "Versions that did not get into the global tier when it was their turn";
        registry.register("cairn_global_failures", help, self.archive_failures.clone());
        let help = "Bytes of copies that were read through because their time had come";
        registry.register("cairn_scrub_bytes", help, self.scrubbed.clone());
        let help = "How long saves through this node took that were committed";
        registry.register("cairn_save_duration_seconds", help, self.saves.clone());
        let help = "How long loads on this node took that delivered";
        registry.register("cairn_load_duration_seconds", help, self.loads.clone());
    }
}
