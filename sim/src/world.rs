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

use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use cairn_node::core::Limits;
use cairn_node::node::RaftTimes;
use cairn_store::node::Role;
use futures::future::LocalBoxFuture;
use turmoil::Sim;

use crate::cluster::Cluster;
use crate::rng::SplitMix;
use crate::trace::Trace;
pub use control::{Action, Control};
pub use machine::Machine;
use oracle::Oracle;

/// What a cluster consists of.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Machines `n1`, `n2`, …; `n1` founds the cluster.
    pub executors: usize,
    /// Machines `s1`, `s2`, ….
    pub storage: usize,
    /// Bounds and times of the nodes.
    pub limits: Limits,
    /// Raft's times.
    pub raft: RaftTimes,
    /// What a disk takes, in bytes.
    pub disk_bytes: u64,
    /// The slowest message, in milliseconds.
    pub latency_ms_max: u64,
    /// The world's step in milliseconds, and how many times longer than usual everybody is patient. A run of hours
    /// needs a slow pace.
    pub pace: u32,
}

impl Spec {
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
            limits: Limits { reserve: 1 << 20, ..Limits::default() },
            // Snapshots often, so that a short run meets them.
            raft: RaftTimes { snapshot_every: 40, log_kept: 10, ..RaftTimes::default() },
            disk_bytes: 256 << 20,
            latency_ms_max: 20,
            pace: 1,
        }
    }
}

/// What a scenario does with a cluster.
pub type Scenario = fn(Cluster) -> LocalBoxFuture<'static, anyhow::Result<()>>;

/// The longest that a scenario may take, in virtual time, at the usual pace.
const SPAN_MAX: Duration = Duration::from_secs(900);
/// The world's step, at the usual pace.
const STEP: Duration = Duration::from_millis(1);
/// Segments of a connection on their way at once. A payload's block is one of them.
const TCP_SEGMENTS: usize = 1024;

/// Runs a scenario. Once in a process.
///
/// # Errors
/// What went wrong: the scenario's own error, a node that stopped, or what the oracle saw.
pub fn run(spec: Spec, scenario: Scenario, seed: u64, trace: &Trace) -> anyhow::Result<Duration> {
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .epoch(UNIX_EPOCH)
        .simulation_duration(SPAN_MAX * spec.pace)
        .tick_duration(STEP * spec.pace)
        .min_message_latency(Duration::from_micros(100))
        .max_message_latency(Duration::from_millis(spec.latency_ms_max))
        .tcp_capacity(TCP_SEGMENTS)
        .enable_random_order()
        .build();
    let spec = Rc::new(spec);
    let names = |prefix: &'static str, count: usize| (1..=count).map(move |n| format!("{prefix}{n}"));
    let executors = names("n", spec.executors).map(|name| Machine::new(&name, Role::Executor, &spec, seed));
    let storage = names("s", spec.storage).map(|name| Machine::new(&name, Role::Storage, &spec, seed));
    let machines: Vec<Rc<Machine>> = executors.chain(storage).map(Rc::new).collect();
    for machine in &machines {
        let (here, spec) = (machine.clone(), spec.clone());
        sim.host(machine.name.as_str(), move || {
            let (machine, spec) = (here.clone(), spec.clone());
            async move { Ok(boot::boot(machine, spec, seed).await?) }
        });
    }
    let control = Rc::new(Control::default());
    let cluster = Cluster::new(machines.clone(), control.clone(), SplitMix::of(seed, "scenario", 0), spec.pace);
    sim.client("client", async move { Ok(scenario(cluster).await?) });

    let mut oracle = Oracle::default();
    let power = SplitMix::of(seed, "power", 0);
    loop {
        trace.set_now(sim.elapsed());
        let finished = sim.step().map_err(|e| anyhow!("{e:#}"))?;
        oracle.look(&machines).with_context(|| format!("after {:?}", sim.elapsed()))?;
        if finished {
            return Ok(sim.elapsed());
        }
        for (action, done) in control.take() {
            act(&mut sim, &machines, &action, &power);
            // The scenario may have ended.
            let _ = done.send(());
        }
    }
}

fn act(sim: &mut Sim<'_>, machines: &[Rc<Machine>], action: &Action, power: &SplitMix) {
    tracing::info!(?action, "the world acts");
    match action {
        Action::Crash(names) => {
            for machine in machines.iter().filter(|m| names.contains(&m.name)) {
                machine.forget_node();
                sim.crash(machine.name.as_str());
                machine.crash(power);
            }
        }
        Action::Start(names) => {
            let stopped = machines.iter().filter(|m| names.contains(&m.name) && !m.is_on());
            for machine in stopped {
                machine.switch_on();
                sim.bounce(machine.name.as_str());
            }
        }
        Action::Partition(one, others) => each_pair(one, others, |a, b| sim.partition(a, b)),
        Action::Hold(one, others) => each_pair(one, others, |a, b| sim.hold(a, b)),
        Action::Heal(one, others) => each_pair(one, others, |a, b| {
            sim.release(a, b);
            sim.repair(a, b);
        }),
    }
}

fn each_pair(one: &[String], others: &[String], act: impl Fn(&str, &str)) {
    for a in one {
        others.iter().filter(|b| *b != a).for_each(|b| act(a, b));
    }
}
