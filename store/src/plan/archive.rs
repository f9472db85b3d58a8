//! Which versions wait for the global tier, and which member takes each there.
//!
//! Every member looks by itself, at what it has applied, and takes what falls to it. Two that see different states may both
//! take one: the second object is refused, and goes as any stray does.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use crate::archive::{Archive, Object, Policy};
use crate::id::{ClusterId, NodeId, SegmentId, TierId};
use crate::segment::{CopyState, Segment, Version, VersionRecord};
use crate::time::WallTime;

/// A member that reaches the tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Who.
    pub node: NodeId,
    /// Whether the leader hears it.
    pub up: bool,
    /// Whether it runs applications: those are busier.
    pub executor: bool,
}

/// What a plan goes by, beside the segments.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The cluster.
    pub cluster: ClusterId,
    /// The tier that it uses; none while nobody reaches one.
    pub tier: Option<TierId>,
    /// What holds of segments for which nobody has asked for anything.
    pub policy: Policy,
    /// Whose turn is asked for; none: only how much there is.
    pub me: Option<NodeId>,
    /// The most steps of a plan.
    pub most: usize,
    /// Versions about which something is being done here, or that failed a while ago.
    pub busy: BTreeSet<(SegmentId, Version)>,
}

/// A version that is to be put into the tier. Ordered by how long it has waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    /// When it was committed.
    pub created: WallTime,
    /// Its segment.
    pub segment: SegmentId,
    /// Its number.
    pub version: Version,
    /// In bytes.
    pub size: u64,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The turns of [`Rule::me`], those that have waited longest first.
    pub steps: Vec<Step>,
    /// How many versions wait, whoever takes them.
    pub waiting: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the one was committed that has waited longest.
    pub oldest: Option<WallTime>,
}

/// The plan for these members and segments, each with what it has in the tier.
pub fn plan<'a>(
    sites: &[Site],
    segments: impl IntoIterator<Item = (&'a Segment, Option<&'a Archive>)>,
    rule: &Rule,
) -> Plan {
    let sites: BTreeMap<NodeId, Site> = sites.iter().map(|site| (site.node, *site)).collect();
    // The one that has waited least is on top.
    let mut steps: BinaryHeap<Step> = BinaryHeap::new();
    let mut plan = Plan::default();
    for (segment, archive) in segments {
        for (version, record) in &segment.versions {
            if !waits(segment, *version, archive, rule) {
                continue;
            }
            plan.waiting += 1;
            plan.bytes = plan.bytes.saturating_add(record.size);
            plan.oldest = Some(plan.oldest.map_or(record.created, |oldest| oldest.min(record.created)));
            // What is there already needs no copy.
            let put =
                archive.and_then(|archive| archive.objects.get(version)).is_some_and(|object| is_put(object, rule));
            let mine = rule.me.is_some() && archivist(&sites, segment.id, record, put) == rule.me;
            if mine && !rule.busy.contains(&(segment.id, *version)) {
                let (created, size) = (record.created, record.size);
                steps.push(Step { created, segment: segment.id, version: *version, size });
                if steps.len() > rule.most {
                    steps.pop();
                }
            }
        }
    }
    Plan { steps: steps.into_sorted_vec(), ..plan }
}

/// Whether a version is to be put into the tier, and is not there.
pub fn waits(segment: &Segment, version: Version, archive: Option<&Archive>, rule: &Rule) -> bool {
    let object = archive.and_then(|archive| archive.objects.get(&version));
    let policy = archive.and_then(|archive| archive.policy).unwrap_or(rule.policy);
    // What was put there stays so, whatever the policy: published, and replaced if it is lost.
    let begun = object.is_some_and(|object| {
        object.cluster == rule.cluster && !(object.published && object.state == CopyState::Durable)
    });
    (begun || policy.wants(version, segment.head)) && !object.is_some_and(|object| is_whole(object, rule))
}

/// Whether an object is good, in the cluster's own name, where the cluster looks.
fn is_put(object: &Object, rule: &Rule) -> bool {
    let Object { tier, cluster, state, .. } = object;
    *state == CopyState::Durable && *cluster == rule.cluster && rule.tier.is_none_or(|expected| *tier == expected)
}

/// Whether an object is all that a version needs: good, in the cluster's own name, where the cluster looks.
fn is_whole(object: &Object, rule: &Rule) -> bool {
    object.published && is_put(object, rule)
}

/// Who puts a version into the tier: of those that hold a good copy and reach it, one that only stores, and of equals another
/// one for each segment. If no holder reaches it, or no copy is needed, any member that does: it brings one first.
fn archivist(
    sites: &BTreeMap<NodeId, Site>,
    segment: SegmentId,
    record: &VersionRecord,
    put: bool,
) -> Option<NodeId> {
    let [.., a, b, c, d, e, f, g, h] = segment.0.into_bytes();
    let tie = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    let drawn = |node: NodeId| (node.0 ^ tie).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let rank = |site: &&Site| (site.executor, drawn(site.node), site.node);
    let holders = record.durable().filter_map(|copy| sites.get(&copy.node)).filter(|site| site.up);
    let anybody = || sites.values().filter(|site| site.up && (put || record.durable().next().is_some()));
    holders.min_by_key(rank).or_else(|| anybody().min_by_key(rank)).map(|site| site.node)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use uuid::Uuid;

    use super::*;
    use crate::digest::Digest;
    use crate::id::{CopyId, RequestId};
    use crate::segment::{Copy, Epoch, Kind};
    use crate::time::LogTime;

    const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(1));
    const TIER: TierId = TierId(Uuid::from_u128(2));

    fn rule() -> Rule {
        let (policy, busy) = (Policy::Background, BTreeSet::new());
        Rule { cluster: CLUSTER, tier: Some(TIER), policy, me: None, most: 10, busy }
    }

    /// Versions 1 to `head`, of ten bytes each, on these nodes; the higher its number the later it was committed.
    fn segment(id: u128, head: u64, holders: &[u64]) -> Segment {
        let copy = |node: &u64| Copy {
            id: CopyId(Uuid::from_u128((*node).into())),
            node: NodeId(*node),
            state: CopyState::Durable,
        };
        let record = |version: u64| VersionRecord {
            size: 10,
            digest: Digest::of(b"x"),
            created: WallTime(100 * version),
            epoch: Epoch(1),
            owner: NodeId(1),
            request: RequestId(Uuid::nil()),
            wanted: 1,
            copies: holders.iter().map(copy).collect(),
            ended: Vec::new(),
            pinned: false,
        };
        Segment {
            id: SegmentId(Uuid::from_u128(id)),
            name: format!("s{id}").parse().unwrap(),
            kind: Kind::File,
            owner: Some(NodeId(1)),
            epoch: Epoch(1),
            head: Version(head),
            versions: (1..=head).map(|version| (Version(version), Arc::new(record(version)))).collect(),
            keep: 9,
            labels: BTreeMap::new(),
            registered: (RequestId(Uuid::nil()), LogTime(0), Epoch(1)),
            claimed: None,
            modified: WallTime(0),
            revision: 1,
        }
    }

    fn object() -> Object {
        let id = CopyId(Uuid::from_u128(9));
        Object { id, tier: TIER, cluster: CLUSTER, published: true, state: CopyState::Durable }
    }

    fn site(node: u64, executor: bool) -> Site {
        Site { node: NodeId(node), up: true, executor }
    }

    #[test]
    fn a_version_waits_until_a_good_object_of_the_clusters_own_is_published_where_it_looks() {
        let segment = segment(1, 2, &[1]);
        let archive = |policy, object: Option<Object>| Archive {
            policy,
            objects: object.map(|o| (Version(2), o)).into_iter().collect(),
            ..Archive::default()
        };
        let cases = [
            (None, None, true),
            (Some(Policy::Never), None, false),
            (Some(Policy::Never), Some(Object { published: false, ..object() }), true),
            (None, Some(object()), false),
            (None, Some(Object { published: false, ..object() }), true),
            (None, Some(Object { state: CopyState::Corrupt, ..object() }), true),
            (Some(Policy::Never), Some(Object { state: CopyState::Missing, ..object() }), true),
            (None, Some(Object { tier: TierId(Uuid::nil()), ..object() }), true),
            (None, Some(Object { cluster: ClusterId(Uuid::nil()), ..object() }), true),
            (Some(Policy::Never), Some(Object { cluster: ClusterId(Uuid::nil()), ..object() }), false),
        ];
        for (policy, object, expected) in cases {
            let archive = archive(policy, object);
            assert_eq!(waits(&segment, Version(2), Some(&archive), &rule()), expected, "{archive:?}");
        }
        assert!(!waits(&segment, Version(1), None, &rule()), "another one followed");
        let nowhere = Rule { tier: None, ..rule() };
        let elsewhere = archive(None, Some(Object { tier: TierId(Uuid::nil()), ..object() }));
        assert!(!waits(&segment, Version(2), Some(&elsewhere), &nowhere), "nobody knows of a better place");
    }

    #[test]
    fn one_member_takes_each_and_what_has_waited_longest_comes_first() {
        let always = Archive { policy: Some(Policy::Always), ..Archive::default() };
        let (first, second) = (segment(1, 3, &[1, 2, 4]), segment(2, 1, &[1, 2]));
        let segments = || [(&first, Some(&always)), (&second, None)];
        let sites = [site(1, true), site(2, true), site(3, false), site(4, false)];
        let of = |me: u64, rule: Rule| plan(&sites, segments(), &Rule { me: Some(NodeId(me)), ..rule });
        let numbers = |plan: &Plan| {
            plan.steps.iter().map(|step| (step.segment.0.as_u128(), step.version.0)).collect::<Vec<_>>()
        };
        // Whoever only stores, if it has a copy.
        assert_eq!(numbers(&of(4, rule())), [(1, 1), (1, 2), (1, 3)]);
        assert_eq!(numbers(&of(3, rule())), []);
        let both = [numbers(&of(1, rule())), numbers(&of(2, rule()))].concat();
        assert_eq!(both, [(2, 1)], "one of the two");
        assert_eq!(numbers(&of(4, Rule { most: 2, ..rule() })), [(1, 1), (1, 2)]);
        assert_eq!(numbers(&of(4, Rule { busy: [(first.id, Version(1))].into(), ..rule() })), [(1, 2), (1, 3)]);
        let nobodys = plan(&sites, segments(), &rule());
        assert_eq!(nobodys, Plan { steps: Vec::new(), waiting: 4, bytes: 40, oldest: Some(WallTime(100)) });
        // Another one takes over from a node that is down.
        let down = [Site { up: false, ..site(4, false) }, site(2, true)];
        let of = |me: u64| plan(&down, segments(), &Rule { me: Some(NodeId(me)), ..rule() });
        assert_eq!((numbers(&of(4)), of(2).steps.len()), (vec![], 4));
        // If no holder reaches it, somebody who does; of what nobody holds any more nothing can be done.
        let stranger = plan(&[site(3, false)], segments(), &Rule { me: Some(NodeId(3)), ..rule() });
        assert_eq!(numbers(&stranger), [(1, 1), (2, 1), (1, 2), (1, 3)]);
        let lost = segment(3, 1, &[]);
        let of_lost = |archive| plan(&sites, [(&lost, archive)], &Rule { me: Some(NodeId(3)), ..rule() }).steps.len();
        assert_eq!(of_lost(None), 0);
        let put = Object { published: false, ..object() };
        let begun = Archive { objects: [(Version(1), put)].into(), ..Archive::default() };
        let turns = [3, 4]
            .map(|me| plan(&sites, [(&lost, Some(&begun))], &Rule { me: Some(NodeId(me)), ..rule() }).steps.len());
        assert_eq!(turns.iter().sum::<usize>(), 1, "but to say that it is there");
    }
}
