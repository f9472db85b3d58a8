//! What commands print: the stable JSON, and a table for people.
//!
//! Every key is always there, in this order; what is unknown is `null`.

mod cluster;
mod global;
mod member;
mod news;
mod recovery;
mod segment;
mod transfer;

use std::time::Duration;

use cairn_client::api;
use cairn_store::node::NodeName;
use cairn_store::segment::CopyState;
use cairn_store::time::WallTime;
use indicatif::HumanBytes;
use serde::Serialize;

pub(crate) use cluster::{Health, Node, Nodes, Peers, Repairs, Status};
pub(crate) use global::GlobalStatus;
pub(crate) use member::{Check, Drain, ONE_VOTER, Removal, left_on};
pub(crate) use news::{Followed, News};
pub(crate) use recovery::{Backup, Recovery, Restored};
pub(crate) use segment::{Claimed, Detail, History, Pinned, Released, Removed, Renewed, Segments};
pub(crate) use transfer::{Loaded, Saved};

/// A copy on a node.
#[derive(Debug, Serialize)]
pub(crate) struct Replica<'a> {
    node: &'a NodeName,
    state: CopyState,
}

fn replicas(list: &[api::Replica]) -> Vec<Replica<'_>> {
    list.iter().map(|r| Replica { node: &r.node, state: r.state }).collect()
}

fn replicas_text(list: &[Replica<'_>]) -> String {
    let each: Vec<String> = list.iter().map(|r| format!("{} ({})", r.node, r.state)).collect();
    if each.is_empty() { "-".into() } else { each.join(", ") }
}

/// RFC 3339, UTC, always with milliseconds, so that times sort as texts; none for what no calendar has.
fn time(at: WallTime) -> Option<String> {
    let millis = i64::try_from(at.0).ok()?;
    Some(format!("{:.3}", jiff::Timestamp::from_millisecond(millis).ok()?))
}

/// The same, of now.
pub(crate) fn now() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds in words.
fn span(millis: u64) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_millis(millis))
}

fn bytes(count: u64) -> String {
    HumanBytes(count).to_string()
}

/// So many of them: `1 copy`, `2 copies`.
fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".into(), |v| v.to_string())
}

fn yes_or(value: bool) -> String {
    if value { "yes" } else { "-" }.into()
}

#[cfg(test)]
mod tests;
