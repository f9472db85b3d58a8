//! Segments, for people and programs.

use std::time::Duration;

use cairn_client::api::{
    Error, ListRequest, ObjectDetail, PAGE_MAX, Replica, SegmentDetail, SegmentSummary, VersionDetail,
};
use cairn_store::archive::Object;
use cairn_store::archive::key::{Part, Stem};
use cairn_store::id::NodeId;
use cairn_store::meta::State;
use cairn_store::name::Name;
use cairn_store::node::NodeName;
use cairn_store::segment::{CopyState, Segment, Version, VersionRecord};

use super::Service;
use super::answer::{no_such_name, no_such_node};

impl Service {
    pub(super) async fn list_segments(&self, request: ListRequest) -> Result<Vec<SegmentSummary>, Error> {
        let state = self.core.read(self.deadline(request.wait)).await?.state;
        let limit = request.limit.min(PAGE_MAX) as usize;
        let owner = match &request.owner {
            Some(name) => Some(state.node_named(name).ok_or_else(|| no_such_node(name))?.id),
            None => None,
        };
        let list = move || {
            let owned = |segment: &&Segment| owner.is_none() || segment.owner == owner;
            let segments = state.with_prefix(&request.prefix, request.after.as_ref());
            segments.filter(owned).take(limit).map(|segment| summary(&state, segment)).collect()
        };
        // A page of them all is short; those of one owner may be few among many.
        if owner.is_some() { self.blocking(list).await } else { Ok(list()) }
    }

    pub(super) async fn show_segment(&self, name: Name, wait: Duration) -> Result<SegmentDetail, Error> {
        let state = self.core.read(self.deadline(wait)).await?.state;
        let segment = state.by_name(&name).ok_or_else(|| no_such_name(&name))?;
        let head = segment.versions.get(&segment.head);
        let policy = state.archive(segment.id).and_then(|archive| archive.policy).unwrap_or(self.core.limits.archive);
        Ok(SegmentDetail {
            summary: summary(&state, segment),
            segment: segment.id,
            versions: segment
                .versions
                .iter()
                .map(|(version, record)| detail(&state, segment, *version, record))
                .collect(),
            replicas_wanted: head.map(|record| record.wanted),
            waiting_for: head.and_then(|record| waiting_for(&state, segment, record)),
            labels: segment.labels.clone(),
            lease: state.lease(segment.id).map(|lease| lease.remaining(state.time)),
            archive: (!state.tiers.is_empty() || state.archive(segment.id).is_some()).then_some(policy),
            revision: segment.revision,
        })
    }
}

pub(super) fn name_of(state: &State, node: NodeId) -> Option<NodeName> {
    state.members.get(&node).map(|m| m.profile.name.clone())
}

fn summary(state: &State, segment: &Segment) -> SegmentSummary {
    let head = segment.versions.get(&segment.head);
    SegmentSummary {
        name: segment.name.clone(),
        kind: segment.kind,
        owner: segment.owner.and_then(|id| name_of(state, id)),
        epoch: segment.epoch,
        head: head.map(|_| segment.head),
        size: head.map(|record| record.size),
        digest: head.map(|record| record.digest),
        modified: segment.modified,
        under_replicated: state.under_replicated(segment),
    }
}

fn detail(state: &State, segment: &Segment, version: Version, record: &VersionRecord) -> VersionDetail {
    let holder =
        |copy: &cairn_store::segment::Copy| Some(Replica { node: name_of(state, copy.node)?, state: copy.state });
    VersionDetail {
        version,
        size: record.size,
        digest: record.digest,
        created: record.created,
        pinned: record.pinned,
        holders: record.copies.iter().filter_map(holder).collect(),
        object: state.object_of(segment.id, version).map(|object| ObjectDetail {
            key: stem_of(segment, version, record, object).key(Part::Bytes).to_string(),
            state: object.state,
            published: object.published,
        }),
    }
}

fn stem_of(segment: &Segment, version: Version, record: &VersionRecord, object: &Object) -> Stem {
    Stem { cluster: object.cluster, segment: segment.id, version, digest: record.digest, object: object.id }
}

/// Why the newest version is under-replicated.
fn waiting_for(state: &State, segment: &Segment, record: &VersionRecord) -> Option<String> {
    let missing = state.missing_copies(segment, record);
    if missing == 0 {
        return None;
    }
    let mut reasons = Vec::new();
    for copy in &record.copies {
        let name = name_of(state, copy.node).map_or_else(|| copy.node.to_string(), |name| name.to_string());
        match (copy.state, state.members.get(&copy.node)) {
            (CopyState::Durable, Some(member)) if !member.up => reasons.push(format!("{name} is down")),
            (CopyState::Durable, Some(member)) if member.draining => reasons.push(format!("{name} is draining")),
            (CopyState::Durable, Some(_)) => {}
            (state, _) => reasons.push(format!("the copy on {name} is {state}")),
        }
    }
    let why = if reasons.is_empty() { "fewer copies were made".to_owned() } else { reasons.join(", ") };
    Some(format!("{missing} more durable copies: {why}"))
}
