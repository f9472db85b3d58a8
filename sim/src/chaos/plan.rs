//! What a seed will do to a cluster: clients' steps and faults, as data.

use std::time::Duration;

use cairn_node::core::Limits;
use cairn_node::node::RaftTimes;

use crate::rng::SplitMix;
use crate::world::Spec;

/// Clients at work.
const CLIENTS: usize = 6;
/// Steps of each client.
pub(super) const STEPS: usize = 98;
/// Faults of a seed: each kind once in a while.
const STRIKES: usize = 28;
/// Within which time faults begin: about as long as clients work.
const STORM: Duration = Duration::from_secs(36);
/// The longest that a client does nothing between two steps, in milliseconds.
const PAUSE_MS_MAX: u64 = 250;
/// Names that everybody works on; names with as many calls as a search for an order can bear; and names that hardly anybody
/// works on.
const HOT_NAMES: u64 = 3;
const WARM_NAMES: u64 = 7;
const COLD_NAMES: u64 = 40;

/// What will be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// To which cluster.
    pub spec: Spec,
    /// By each client, one after the other.
    pub clients: Vec<Vec<Step>>,
    /// What goes wrong meanwhile.
    pub strikes: Vec<Strike>,
}

/// One thing that a client does.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its number in the plan.
    pub id: usize,
    /// How long the client does nothing before.
    pub pause: Duration,
    /// What.
    pub act: Act,
    /// About which name.
    pub name: String,
    /// Decides the rest.
    pub luck: u64,
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// Saves.
    Save,
    /// Saves if nothing changed.
    SaveGuarded,
    /// Loads the newest version.
    Load,
    /// Loads and takes over.
    LoadAndClaim,
    /// Loads what the node knows.
    LoadStale,
    /// Loads some version.
    LoadVersion,
    /// Takes over.
    Claim,
    /// Gives up.
    Release,
    /// Takes a segment away.
    Remove,
    /// Takes a version away.
    RemoveVersion,
    /// Keeps a version.
    Pin,
    /// Ends that.
    Unpin,
    /// Asks for the changes from some revision on.
    Watch,
    /// Looks at everything.
    Look,
    /// Empties a node, or no longer.
    Drain,
    /// Proposes what must be refused.
    Probe,
    /// Sends what makes no sense.
    Garbage,
}

/// How often each is done, of a hundred.
const ACTS: [(Act, u64); 17] = [
    (Act::Save, 40),
    (Act::SaveGuarded, 8),
    (Act::Load, 12),
    (Act::LoadAndClaim, 7),
    (Act::LoadStale, 2),
    (Act::LoadVersion, 4),
    (Act::Claim, 6),
    (Act::Release, 3),
    (Act::Remove, 2),
    (Act::RemoveVersion, 2),
    (Act::Pin, 2),
    (Act::Unpin, 2),
    (Act::Watch, 2),
    (Act::Look, 2),
    (Act::Drain, 1),
    (Act::Probe, 4),
    (Act::Garbage, 1),
];

/// One fault.
#[derive(Clone, Debug)]
pub struct Strike {
    /// Its number in the plan.
    pub id: usize,
    /// When it begins.
    pub at: Duration,
    /// How long it lasts.
    pub span: Duration,
    /// What happens.
    pub fault: Fault,
    /// Decides the rest.
    pub luck: u64,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A machine's power goes, and comes again.
    Crash,
    /// The leader's does.
    CrashLeader,
    /// All machines' at once.
    CrashAll,
    /// The owner's, while it saves.
    CrashOwner,
    /// A machine's power goes in the middle of a sequence of writes.
    CrashInWrite,
    /// A minority without the leader is cut off.
    CutMinority,
    /// The leader is cut off with a minority, or alone.
    CutLeader,
    /// A machine sends and hears nothing, or the other way round.
    OneWay,
    /// Cut and mended, again and again.
    Flapping,
    /// Messages between two machines stop, and all come later.
    Held,
    /// Messages of a machine take long.
    SlowLink,
    /// Messages of a machine get lost.
    LossyLink,
    /// What was sent comes again, and late.
    Echo,
    /// A disk is slow.
    SlowDisk,
    /// A write or an fsync fails.
    DiskError,
    /// The log's fsync fails.
    LogError,
    /// A disk is full.
    DiskFull,
    /// A byte of a copy turns.
    Rot,
    /// A byte of a table turns.
    RotTable,
    /// Somebody deletes a copy.
    Deleted,
    /// Somebody sets a clock to another day.
    WallClock,
    /// A machine sleeps for hours and does not know it.
    Slept,
    /// A machine's disks are replaced by empty ones; it joins as a new node.
    Replaced,
    /// A machine never comes back.
    Lost,
    /// A new machine joins.
    Joins,
    /// A node is removed from the cluster; its machine comes back as a new one.
    Removed,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 26] = [
        Self::Crash,
        Self::CrashLeader,
        Self::CrashAll,
        Self::CrashOwner,
        Self::CrashInWrite,
        Self::CutMinority,
        Self::CutLeader,
        Self::OneWay,
        Self::Flapping,
        Self::Held,
        Self::SlowLink,
        Self::LossyLink,
        Self::Echo,
        Self::SlowDisk,
        Self::DiskError,
        Self::LogError,
        Self::DiskFull,
        Self::Rot,
        Self::RotTable,
        Self::Deleted,
        Self::WallClock,
        Self::Slept,
        Self::Replaced,
        Self::Lost,
        Self::Joins,
        Self::Removed,
    ];

    /// Whether a machine is gone for good by it: no more of these than the voters bear.
    fn is_for_good(self) -> bool {
        matches!(self, Self::Replaced | Self::Lost)
    }
}

impl Plan {
    /// The plan of this seed.
    pub fn of(seed: u64) -> Self {
        let rng = SplitMix::of(seed, "plan", 0);
        let spec = spec(&rng);
        let clients = (0..CLIENTS).map(|client| {
            let step = |number| step(client * STEPS + number, seed);
            (0..STEPS).map(step).collect()
        });
        let clients = clients.collect();
        let strikes = strikes(seed, &spec);
        Self { spec, clients, strikes }
    }

    /// How many steps and strikes there are, under numbers from 0 on: steps first.
    pub fn parts(&self) -> usize {
        self.clients.iter().map(Vec::len).sum::<usize>() + self.strikes.len()
    }

    /// Whether nothing was left out.
    pub fn is_whole(&self) -> bool {
        self.parts() == CLIENTS * STEPS + STRIKES
    }

    /// Leaves out all parts but these.
    pub fn keep(&mut self, kept: impl Fn(usize) -> bool) {
        self.clients.iter_mut().for_each(|steps| steps.retain(|step| kept(step.id)));
        self.strikes.retain(|strike| kept(strike.id));
    }
}

fn spec(rng: &SplitMix) -> Spec {
    let executors = 3 + rng.index(3);
    let storage = rng.index(3);
    let late = usize::from(rng.below(2) == 0);
    Spec {
        executors: executors + late,
        storage,
        late,
        zones: rng.one_of([0, 2, 3]),
        limits: Limits {
            reserve: 1 << 20,
            idle: Duration::from_secs(4),
            handshake: Duration::from_secs(2),
            repair_after: Duration::from_secs(6),
            scrub_period: Duration::from_secs(20),
            ..Limits::default()
        },
        raft: RaftTimes { snapshot_every: 60, log_kept: 20, ..RaftTimes::default() },
        disk_bytes: 64 << 20,
        step: Duration::from_millis(5),
        ..Spec::default()
    }
}

fn step(id: usize, seed: u64) -> Step {
    let rng = SplitMix::of(seed, "step", id as u64);
    let mut draw = rng.below(ACTS.iter().map(|(_, share)| share).sum());
    let act = ACTS.iter().find(|(_, share)| {
        let found = draw < *share;
        draw = draw.saturating_sub(*share);
        found
    });
    let name = match rng.below(100) {
        0..45 => format!("hot/{}", rng.below(HOT_NAMES)),
        45..75 => format!("warm/{}", rng.below(WARM_NAMES)),
        _ => format!("cold/{}", rng.below(COLD_NAMES)),
    };
    Step {
        id,
        pause: Duration::from_millis(rng.below(PAUSE_MS_MAX)),
        act: act.map_or(Act::Look, |(act, _)| *act),
        name,
        luck: rng.below(u64::MAX),
    }
}

fn strikes(seed: u64, spec: &Spec) -> Vec<Strike> {
    let steps = CLIENTS * STEPS;
    let voters = if spec.executors - spec.late + spec.storage >= 5 { 5 } else { 3 };
    let mut bearable = (voters - 1) / 2;
    let mut left = spec.late;
    let mut strikes = Vec::new();
    for number in 0..STRIKES {
        let rng = SplitMix::of(seed, "strike", number as u64);
        let mut fault = rng.one_of(Fault::ALL);
        if fault.is_for_good() {
            match bearable {
                // The last one that the voters bear is kept for crashes: without it nothing would go on for long.
                0 | 1 if rng.below(3) > 0 || bearable == 0 => fault = Fault::Crash,
                _ => bearable -= 1,
            }
        }
        if fault == Fault::Joins {
            match left {
                0 => fault = Fault::Echo,
                _ => left -= 1,
            }
        }
        let at = Duration::from_millis(rng.below(STORM.as_millis() as u64));
        let span = Duration::from_millis(match rng.below(4) {
            0 => rng.below(300),
            1 | 2 => 300 + rng.below(2_500),
            _ => 2_000 + rng.below(6_000),
        });
        strikes.push(Strike { id: steps + number, at, span, fault, luck: rng.below(u64::MAX) });
    }
    strikes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_as_large_as_it_has_to_be_and_parts_can_be_left_out() {
        assert_eq!(ACTS.iter().map(|(_, share)| share).sum::<u64>(), 100);
        let mut plan = Plan::of(7);
        assert!(plan.clients.iter().map(Vec::len).sum::<usize>() >= 500);
        assert!(plan.strikes.len() >= 20);
        assert!(plan.is_whole());
        let again = format!("{:?}", Plan::of(7));
        assert_eq!(format!("{plan:?}"), again);
        let last = plan.parts() - 1;
        plan.keep(|id| id == 3 || id == last);
        assert_eq!(plan.parts(), 2);
        assert!(!plan.is_whole());
    }

    #[test]
    fn every_fault_comes_and_no_more_machines_are_lost_than_the_voters_bear() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let plan = Plan::of(seed);
            let lost = plan.strikes.iter().filter(|strike| strike.fault.is_for_good()).count();
            assert!(lost <= 2, "seed {seed}");
            seen.extend(plan.strikes.iter().map(|strike| strike.fault));
        }
        assert_eq!(seen.len(), Fault::ALL.len());
    }
}
