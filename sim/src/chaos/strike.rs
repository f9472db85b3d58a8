//! Faults: each looks for its victim when its time has come, does its harm, waits, and takes it back.

use std::rc::Rc;
use std::time::Duration;

use cairn_store::id::{CopyId, NodeId};
use cairn_store::segment::CopyState;
use tokio::time::{Instant, sleep};

use super::FAULTS_MIN;
use super::desk::Desk;
use super::plan::{Fault, Strike};
use super::removal::Removal;
use crate::disk::{Failure, Part};
use crate::rng::SplitMix;
use crate::world::{Action, Machine};

/// No `.toc` is shorter.
const TOC_BYTES_MIN: usize = 150;
/// Within how many writes a failing disk fails.
const WRITES_MAX: u64 = 40;
/// Within how many fsyncs a failing log fails.
const FLUSHES_MAX: u64 = 30;
/// The longest that a clock is set off, and that a machine sleeps.
const OFF_MAX: Duration = Duration::from_secs(30 * 3600);
/// The slowest message of a slow link.
const SLOW_MAX_MS: u64 = 1_500;
/// Of a hundred messages of a lossy link, so many are lost at most.
const LOST_PERCENT_MAX: u64 = 20;
/// Fewer voters bear no loss.
const VOTERS_MIN: usize = 3;
/// How long an owner is looked for that saves, and a machine that runs.
const LOOK_MAX: Duration = Duration::from_secs(5);
/// The pause between two such looks.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// Waits for its time, and strikes.
pub(super) async fn carry_out(desk: &Rc<Desk>, strike: &Strike) -> anyhow::Result<()> {
    sleep(strike.at).await;
    // Nobody is left who would notice, and enough was noticed.
    if desk.busy.get() == 0 && desk.tally.so_far().1 >= FAULTS_MIN {
        return Ok(());
    }
    let striker = Striker { desk, strike, rng: SplitMix::new(strike.luck) };
    if striker.strike().await? {
        desk.tally.fault(&format!("{:?}", strike.fault));
    } else if striker.crash(striker.next_running().await).await? {
        // Nobody was struck, or nobody noticed: somebody's power goes.
        desk.tally.fault(&format!("{:?}", Fault::Crash));
    }
    Ok(())
}

struct Striker<'a> {
    desk: &'a Desk,
    strike: &'a Strike,
    rng: SplitMix,
}

impl Striker<'_> {
    /// Tells whether anybody was there to be struck.
    async fn strike(&self) -> anyhow::Result<bool> {
        tracing::info!(fault = ?self.strike.fault, span = ?self.strike.span, "a fault strikes");
        match self.strike.fault {
            Fault::Crash => self.crash(self.running()).await,
            Fault::CrashLeader => self.crash(self.leader()).await,
            Fault::CrashAll => self.crash_all().await,
            Fault::CrashOwner => self.crash_owner().await,
            Fault::CrashInWrite => self.fail_disk(Failure::PowerOff).await,
            Fault::DiskError => self.fail_disk(Failure::Eio).await,
            Fault::LogError => self.fail_log().await,
            Fault::CutMinority => self.cut(false).await,
            Fault::CutLeader => self.cut(true).await,
            Fault::OneWay => self.deafen().await,
            Fault::Flapping => self.flap().await,
            Fault::Held => self.hold().await,
            Fault::SlowLink => {
                let slowest = Duration::from_millis(100 + self.rng.below(SLOW_MAX_MS));
                self.link(|one, others| Action::Slow(one, others, slowest)).await
            }
            Fault::LossyLink => {
                let part = (1 + self.rng.below(LOST_PERCENT_MAX)) as f64 / 100.0;
                self.link(|one, others| Action::Lossy(one, others, part)).await
            }
            Fault::Echo => self.echo().await,
            Fault::SlowDisk => self.slow_disk().await,
            Fault::DiskFull => self.fill_disk().await,
            Fault::Rot => self.harm(|machine, copy, at| machine.disk.rot(copy, Part::Bytes, at)),
            Fault::RotTable => self.harm(|machine, copy, at| machine.disk.rot(copy, Part::Table, at % TOC_BYTES_MIN)),
            Fault::Deleted => self.harm(|machine, copy, _| machine.disk.delete(copy)),
            Fault::WallClock => self.set_clock(),
            Fault::Slept => self.oversleep(),
            Fault::Replaced => self.replace().await,
            Fault::Lost => self.lose().await,
            Fault::Joins => self.join().await,
            Fault::Removed => self.remove().await,
        }
    }

    fn machines(&self) -> &[Rc<Machine>] {
        self.desk.cluster.machines()
    }

    fn pick(&self, wanted: impl Fn(&Machine) -> bool) -> Option<Rc<Machine>> {
        let found: Vec<_> = self.machines().iter().filter(|machine| wanted(machine)).collect();
        found.get(self.rng.index(found.len())).map(|machine| (*machine).clone())
    }

    /// A machine whose node runs.
    fn running(&self) -> Option<Rc<Machine>> {
        self.pick(|machine| machine.is_on() && machine.view().is_some())
    }

    /// The same, as soon as there is one: all may be off for a while.
    async fn next_running(&self) -> Option<Rc<Machine>> {
        let give_up = Instant::now() + LOOK_MAX;
        loop {
            match self.running() {
                None if Instant::now() < give_up => sleep(LOOK_PAUSE).await,
                found => return found,
            }
        }
    }

    fn leader(&self) -> Option<Rc<Machine>> {
        let leading = self.machines().iter().filter_map(|machine| Some((machine.leads()?, machine)));
        leading.max_by_key(|(term, _)| *term).map(|(_, machine)| machine.clone())
    }

    async fn crash(&self, victim: Option<Rc<Machine>>) -> anyhow::Result<bool> {
        let Some(machine) = victim else { return Ok(false) };
        self.desk.cluster.crash(&[&machine.name]).await;
        sleep(self.strike.span).await;
        self.start(&machine).await;
        Ok(true)
    }

    async fn start(&self, machine: &Machine) {
        self.desk.cluster.start(&[&machine.name]).await;
    }

    async fn crash_all(&self) -> anyhow::Result<bool> {
        let on: Vec<_> = self.machines().iter().filter(|machine| machine.is_on()).cloned().collect();
        let names: Vec<&str> = on.iter().map(|machine| machine.name.as_str()).collect();
        self.desk.cluster.crash(&names).await;
        sleep(self.strike.span / 4).await;
        // They come back one after the other.
        for machine in &on {
            sleep(Duration::from_millis(self.rng.below(300))).await;
            self.start(machine).await;
        }
        Ok(true)
    }

    async fn crash_owner(&self) -> anyhow::Result<bool> {
        let give_up = Instant::now() + LOOK_MAX;
        let owner = loop {
            let saving = self.desk.saving.borrow().keys().next().cloned();
            match saving {
                Some(name) => break self.desk.cluster.machine(&name)?.clone(),
                None if Instant::now() >= give_up => return Ok(false),
                None => sleep(LOOK_PAUSE).await,
            }
        };
        sleep(Duration::from_millis(self.rng.below(120))).await;
        self.crash(Some(owner).filter(|owner| owner.is_on())).await
    }

    /// Lets a disk fail somewhere in the middle of what it does next, and starts the machine again if it has to be.
    async fn fail_disk(&self, how: Failure) -> anyhow::Result<bool> {
        let Some(machine) = self.running() else { return Ok(false) };
        let before = machine.failures();
        machine.disk.fail_after(u32::try_from(1 + self.rng.below(WRITES_MAX))?, how);
        self.after_failure(&machine).await;
        Ok(machine.failures() > before)
    }

    async fn fail_log(&self) -> anyhow::Result<bool> {
        let Some(machine) = self.running() else { return Ok(false) };
        let before = machine.failures();
        machine.log.fail_after(u32::try_from(1 + self.rng.below(FLUSHES_MAX))?);
        self.after_failure(&machine).await;
        Ok(machine.failures() > before)
    }

    async fn after_failure(&self, machine: &Machine) {
        sleep(self.strike.span).await;
        // A node that runs on has to go on, and one that is off for another reason has to start. One that has met the failure
        // stops by itself.
        let stops = machine.is_on() && (machine.disk.failed().is_some() || machine.log.failed());
        if !stops {
            machine.disk.clear_failures();
            machine.log.clear_failures();
        }
        self.start(machine).await;
    }

    /// Cuts a minority of the voters off, with the leader in it or not, and some others with them.
    async fn cut(&self, with_leader: bool) -> anyhow::Result<bool> {
        let Some(leader) = self.leader() else { return Ok(false) };
        let _alone = self.desk.network.lock().await;
        let mut these = Vec::new();
        if with_leader {
            these.push(leader.name.clone());
        }
        let most = self.machines().len().saturating_sub(1) / 2;
        for machine in self.machines().iter().filter(|machine| machine.name != leader.name) {
            if these.len() < most.max(1) && self.rng.below(2) == 0 {
                these.push(machine.name.clone());
            }
        }
        let others: Vec<String> =
            self.machines().iter().map(|machine| machine.name.clone()).filter(|name| !these.contains(name)).collect();
        self.desk.cluster.act(Action::Partition(these.clone(), others)).await;
        self.mend().await;
        Ok(!these.is_empty())
    }

    async fn mend(&self) {
        sleep(self.strike.span).await;
        self.desk.cluster.heal().await;
    }

    /// Who is struck, and everybody else.
    fn one_and_others(&self) -> Option<(Vec<String>, Vec<String>)> {
        let one = if self.rng.below(2) == 0 { self.leader() } else { self.running() }?.name.clone();
        let others = self.machines().iter().map(|machine| machine.name.clone()).filter(|name| *name != one);
        let others = others.collect();
        Some((vec![one], others))
    }

    async fn deafen(&self) -> anyhow::Result<bool> {
        let _alone = self.desk.network.lock().await;
        let Some((one, others)) = self.one_and_others() else { return Ok(false) };
        let (from, to) = if self.rng.below(2) == 0 { (one, others) } else { (others, one) };
        self.desk.cluster.act(Action::Deafen(from, to)).await;
        self.mend().await;
        Ok(true)
    }

    async fn flap(&self) -> anyhow::Result<bool> {
        let _alone = self.desk.network.lock().await;
        let Some((one, others)) = self.one_and_others() else { return Ok(false) };
        for _ in 0..2 + self.rng.below(5) {
            self.desk.cluster.act(Action::Partition(one.clone(), others.clone())).await;
            sleep(Duration::from_millis(50 + self.rng.below(900))).await;
            self.desk.cluster.heal().await;
            sleep(Duration::from_millis(50 + self.rng.below(900))).await;
        }
        Ok(true)
    }

    async fn hold(&self) -> anyhow::Result<bool> {
        let _alone = self.desk.network.lock().await;
        let (Some(one), Some(other)) = (self.running(), self.running()) else { return Ok(false) };
        if one.name == other.name {
            return Ok(false);
        }
        self.desk.cluster.hold(&one.name, &other.name).await;
        self.mend().await;
        Ok(true)
    }

    async fn link(&self, spoil: impl FnOnce(Vec<String>, Vec<String>) -> Action) -> anyhow::Result<bool> {
        let _alone = self.desk.network.lock().await;
        let Some((one, others)) = self.one_and_others() else { return Ok(false) };
        self.desk.cluster.act(spoil(one, others)).await;
        self.mend().await;
        Ok(true)
    }

    async fn echo(&self) -> anyhow::Result<bool> {
        let Some(machine) = self.pick(|machine| !machine.sent.is_empty()) else { return Ok(false) };
        self.desk.may_drain_again();
        for _ in 0..1 + self.rng.below(6) {
            // Whoever is meant may be down.
            let _ = machine.sent.echo(self.rng.index(machine.sent.len())).await;
        }
        Ok(true)
    }

    async fn slow_disk(&self) -> anyhow::Result<bool> {
        let Some(machine) = self.running() else { return Ok(false) };
        let factor = 2 + u32::try_from(self.rng.below(60))?;
        machine.slow_disk(factor);
        sleep(self.strike.span).await;
        machine.slow_disk(1);
        Ok(true)
    }

    async fn fill_disk(&self) -> anyhow::Result<bool> {
        let Some(machine) = self.running() else { return Ok(false) };
        // Room for the reserve and a little more, or for nothing at all: then a node stops that must write a snapshot.
        let before = machine.failures();
        machine.disk.set_capacity(self.rng.below(4) << 20);
        sleep(self.strike.span).await;
        machine.disk.set_capacity(self.desk.cluster.spec.disk_bytes);
        self.start(&machine).await;
        Ok(machine.failures() > before)
    }

    /// Takes a copy away that the cluster counts on, or a part of it, unless it is the last good one.
    fn harm(&self, harm: impl Fn(&Machine, CopyId, usize) -> std::io::Result<()>) -> anyhow::Result<bool> {
        let Some(view) = self.leader().and_then(|leader| leader.view()) else { return Ok(false) };
        let segments: Vec<_> = view.state.segments.values().filter(|segment| !segment.versions.is_empty()).collect();
        let Some(segment) = segments.get(self.rng.index(segments.len())) else { return Ok(false) };
        let Some(record) = segment.versions.values().nth(self.rng.index(segment.versions.len())) else {
            return Ok(false);
        };
        let durable: Vec<_> = record.copies.iter().filter(|copy| copy.state == CopyState::Durable).collect();
        let Some(copy) = durable.get(self.rng.index(durable.len())) else { return Ok(false) };
        let name = view.state.members.get(&copy.node).map(|member| member.profile.name.clone());
        let machine = name.and_then(|name| self.desk.cluster.machine_of(&name).ok().cloned());
        let Some(machine) = machine else { return Ok(false) };
        // It may have been deleted by now.
        let struck = harm(&machine, copy.id, self.rng.index(usize::try_from(record.size)?)).is_ok();
        if struck {
            machine.harm(copy.id);
        }
        Ok(struck)
    }

    fn set_clock(&self) -> anyhow::Result<bool> {
        let Some(machine) = self.running() else { return Ok(false) };
        let most = OFF_MAX.as_millis() as u64;
        machine.skew.set_wall(i64::try_from(self.rng.below(2 * most))? - i64::try_from(most)?);
        Ok(true)
    }

    fn oversleep(&self) -> anyhow::Result<bool> {
        let Some(machine) = self.running() else { return Ok(false) };
        machine.skew.leap(OFF_MAX.mul_f64(self.rng.below(1_000) as f64 / 1_000.0));
        Ok(true)
    }

    /// Whether the voters are enough without this machine, for good.
    fn is_bearable(&self, victim: &Machine) -> bool {
        let Some(view) = self.leader().and_then(|leader| leader.view()) else { return false };
        let stays = |id: u64| {
            let member = view.state.members.get(&NodeId(id));
            let machine = member.and_then(|member| self.desk.cluster.machine_of(&member.profile.name).ok());
            machine.is_some_and(|machine| !machine.is_lost() && machine.name != victim.name)
        };
        let voters: Vec<u64> = view.membership.voter_ids().collect();
        voters.len() >= VOTERS_MIN && voters.iter().filter(|id| stays(**id)).count() > voters.len() / 2
    }

    async fn replace(&self) -> anyhow::Result<bool> {
        let Ok(_alone) = self.desk.members.try_lock() else { return Ok(false) };
        let Some(machine) = self.running().filter(|machine| self.is_bearable(machine)) else { return Ok(false) };
        self.desk.cluster.crash(&[&machine.name]).await;
        self.desk.cluster.act(Action::Wipe(machine.name.clone())).await;
        sleep(self.strike.span).await;
        self.start(&machine).await;
        Ok(true)
    }

    async fn lose(&self) -> anyhow::Result<bool> {
        // Somebody has to own what is left.
        let Ok(_alone) = self.desk.members.try_lock() else { return Ok(false) };
        let executors =
            self.machines().iter().filter(|m| m.role == cairn_store::node::Role::Executor && !m.is_lost());
        if executors.count() <= 2 {
            return Ok(false);
        }
        let Some(machine) = self.running().filter(|machine| self.is_bearable(machine)) else { return Ok(false) };
        machine.lose();
        self.desk.cluster.crash(&[&machine.name]).await;
        Ok(true)
    }

    async fn remove(&self) -> anyhow::Result<bool> {
        let Ok(_alone) = self.desk.members.try_lock() else { return Ok(false) };
        let Some(machine) = self.running() else { return Ok(false) };
        let Some(at) = self.pick(|other| other.view().is_some() && other.name != machine.name) else {
            return Ok(false);
        };
        let (desk, span, rng) = (self.desk, self.strike.span, &self.rng);
        Removal { desk, machine: &machine, at: &at, span, rng }.carry_out().await
    }

    async fn join(&self) -> anyhow::Result<bool> {
        let late = self.pick(|machine| !machine.is_on() && !machine.is_lost() && machine.boots() == 0);
        let Some(machine) = late else { return Ok(false) };
        self.start(&machine).await;
        Ok(true)
    }
}
