//! What the commands about segments print.

use std::collections::BTreeMap;
use std::time::Duration;

use cairn_client::api;
use cairn_store::id::SegmentId;
use cairn_store::name::Name;
use cairn_store::node::NodeName;
use cairn_store::segment::{CopyState, Epoch, Kind, Version};
use serde::Serialize;

use super::{Replica, bytes, millis, or_dash, replicas, replicas_text, span, time, yes_or};
use crate::output::{View, facts, lines_of, table};

#[derive(Debug, Serialize)]
struct Summary<'a> {
    name: &'a Name,
    kind: Kind,
    owner: Option<&'a NodeName>,
    epoch: Epoch,
    head: Option<Version>,
    size: Option<u64>,
    digest: Option<String>,
    modified: Option<String>,
    under_replicated: bool,
}

impl<'a> Summary<'a> {
    fn new(summary: &'a api::SegmentSummary) -> Self {
        Self {
            name: &summary.name,
            kind: summary.kind,
            owner: summary.owner.as_ref(),
            epoch: summary.epoch,
            head: summary.head,
            size: summary.size,
            digest: summary.digest.map(|d| d.to_string()),
            modified: time(summary.modified),
            under_replicated: summary.under_replicated,
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Segments<'a> {
    segments: Vec<Summary<'a>>,
}

impl<'a> Segments<'a> {
    pub(crate) fn new(segments: &'a [api::SegmentSummary]) -> Self {
        Self { segments: segments.iter().map(Summary::new).collect() }
    }
}

impl View for Segments<'_> {
    fn table(&self) -> String {
        let rows = self.segments.iter().map(|s| {
            [
                s.name.to_string(),
                or_dash(s.owner),
                s.epoch.to_string(),
                or_dash(s.head),
                or_dash(s.size.map(bytes)),
                or_dash(s.modified.as_ref()),
                yes_or(s.under_replicated),
            ]
        });
        table(["NAME", "OWNER", "EPOCH", "HEAD", "SIZE", "MODIFIED", "UNDER-REPLICATED"], rows)
    }

    fn lines(&self) -> serde_json::Result<Vec<String>> {
        lines_of(&self.segments)
    }
}

#[derive(Debug, Serialize)]
struct Lease<'a> {
    owner: &'a NodeName,
    remaining_ms: u64,
}

#[derive(Debug, Serialize)]
struct VersionView<'a> {
    version: Version,
    size: u64,
    digest: String,
    created: Option<String>,
    pinned: bool,
    holders: Vec<Replica<'a>>,
    global: Option<Object<'a>>,
}

#[derive(Debug, Serialize)]
struct Object<'a> {
    key: &'a str,
    state: CopyState,
    published: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct Detail<'a> {
    name: &'a Name,
    segment: SegmentId,
    kind: Kind,
    owner: Option<&'a NodeName>,
    epoch: Epoch,
    lease: Option<Lease<'a>>,
    head: Option<Version>,
    versions: Vec<VersionView<'a>>,
    holders: Vec<Replica<'a>>,
    replicas_wanted: Option<u8>,
    under_replicated: bool,
    waiting_for: Option<&'a str>,
    labels: &'a BTreeMap<String, String>,
    archive: Option<String>,
    revision: u64,
}

impl<'a> Detail<'a> {
    pub(crate) fn new(detail: &'a api::SegmentDetail) -> Self {
        let summary = &detail.summary;
        let head = detail.versions.iter().find(|v| Some(v.version) == summary.head);
        let version = |v: &'a api::VersionDetail| VersionView {
            version: v.version,
            size: v.size,
            digest: v.digest.to_string(),
            created: time(v.created),
            pinned: v.pinned,
            holders: replicas(&v.holders),
            global: v.object.as_ref().map(|o| Object { key: &o.key, state: o.state, published: o.published }),
        };
        Self {
            name: &summary.name,
            segment: detail.segment,
            kind: summary.kind,
            owner: summary.owner.as_ref(),
            epoch: summary.epoch,
            lease: summary
                .owner
                .as_ref()
                .zip(detail.lease)
                .map(|(owner, left)| Lease { owner, remaining_ms: millis(left) }),
            head: summary.head,
            versions: detail.versions.iter().map(version).collect(),
            holders: head.map(|v| replicas(&v.holders)).unwrap_or_default(),
            replicas_wanted: detail.replicas_wanted,
            under_replicated: summary.under_replicated,
            waiting_for: detail.waiting_for.as_deref(),
            labels: &detail.labels,
            archive: detail.archive.map(|policy| policy.to_string()),
            revision: detail.revision,
        }
    }

    fn versions_table(&self) -> String {
        let rows = self.versions.iter().rev().map(|v| {
            let (size, created) = (bytes(v.size), or_dash(v.created.as_ref()));
            let global = v.global.as_ref().map(|object| match object.published {
                true => object.state.to_string(),
                false => format!("{}, unpublished", object.state),
            });
            let (digest, pinned, holders) = (v.digest.clone(), yes_or(v.pinned), replicas_text(&v.holders));
            [v.version.to_string(), size, created, digest, pinned, holders, or_dash(global)]
        });
        table(["VERSION", "SIZE", "CREATED", "DIGEST", "PINNED", "HOLDERS", "GLOBAL"], rows)
    }
}

impl View for Detail<'_> {
    fn table(&self) -> String {
        let labels: Vec<String> = self.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let under = if self.under_replicated { self.waiting_for.unwrap_or("yes") } else { "-" };
        let above = facts([
            ("name", self.name.to_string()),
            ("segment", self.segment.to_string()),
            ("owner", or_dash(self.owner)),
            ("epoch", self.epoch.to_string()),
            (
                "lease",
                self.lease.as_ref().map_or_else(|| "-".into(), |lease| format!("for {}", span(lease.remaining_ms))),
            ),
            ("head", or_dash(self.head)),
            ("replicas wanted", or_dash(self.replicas_wanted)),
            ("under-replicated", under.into()),
            ("archive", or_dash(self.archive.as_ref())),
            ("labels", if labels.is_empty() { "-".into() } else { labels.join(", ") }),
            ("revision", self.revision.to_string()),
        ]);
        format!("{above}\n\n{}", self.versions_table())
    }
}

/// The same as JSON; as a table or as lines, only the versions.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct History<'a>(Detail<'a>);

impl<'a> History<'a> {
    pub(crate) fn new(detail: &'a api::SegmentDetail) -> Self {
        Self(Detail::new(detail))
    }
}

impl View for History<'_> {
    fn table(&self) -> String {
        self.0.versions_table()
    }

    fn lines(&self) -> serde_json::Result<Vec<String>> {
        lines_of(&self.0.versions)
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Removed<'a> {
    pub(crate) name: &'a Name,
    pub(crate) version: Option<Version>,
    pub(crate) removed: bool,
}

impl View for Removed<'_> {
    fn table(&self) -> String {
        let what = self.version.map_or_else(|| self.name.to_string(), |v| format!("version {v} of {}", self.name));
        if self.removed { format!("removed {what}") } else { format!("would remove {what}") }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Pinned<'a> {
    pub(crate) name: &'a Name,
    /// None: every version.
    pub(crate) version: Option<Version>,
    pub(crate) pinned: bool,
}

impl View for Pinned<'_> {
    fn table(&self) -> String {
        let what = self.version.map_or_else(|| "no version".to_owned(), |v| format!("version {v}"));
        let not = if self.pinned || self.version.is_none() { "" } else { " not" };
        format!("{what} of {} is{not} pinned", self.name)
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Claimed<'a> {
    name: &'a Name,
    owner: &'a NodeName,
    epoch: Epoch,
    head: Option<Version>,
    lease_ms: Option<u64>,
}

impl<'a> Claimed<'a> {
    pub(crate) fn new(claimed: &'a api::Claimed, lease: Option<Duration>) -> Self {
        let api::Claimed { name, owner, epoch, head } = claimed;
        Self { name, owner, epoch: *epoch, head: *head, lease_ms: lease.map(millis) }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Renewed<'a> {
    name: &'a Name,
    epoch: Epoch,
    lease_ms: u64,
}

impl<'a> Renewed<'a> {
    pub(crate) fn new(name: &'a Name, epoch: Epoch, span: Duration) -> Self {
        Self { name, epoch, lease_ms: millis(span) }
    }
}

impl View for Renewed<'_> {
    fn table(&self) -> String {
        let span = span(self.lease_ms);
        format!("the lease of {} in epoch {} lasts {span} from when it was asked", self.name, self.epoch)
    }
}

impl View for Claimed<'_> {
    fn table(&self) -> String {
        format!(
            "{} owns {} in epoch {}; the newest version is {}",
            self.owner,
            self.name,
            self.epoch,
            or_dash(self.head)
        )
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Released<'a> {
    pub(crate) name: &'a Name,
    pub(crate) owner: Option<&'a NodeName>,
    pub(crate) epoch: Epoch,
}

impl View for Released<'_> {
    fn table(&self) -> String {
        format!("released {} of epoch {}: nobody owns it now", self.name, self.epoch)
    }
}
