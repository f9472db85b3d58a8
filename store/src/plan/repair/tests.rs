use std::sync::Arc;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::digest::Digest;
use crate::id::RequestId;
use crate::segment::{Epoch, Kind};
use crate::time::{LogTime, WallTime};

fn site(node: u64, zone: &str) -> Site {
    let zone = zone.into();
    let candidate = Candidate { node: NodeId(node), zone, up: true, draining: false, bytes: 0, capacity: 1000 };
    Site { candidate, gone: false, tier: None }
}

/// Five nodes, each in a zone of its own.
fn sites() -> Vec<Site> {
    (1..=5).map(|node| site(node, &format!("z{node}"))).collect()
}

fn copy(node: u64) -> Copy {
    Copy { id: CopyId(Uuid::from_u128(100 + u128::from(node))), node: NodeId(node), state: CopyState::Durable }
}

/// One version with these copies, owned by node 1.
fn segment(number: u128, wanted: u8, copies: Vec<Copy>) -> Segment {
    let request = RequestId(Uuid::nil());
    let record = VersionRecord {
        size: 10,
        digest: Digest::of(b""),
        created: WallTime(0),
        epoch: Epoch(1),
        owner: NodeId(1),
        request,
        wanted,
        copies,
        ended: Vec::new(),
        pinned: false,
    };
    Segment {
        id: SegmentId(Uuid::from_u128(number)),
        name: format!("job-{number}").parse().unwrap(),
        kind: Kind::File,
        owner: Some(NodeId(1)),
        epoch: Epoch(1),
        head: Version(1),
        versions: BTreeMap::from([(Version(1), Arc::new(record))]),
        keep: 1,
        labels: BTreeMap::new(),
        registered: (request, LogTime(0), Epoch(1)),
        claimed: None,
        modified: WallTime(0),
        revision: 1,
    }
}

fn rule() -> Rule {
    Rule { most: 10, ..Rule::default() }
}

fn made_on(plan: &Plan) -> Vec<u64> {
    let to = |step: &Step| match step {
        Step::Make { to, .. } => Some(to.0),
        Step::Retire { .. } => None,
    };
    plan.steps.iter().filter_map(to).collect()
}

fn retired_from(plan: &Plan) -> Vec<u64> {
    let from = |step: &Step| match step {
        Step::Make { .. } => None,
        Step::Retire { node, .. } => Some(node.0),
    };
    plan.steps.iter().filter_map(from).collect()
}

#[test]
fn what_nobody_holds_comes_from_the_tier_to_who_reaches_it() {
    let tier = TierId(Uuid::from_u128(1));
    let object = |state| {
        let (id, cluster) = (CopyId(Uuid::from_u128(7)), crate::id::ClusterId(Uuid::from_u128(2)));
        crate::archive::Object { id, tier, cluster, published: true, state }
    };
    let of = |version: Version, state| {
        let archive = Archive { objects: [(version, object(state))].into(), ..Archive::default() };
        Rule { archives: [(SegmentId(Uuid::from_u128(1)), Arc::new(archive))].into_iter().collect(), ..rule() }
    };
    let (lost, held) = (segment(1, 1, vec![]), segment(1, 1, vec![copy(2)]));
    let mut sites = sites();
    assert_eq!(
        made_on(&plan(&sites, [&lost], &of(Version(1), CopyState::Durable))),
        Vec::<u64>::new(),
        "nobody reaches it"
    );
    sites[3].tier = Some(tier);
    assert_eq!(made_on(&plan(&sites, [&lost], &of(Version(1), CopyState::Durable))), [4]);
    // One that a node holds goes anywhere.
    let anywhere = made_on(&plan(&sites, [&held], &of(Version(1), CopyState::Durable)));
    assert_eq!(anywhere, made_on(&plan(&sites, [&held], &rule())));
    for rule in [of(Version(2), CopyState::Durable), of(Version(1), CopyState::Corrupt)] {
        assert_eq!(plan(&sites, [&lost], &rule).stuck[0].why, Why::NoSource);
    }
    sites[3].tier = Some(TierId(Uuid::nil()));
    assert_eq!(plan(&sites, [&lost], &of(Version(1), CopyState::Durable)).stuck[0].why, Why::NoSource);
}

#[test]
fn a_whole_version_needs_nothing() {
    let whole = segment(1, 2, vec![copy(1), copy(2), copy(3)]);
    assert_eq!(plan(&sites(), [&whole], &rule()), Plan::default());
}

#[test]
fn a_node_that_is_down_for_a_moment_costs_nothing() {
    let mut sites = sites();
    let whole = segment(1, 2, vec![copy(1), copy(2), copy(3)]);
    sites[2].candidate.up = false;
    assert_eq!(plan(&sites, [&whole], &rule()), Plan::default());
    sites[2].gone = true;
    let plan = plan(&sites, [&whole], &rule());
    assert!(matches!(made_on(&plan)[..], [4 | 5]), "{plan:?}");
    assert_eq!((plan.lacking, plan.bytes), (1, 10));
}

#[test]
fn a_node_that_lost_its_copy_takes_the_new_one() {
    let lost = Copy { state: CopyState::Corrupt, ..copy(3) };
    let poor = segment(1, 2, vec![copy(1), copy(2), lost]);
    assert_eq!(made_on(&plan(&sites(), [&poor], &rule())), [3]);
    let failed = BTreeSet::from([(poor.id, Version(1), NodeId(3))]);
    let elsewhere = plan(&sites(), [&poor], &Rule { failed, ..rule() });
    assert!(matches!(made_on(&elsewhere)[..], [4 | 5]), "{elsewhere:?}");
}

#[test]
fn the_poorest_come_first_and_only_so_many() {
    let mut sites = sites();
    (sites[2].gone, sites[2].candidate.up) = (true, false);
    let poor = segment(1, 2, vec![copy(1), copy(2), copy(3)]);
    let poorer = segment(2, 2, vec![copy(2), copy(3)]);
    let poorest_but_busy = segment(3, 4, vec![copy(2)]);
    let too_many = segment(4, 1, vec![copy(1), copy(2), copy(4)]);
    let busy = BTreeSet::from([(poorest_but_busy.id, Version(1))]);
    let all = [&too_many, &poor, &poorest_but_busy, &poorer];
    let found = plan(&sites, all, &Rule { busy: busy.clone(), ..rule() });
    let order: Vec<SegmentId> = found.steps.iter().map(|step| step.case().segment).collect();
    assert_eq!(order, [poorer.id, poor.id, too_many.id]);
    assert_eq!((found.lacking, found.bytes), (3, 10 + 20 + 40), "what is busy is counted");
    let first = plan(&sites, all, &Rule { busy, most: 1, ..rule() });
    assert_eq!(first.steps, found.steps[..1]);
}

#[test]
fn what_cannot_be_mended_is_told() {
    let mut sites = sites();
    for site in &mut sites[..2] {
        (site.gone, site.candidate.up) = (true, false);
    }
    let lonely = segment(1, 2, vec![copy(1), copy(2)]);
    let large = segment(2, 4, vec![copy(3), copy(4), copy(5)]);
    let told = plan(&sites, [&lonely, &large], &rule());
    let why: Vec<(SegmentId, Why)> = told.stuck.iter().map(|stuck| (stuck.of.segment, stuck.why)).collect();
    assert_eq!(why, [(lonely.id, Why::NoSource), (large.id, Why::NoTarget)]);
    assert!(told.steps.is_empty());
    assert_eq!((told.lacking, told.bytes), (2, 30 + 20));
    sites[2].candidate.capacity = 5;
    let small = segment(3, 2, vec![copy(4), copy(5)]);
    assert_eq!(plan(&sites, [&small], &rule()).stuck.len(), 1, "no room is left on node 3");
}

#[test]
fn what_is_on_its_way_to_a_node_takes_room_there() {
    let mut sites = sites();
    sites[3].candidate.capacity = 15;
    sites[4].candidate.capacity = 15;
    let all: Vec<Segment> = (1..=3).map(|number| segment(number, 3, vec![copy(1), copy(2), copy(3)])).collect();
    let mut nodes = made_on(&plan(&sites, &all, &rule()));
    nodes.sort_unstable();
    assert_eq!(nodes, [4, 5], "one each, and none is left for the third");
    let arriving = BTreeMap::from([(NodeId(4), 10)]);
    assert_eq!(made_on(&plan(&sites, &all[..1], &Rule { arriving, ..rule() })), [5]);
}

#[test]
fn what_is_not_needed_goes_only_once_all_that_is_wanted_stays() {
    let mut sites = sites();
    let lost = Copy { state: CopyState::Missing, ..copy(5) };
    let whole = segment(1, 2, vec![copy(1), copy(2), copy(3), lost]);
    assert_eq!(retired_from(&plan(&sites, [&whole], &rule())), [5]);
    // An emptied node's copy, once it was made elsewhere.
    sites[2].candidate.draining = true;
    let draining = segment(1, 2, vec![copy(1), copy(2), copy(3)]);
    assert!(matches!(made_on(&plan(&sites, [&draining], &rule()))[..], [4 | 5]));
    let moved = segment(1, 2, vec![copy(1), copy(2), copy(3), copy(4)]);
    assert_eq!(retired_from(&plan(&sites, [&moved], &rule())), [3]);
    // Nobody who is down now can be verified.
    sites[3].candidate.up = false;
    assert_eq!(plan(&sites, [&moved], &rule()), Plan::default());
}

#[test]
fn one_too_many_goes_from_the_crowded_zone_and_never_from_the_owner() {
    let mut sites = sites();
    let many = segment(1, 2, vec![copy(1), copy(2), copy(3), copy(4)]);
    sites[0].candidate.zone = "z3".into();
    assert_eq!(retired_from(&plan(&sites, [&many], &rule())), [3]);
    let failed = BTreeSet::from([(many.id, Version(1), NodeId(3))]);
    assert_eq!(plan(&sites, [&many], &Rule { failed, ..rule() }), Plan::default(), "not again at once");
    sites[0].candidate.zone = "z1".into();
    sites[1].candidate.bytes = 500;
    assert_eq!(retired_from(&plan(&sites, [&many], &rule())), [2], "the fullest");
}

/// A small cluster, and versions with any copies.
#[derive(Clone, Debug)]
struct World {
    sites: Vec<Site>,
    segments: Vec<Segment>,
}

fn worlds() -> impl Strategy<Value = World> {
    let site = (0..3u8, prop::bool::weighted(0.8), any::<bool>(), prop::bool::weighted(0.2), 0..40u64);
    let state =
        prop_oneof![6 => Just(CopyState::Durable), 1 => Just(CopyState::Corrupt), 1 => Just(CopyState::Missing)];
    let copies = prop::collection::btree_map(1..=7u64, state, 0..5);
    (prop::collection::vec(site, 7), prop::collection::vec((0..4u8, copies), 1..6)).prop_map(|(sites, versions)| {
        let sites = (1..).zip(sites).map(|(node, (zone, up, gone, draining, bytes))| {
            let mut made = self::site(node, &zone.to_string());
            (made.candidate.up, made.candidate.draining, made.gone) = (up, draining, gone && !up);
            made.candidate.bytes = bytes * 25;
            made
        });
        let made = |(number, (wanted, copies)): (u128, (u8, BTreeMap<u64, CopyState>))| {
            segment(number, wanted, copies.into_iter().map(|(node, state)| Copy { state, ..copy(node) }).collect())
        };
        World { sites: sites.collect(), segments: (1..).zip(versions).map(made).collect() }
    })
}

impl World {
    fn site(&self, node: NodeId) -> &Candidate {
        &self.sites.iter().find(|site| site.candidate.node == node).unwrap().candidate
    }

    fn record(&mut self, of: &Case) -> &mut VersionRecord {
        let segment = self.segments.iter_mut().find(|segment| segment.id == of.segment).unwrap();
        Arc::make_mut(segment.versions.get_mut(&of.version).unwrap())
    }

    /// Carries a step out, and looks whether it was a sensible one.
    fn obey(&mut self, step: &Step, round: u64) {
        let of = *step.case();
        match step {
            Step::Make { to, .. } => {
                let target = self.site(*to).clone();
                assert!(target.up && !target.draining && target.bytes + of.size <= target.capacity, "{target:?}");
                let record = self.record(&of);
                assert!(record.durable().all(|copy| copy.node != *to), "it has one");
                record.copies.retain(|copy| copy.node != *to);
                let id = CopyId(Uuid::from_u128(u128::from(1000 * round + to.0)));
                record.copies.push(Copy { id, node: *to, state: CopyState::Durable });
            }
            Step::Retire { copy, node, stay, .. } => {
                assert!(stay.iter().all(|(node, _)| self.site(*node).up && !self.site(*node).draining));
                let record = self.record(&of);
                let good = record.durable().filter(|c| c.id != *copy && stay.contains(&(c.node, c.id))).count();
                assert!(good >= record.copies_wanted(), "too few would stay");
                assert!(record.copies.iter().any(|c| c.id == *copy && c.node == *node));
                record.copies.retain(|c| c.id != *copy);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whoever_obeys_ends_with_all_that_is_possible_and_nothing_more(world in worlds(), most in 1..4usize) {
        let mut world = world;
        let rule = Rule { most, ..Rule::default() };
        for round in 1.. {
            let found = plan(&world.sites, &world.segments, &rule);
            prop_assert!(found.steps.len() <= most && found.stuck.len() <= most);
            if found.steps.is_empty() {
                prop_assert!((found.lacking == 0) == found.stuck.is_empty(), "{:?}", found);
                break;
            }
            prop_assert!(round < 200, "it never ends: {:?}", found);
            found.steps.iter().for_each(|step| world.obey(step, round));
        }
        for segment in &world.segments {
            for record in segment.versions.values() {
                let staying = record.durable().filter(|c| world.site(c.node).up && !world.site(c.node).draining);
                let staying = staying.count();
                let down = record.durable().any(|c| !world.site(c.node).up);
                prop_assert!(staying <= record.copies_wanted() || down, "{:?}", record.copies);
                let rest = record.copies.len() > staying && staying >= record.copies_wanted();
                prop_assert!(!rest || down, "something that is not needed stays: {:?}", record.copies);
            }
        }
    }
}
