//! What lies on the disks, beside what the cluster says.

use std::collections::{BTreeMap, BTreeSet};

use cairn_client::api::{NodeInfo, SegmentDetail};
use cairn_sim::expect::Expected;
use cairn_sim::invariants::{deleted, durable};
use cairn_store::digest::Digest;
use cairn_store::disk::{FileDisk, Found, Toc};
use cairn_store::id::{CopyId, NodeId, RequestId, SegmentId};
use cairn_store::name::Name;
use cairn_store::node::NodeName;
use cairn_store::segment::{Copy, CopyState, Version, VersionRecord};
use cairn_store::time::WallTime;
use uuid::Uuid;

use super::TRY;
use crate::site::Site;

/// How often a name is looked at of which something is wrong.
const LOOKS: u32 = 4;

/// The copies on every node's disk.
type Lying = BTreeMap<NodeName, Vec<Toc>>;

fn lying(site: &Site) -> anyhow::Result<Lying> {
    let mut all = Lying::new();
    for host in &site.hosts {
        let tocs = all.entry(host.name.clone()).or_default();
        FileDisk::unchecked(&host.dir).survey(&mut |found| {
            if let Found::Copy(toc) = found {
                tocs.push(toc);
            }
            Ok(())
        })?;
    }
    Ok(all)
}

/// D: each acknowledged version has as many durable copies as was asked for. Tells how many were compared.
pub(super) fn judge(
    site: &Site,
    nodes: &[NodeInfo],
    shown: &BTreeMap<Name, (Expected, Option<SegmentDetail>)>,
) -> anyhow::Result<(u64, Vec<String>)> {
    let all = lying(site)?;
    let ids: BTreeMap<&NodeName, NodeId> = nodes.iter().map(|node| (&node.name, node.id)).collect();
    let (mut compared, mut wrong) = (0, Vec::new());
    for (name, (expected, detail)) in shown {
        let Some(detail) = detail.as_ref().filter(|detail| Some(detail.segment) == expected.segment) else {
            continue;
        };
        let (count, mut found) = compare(site, &all, &ids, name, expected, detail);
        compared += count;
        // A repair may have moved a copy between the look at the cluster and the one at the disks: what is wrong stays wrong.
        for _ in 1..LOOKS {
            if found.is_empty() {
                break;
            }
            let Ok(now) = site.wait(site.client(TRY).show(name)) else { break };
            found = compare(site, &lying(site)?, &ids, name, expected, &now).1;
        }
        wrong.extend(found);
    }
    Ok((compared, wrong))
}

/// How many copies of a name's versions were compared, and what is wrong with them.
fn compare(
    site: &Site,
    all: &Lying,
    ids: &BTreeMap<&NodeName, NodeId>,
    name: &Name,
    expected: &Expected,
    detail: &SegmentDetail,
) -> (u64, Vec<String>) {
    let (mut compared, mut wrong) = (0, Vec::new());
    for found in &detail.versions {
        let Some(acknowledged) = expected.versions.get(&found.version) else { continue };
        let durable = found.holders.iter().filter(|holder| holder.state == CopyState::Durable);
        let (mut copies, mut digests) = (Vec::new(), BTreeMap::new());
        for holder in durable {
            let Some(node) = ids.get(&holder.node).copied() else { continue };
            // Several copies of one version can lie on a node, of which the cluster counts one: a good one will do.
            let (id, digest) = copy_of(site, all, &holder.node, detail.segment, found.version, found.digest);
            copies.push(Copy { id, node, state: CopyState::Durable });
            digests.insert(id, digest);
        }
        compared += copies.len() as u64;
        let record = VersionRecord {
            size: found.size,
            digest: found.digest,
            created: WallTime(0),
            epoch: detail.summary.epoch,
            owner: acknowledged.owner.as_ref().and_then(|owner| ids.get(owner)).copied().unwrap_or(NodeId(0)),
            request: RequestId(Uuid::nil()),
            wanted: acknowledged.needed,
            copies,
            ended: Vec::new(),
            pinned: found.pinned,
        };
        let on_disk = |copy: &Copy| digests.get(&copy.id).copied().flatten();
        wrong.extend(durable::violations_since(name, found.version, &record, acknowledged.needed, on_disk));
    }
    (compared, wrong)
}

/// A node's copy of a version, and what its bytes are.
fn copy_of(
    site: &Site,
    all: &Lying,
    node: &NodeName,
    segment: SegmentId,
    version: Version,
    digest: Digest,
) -> (CopyId, Option<Digest>) {
    let mut found = (CopyId(Uuid::now_v7()), None);
    let Some(host) = site.hosts.iter().find(|host| host.name == *node) else { return found };
    for toc in all.get(node).into_iter().flatten().filter(|toc| toc.segment == segment && toc.version == version) {
        let seg = FileDisk::unchecked(&host.dir).toc(toc.copy).with_extension("seg");
        let read = std::fs::read(seg).ok().map(|bytes| Digest::of(&bytes));
        if read == Some(digest) {
            return (toc.copy, read);
        }
        found = (toc.copy, read);
    }
    found
}

/// E: copies on disks that nobody refers to any more nor ever will: of segments and versions that are gone.
pub(super) fn leftovers(site: &Site) -> anyhow::Result<Vec<String>> {
    let client = site.client(TRY);
    let listed = site.wait(client.list_all("", None))?;
    let mut wanted: BTreeMap<SegmentId, (Version, BTreeSet<Version>)> = BTreeMap::new();
    for summary in listed {
        // What goes meanwhile is looked at the next time.
        let Ok(detail) = site.wait(client.show(&summary.name)) else { continue };
        let versions = detail.versions.iter().map(|found| found.version).collect();
        wanted.insert(detail.segment, (detail.summary.head.unwrap_or_default(), versions));
    }
    let mut wrong = Vec::new();
    for (node, tocs) in lying(site)? {
        let lying: BTreeSet<CopyId> = tocs.iter().map(|toc| toc.copy).collect();
        let counts = |toc: &&Toc| {
            let known = wanted.get(&toc.segment);
            // What is newer than the head may still be committed.
            known.is_some_and(|(head, versions)| toc.version > *head || versions.contains(&toc.version))
        };
        let counted: BTreeSet<CopyId> = tocs.iter().filter(counts).map(|toc| toc.copy).collect();
        wrong.extend(deleted::unreferenced(&node, &counted, &lying));
    }
    Ok(wrong)
}
