//! `/metrics`: what was counted, and what a look shows now. No label ever names a segment.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use cairn_store::disk::direct_bytes;
use cairn_store::plan::archive::Plan;
use openraft::async_runtime::WatchReceiver;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::sync::Mutex;

use super::census::Census;
use crate::core::Core;
use crate::env::real::sendfile_bytes;
use crate::work::archive::backlog;

/// The text's format, which Prometheus knows by it.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How long a leader's word is waited for before there counts as none.
const LEADER_PATIENCE: Duration = Duration::from_secs(1);

type Whole = Gauge<u64, AtomicU64>;
type Seconds = Gauge<f64, AtomicU64>;

/// Everything that this node tells Prometheus, as text. Only one who holds `counting` looks at all segments.
///
/// # Errors
/// The node is stopping.
pub async fn scrape(core: &Arc<Core>, counting: &Arc<Mutex<()>>) -> io::Result<String> {
    // A leader that has lost its quorum still calls itself one: only a new word of it counts.
    let committed = core.read_index(core.env.clock.now() + LEADER_PATIENCE).await.ok();
    let alone = counting.clone().lock_owned().await;
    let (view, now) = (core.now(), core.env.clock.wall());
    let applied = view.applied.map_or(0, |log| log.index());
    let rule = core.archive_rule(&view.state, false);
    let census = core.env.blocking(move || {
        // Held to the end of the look, whether anybody still waits for it or not.
        let _alone = alone;
        let waiting = if view.state.tiers.is_empty() { Plan::default() } else { backlog(&view.state, &rule) };
        (Census::of(&view.state, now), waiting)
    });
    let (census, waiting) = census.await?;
    let known = core.metrics.borrow_watched().last_log_index.unwrap_or(0);
    let newest = committed.flatten().map_or(0, |log| log.index()).max(known);

    let mut registry = Registry::default();
    let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("cairn_build", "The program", build);
    let mut whole = |name, help, value| {
        let gauge = Whole::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    };
    whole("cairn_raft_has_leader", "1 if a leader with a quorum answers this node", committed.is_some().into());
    let help = "Entries that this node knows of and has not applied";
    whole("cairn_raft_applied_lag_entries", help, newest.saturating_sub(applied));
    let help = "Segments of the cluster whose newest version has too few copies";
    whole("cairn_segments_under_replicated", help, census.under_replicated());
    let help = "Bytes that would have to be copied until no newest version lacks copies";
    whole("cairn_replication_queue_bytes", help, census.queue_bytes);
    let help = "1 if this node reaches the global tier; 0 if it does not, or has none";
    whole("cairn_global_reached", help, core.tier.reached().is_ok().into());
    let help = "Versions of the cluster that wait to be put into the global tier";
    whole("cairn_global_backlog_versions", help, waiting.waiting);
    whole("cairn_global_backlog_bytes", "Their bytes", waiting.bytes);
    if let Some(free) = core.space.seen().free {
        whole("cairn_store_free_bytes", "Free bytes of the disk under this node's folder", free);
    }
    let lag = Seconds::default();
    lag.set(Duration::from_millis(census.lag_ms).as_secs_f64());
    let age = Seconds::default();
    age.set(Duration::from_millis(waiting.oldest.map_or(0, |oldest| now.0.saturating_sub(oldest.0))).as_secs_f64());
    let help = "The age of the oldest version that waits to be put into the global tier; 0 if none does";
    registry.register("cairn_global_backlog_seconds", help, age);
    let help = "The age of the oldest newest version that lacks copies; 0 if none does";
    registry.register("cairn_replication_lag_seconds", help, lag);
    registry.register("cairn_segments", "Segments of the cluster, each in one state", segments(&census));
    core.counts.register(&mut registry);
    let help = "Bytes of copies that this process sent without copying them";
    registry.register("cairn_sendfile_bytes", help, ConstCounter::new(sendfile_bytes()));
    let help = "Bytes of copies that this process wrote past the page cache";
    registry.register("cairn_direct_write_bytes", help, ConstCounter::new(direct_bytes()));

    let mut text = String::new();
    encode(&mut text, &registry).map_err(io::Error::other)?;
    Ok(text)
}

fn segments(census: &Census) -> Family<[(&'static str, &'static str); 1], Whole> {
    let segments = Family::<[(&str, &str); 1], Whole>::default();
    let states = [
        ("empty", census.empty),
        ("replicated", census.replicated),
        ("under_replicated", census.thin),
        ("lost", census.lost),
    ];
    for (state, count) in states {
        segments.get_or_create(&[("state", state)]).set(count);
    }
    segments
}
