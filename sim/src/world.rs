//! The world: machines on a network, stepped in virtual time, with a scenario as the only client.
//!
//! - `machine`: what stays of a machine when it crashes, and what runs on it now;
//! - `boot`: what a machine does when it is switched on: join once, then the real `Node::start`;
//! - `control`: what a scenario asks of the world between two steps: crashes, restarts, partitions;
//! - `oracle`: what must hold after every step.

mod boot;
mod control;
mod machine;
mod oracle;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use cairn_node::core::Limits;
use cairn_node::node::RaftTimes;
use cairn_store::node::Role;
use futures::future::LocalBoxFuture;
use turmoil::Sim;

use crate::cluster::Cluster;
use crate::objects::Store;
use crate::rng::SplitMix;
use crate::trace::Trace;
pub use control::{Action, Control};
pub use machine::Machine;
pub use oracle::Oracle;

/// What a cluster consists of.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Machines `n1`, `n2`, …; `n1` founds the cluster.
    pub executors: usize,
    /// Machines `s1`, `s2`, ….
    pub storage: usize,
    /// So many of the executors, the last ones, are off at the beginning and have not joined.
    pub late: usize,
    /// How many zones the machines lie in; 0 for one each.
    pub zones: usize,
    /// Which machines have a global tier.
    pub tiered: Tiered,
    /// Bounds and times of the nodes.
    pub limits: Limits,
    /// Raft's times.
    pub raft: RaftTimes,
    /// What a disk takes, in bytes.
    pub disk_bytes: u64,
    /// The slowest message, in milliseconds.
    pub latency_ms_max: u64,
    /// How many times longer than usual everything takes and everybody is patient. A run of hours needs a slow pace.
    pub pace: u32,
    /// The world's step, at the usual pace: messages arrive at its beginning.
    pub step: Duration,
}

/// Which machines have a global tier: all of them the same one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tiered {
    /// None of them.
    #[default]
    Nobody,
    /// All of them.
    Everybody,
    /// All but so many at most, as the seed has it.
    AllBut(usize),
    /// Those of these names.
    Only(&'static [&'static str]),
}

impl Spec {
    /// A cluster that soon makes copies again that lie on a node that is down, and reads all of them through.
    pub fn repairing() -> Self {
        let seconds = Duration::from_secs;
        let limits = Limits { repair_after: seconds(8), scrub_period: seconds(15), ..Limits::default() };
        Self { limits, ..Self::default() }
    }

    /// The same, without a scrub: copies are read through only where they count.
    pub fn unscrubbed(self) -> Self {
        Self { limits: Limits { scrub_period: Limits::default().scrub_period, ..self.limits }, ..self }
    }

    /// The same with a global tier, which is tidied, and gets backups, all the time.
    pub fn with_tier(self, tiered: Tiered) -> Self {
        let seconds = Duration::from_secs;
        let limits = Limits { sweep_every: seconds(1), backup_every: seconds(10), backups: 2, ..self.limits };
        Self { limits, tiered, ..self }
    }

    /// A cluster whose every time is 200 times as long: hours pass in as many steps as seconds otherwise.
    pub fn slow() -> Self {
        const PACE: u32 = 200;
        let (limits, raft) = (Limits::default(), RaftTimes::default());
        let limits = Limits {
            handshake: limits.handshake * PACE * 20,
            idle: limits.idle * PACE * 4,
            down_after: limits.down_after * PACE * 20,
            tick: limits.tick * PACE / 20,
            work: limits.work * PACE,
            rate_min: 1,
            reserve: 1 << 20,
            ..limits
        };
        let raft = RaftTimes {
            heartbeat: raft.heartbeat * PACE,
            election_min: raft.election_min * PACE,
            election_max: raft.election_max * PACE,
            ..raft
        };
        Self { limits, raft, pace: PACE, ..Self::default() }
    }
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            executors: 3,
            storage: 0,
            late: 0,
            zones: 0,
            tiered: Tiered::Nobody,
            limits: Limits { reserve: 1 << 20, ..Limits::default() },
            // Snapshots often, so that a short run meets them.
            raft: RaftTimes { snapshot_every: 40, log_kept: 10, ..RaftTimes::default() },
            disk_bytes: 256 << 20,
            latency_ms_max: 20,
            pace: 1,
            step: Duration::from_millis(1),
        }
    }
}

/// What a scenario does with a cluster.
pub type Scenario = fn(Cluster) -> LocalBoxFuture<'static, anyhow::Result<()>>;

/// The longest that a scenario may take, in virtual time, at the usual pace.
const SPAN_MAX: Duration = Duration::from_secs(900);
/// Of outgoing connections. turmoil keeps the port of one to a machine that is gone, so a long life needs many.
const PORTS: RangeInclusive<u16> = 10_000..=u16::MAX;
/// Segments of a connection on their way at once. A payload's block is one of them.
const TCP_SEGMENTS: usize = 1024;

/// Runs a scenario. Once in a process.
///
/// # Errors
/// What went wrong: the scenario's own error, a node that stopped, or what the oracle saw.
pub fn run<F>(spec: Spec, seed: u64, trace: &Trace, scenario: impl FnOnce(Cluster) -> F) -> anyhow::Result<Duration>
where
    F: Future<Output = anyhow::Result<()>> + 'static,
{
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .epoch(UNIX_EPOCH)
        .simulation_duration(SPAN_MAX * spec.pace)
        .tick_duration(spec.step * spec.pace)
        .min_message_latency(Duration::from_micros(100))
        .max_message_latency(Duration::from_millis(spec.latency_ms_max))
        .tcp_capacity(TCP_SEGMENTS)
        .ephemeral_ports(PORTS)
        .enable_random_order()
        .build();
    let spec = Rc::new(spec);
    let (machines, objects) = (machines(&spec, seed), Store::new(seed));
    let seeds: Rc<[String]> = machines.iter().map(|machine| machine.rpc()).collect();
    for machine in &machines {
        let (here, spec, seeds, trace) = (machine.clone(), spec.clone(), seeds.clone(), trace.clone());
        let objects = objects.clone();
        sim.host(machine.name.as_str(), move || {
            let (machine, spec, seeds, trace) = (here.clone(), spec.clone(), seeds.clone(), trace.clone());
            let objects = objects.clone();
            async move {
                trace.here(&machine.name);
                Ok(boot::boot(machine, spec, seed, seeds, objects).await?)
            }
        });
    }
    let (control, oracle) = (Rc::new(Control::default()), Rc::new(RefCell::new(Oracle::default())));
    let rng = SplitMix::of(seed, "scenario", 0);
    let cluster = Cluster::new(machines.clone(), control.clone(), oracle.clone(), objects.clone(), rng, spec.clone());
    let scenario = scenario(cluster);
    let told = trace.clone();
    sim.client("client", async move {
        told.here("client");
        // The whole chain: as an error of turmoil's it would only tell its head.
        scenario.await.map_err(|error| format!("{error:#}").into())
    });

    let power = SplitMix::of(seed, "power", 0);
    let world = World { machines, objects, power, latency: spec.latency_ms_max };
    loop {
        trace.set_now(sim.elapsed());
        let finished = sim.step().map_err(|e| anyhow!("{e:#}"))?;
        oracle
            .borrow_mut()
            .look(&world.machines, &world.objects, sim.elapsed())
            .with_context(|| format!("after {:?}", sim.elapsed()))?;
        world.bury(&mut sim)?;
        if finished {
            return Ok(sim.elapsed());
        }
        for (action, done) in control.take() {
            world.act(&mut sim, &action);
            // The scenario may have ended.
            let _ = done.send(());
        }
    }
}

fn machines(spec: &Spec, seed: u64) -> Vec<Rc<Machine>> {
    let names = |prefix: &'static str, count: usize| (1..=count).map(move |n| format!("{prefix}{n}"));
    let executors = names("n", spec.executors).map(|name| (name, Role::Executor));
    let storage = names("s", spec.storage).map(|name| (name, Role::Storage));
    let make = |(number, (name, role)): (usize, (String, Role))| {
        let zone = if spec.zones == 0 { format!("zone-{name}") } else { format!("zone-{}", number % spec.zones) };
        Rc::new(Machine::new(&name, role, zone, spec, seed))
    };
    let machines: Vec<_> = executors.chain(storage).enumerate().map(make).collect();
    let late = machines.iter().take(spec.executors).rev().take(spec.late);
    late.for_each(|machine| machine.switch_off());
    give_tier(&machines, spec.tiered, seed);
    machines
}

fn give_tier(machines: &[Rc<Machine>], tiered: Tiered, seed: u64) {
    let mut without: BTreeSet<usize> = BTreeSet::new();
    if let Tiered::AllBut(most) = tiered {
        let rng = SplitMix::of(seed, "tiered", 0);
        let count = rng.index(most + 1);
        without.extend((0..count).map(|_| rng.index(machines.len())));
    }
    for (number, machine) in machines.iter().enumerate() {
        machine.set_tier(match tiered {
            Tiered::Nobody => false,
            Tiered::Everybody => true,
            Tiered::AllBut(_) => !without.contains(&number),
            Tiered::Only(names) => names.contains(&machine.name.as_str()),
        });
    }
}

/// What the machines stand in.
struct World {
    machines: Vec<Rc<Machine>>,
    objects: Store,
    power: SplitMix,
    /// The slowest message, in milliseconds.
    latency: u64,
}

impl World {
    fn named<'a>(&'a self, names: &'a [String]) -> impl Iterator<Item = &'a Rc<Machine>> {
        self.machines.iter().filter(|machine| names.contains(&machine.name))
    }

    /// Whoever's node ended by itself, or whose disk went dead, is off.
    fn bury(&self, sim: &mut Sim<'_>) -> anyhow::Result<()> {
        for machine in &self.machines {
            if machine.take_stop()?.is_some() || (machine.is_on() && machine.is_dead()) {
                self.crash(sim, machine);
            }
        }
        Ok(())
    }

    fn crash(&self, sim: &mut Sim<'_>, machine: &Machine) {
        machine.forget_node();
        sim.crash(machine.name.as_str());
        machine.crash(&self.power);
    }

    fn act(&self, sim: &mut Sim<'_>, action: &Action) {
        tracing::info!(?action, "the world acts");
        match action {
            Action::Crash(names) => self.named(names).for_each(|machine| self.crash(sim, machine)),
            Action::Start(names) => {
                for machine in self.named(names).filter(|machine| !machine.is_on() && !machine.is_lost()) {
                    machine.switch_on();
                    sim.bounce(machine.name.as_str());
                }
            }
            Action::Wipe(name) => {
                self.machines.iter().filter(|m| m.name == *name && !m.is_on()).for_each(|m| m.wipe());
            }
            Action::Found(name) => {
                self.machines.iter().filter(|m| m.name == *name && !m.is_on()).for_each(|m| m.found());
            }
            Action::LayAside { name, founds } => {
                self.machines.iter().filter(|m| m.name == *name && !m.is_on()).for_each(|m| m.lay_aside(*founds));
            }
            Action::Partition(one, others) => each_pair(one, others, |a, b| sim.partition(a, b)),
            Action::Deafen(one, others) => each_pair(one, others, |a, b| sim.partition_oneway(a, b)),
            Action::Hold(one, others) => each_pair(one, others, |a, b| sim.hold(a, b)),
            Action::Slow(one, others, span) => {
                each_pair(one, others, |a, b| sim.set_link_max_message_latency(a, b, *span));
            }
            Action::Lossy(one, others, part) => {
                for (a, b) in pairs(one, others) {
                    sim.set_link_fail_rate(a, b, *part);
                }
            }
            Action::Heal(one, others) => {
                let usual = Duration::from_millis(self.latency);
                for (a, b) in pairs(one, others) {
                    sim.set_link_max_message_latency(a, b, usual);
                    sim.set_link_fail_rate(a, b, 0.0);
                    sim.release(a, b);
                    sim.repair(a, b);
                }
            }
        }
    }
}

fn pairs<'a>(one: &'a [String], others: &'a [String]) -> impl Iterator<Item = (&'a str, &'a str)> {
    let with = |a: &'a String| others.iter().filter(move |b| *b != a).map(move |b| (a.as_str(), b.as_str()));
    one.iter().flat_map(with)
}

fn each_pair(one: &[String], others: &[String], act: impl Fn(&str, &str)) {
    pairs(one, others).for_each(|(a, b)| act(a, b));
}
