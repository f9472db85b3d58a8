//! What must hold after every step, on every machine.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{bail, ensure};
use cairn_node::raft::View;
use cairn_store::meta::State;
use cairn_store::meta::invariant::{broken, violations};
use cairn_store::name::Name;
use cairn_store::segment::{Epoch, Version};

use super::Machine;
use crate::chronicle::Chronicle;
use crate::invariants::durable;
use crate::invariants::ids::Ids;

/// How many revisions back states are compared. Nodes are rarely further apart.
const REVISIONS_KEPT: usize = 512;
/// Clocks are read within a step.
const STEP_MAX: Duration = Duration::from_secs(1);
/// Whole states are looked through, and compared, at every so many revisions: what is wrong in one stays wrong.
const LOOK_EVERY: u64 = 16;

/// Sees every state that any node shows, and who leads.
#[derive(Debug, Default)]
pub struct Oracle {
    /// What was committed.
    pub chronicle: Chronicle,
    /// Who was ever a member.
    pub ids: Ids,
    /// Who led in each term: log time rests on there being one (R4).
    leaders: BTreeMap<u64, String>,
    /// The first state seen at each revision.
    states: BTreeMap<u64, State>,
    /// What each machine showed last.
    shown: BTreeMap<String, State>,
    /// Versions whose copies are to be looked at.
    unseen: Vec<(Name, Epoch, Version)>,
}

impl Oracle {
    /// Looks at all machines, when the world is so old.
    pub(super) fn look(&mut self, machines: &[Rc<Machine>], elapsed: Duration) -> anyhow::Result<()> {
        for machine in machines {
            if let Some(term) = machine.leads() {
                let leader = self.leaders.entry(term).or_insert_with(|| machine.name.clone());
                ensure!(*leader == machine.name, "{leader} and {} lead in term {term}", machine.name);
            }
            if let Some(view) = machine.take_parting() {
                let seen = self.shown.remove(&machine.name);
                self.judge(machine, &view, seen)?;
            }
            let Some(revision) = machine.revision() else {
                self.shown.remove(&machine.name);
                continue;
            };
            // A node that starts again begins where its snapshot ends.
            let seen = self.shown.get(&machine.name);
            if seen.map(|seen| seen.revision) != Some(revision)
                && let Some(view) = machine.view()
            {
                let seen = self.shown.insert(machine.name.clone(), view.state.clone());
                self.judge(machine, &view, seen)?;
            }
        }
        self.check_time(machines, elapsed)?;
        self.check_new_versions(machines)
    }

    fn judge(&mut self, machine: &Machine, view: &View, seen: Option<State>) -> anyhow::Result<()> {
        let state = &view.state;
        let revision = state.revision;
        if let Some(seen) = &seen {
            let was = seen.revision;
            ensure!(revision >= was, "{} went back from revision {was} to {revision}", machine.name);
            if revision == was + 1
                && let Some(wrong) = broken(seen, state).first()
            {
                bail!("the step of {} to revision {revision} is wrong: {wrong}", machine.name);
            }
        }
        let since = seen.map_or_else(|| self.chronicle.newest().min(revision), |seen| seen.revision);
        self.unseen.extend(self.chronicle.take(&machine.node_name()?, view, since)?);
        self.ids.see(state.members.values().map(|member| (member.id, member.incarnation)));
        if let Some(wrong) = self.ids.violations().first() {
            bail!("{wrong}");
        }
        if let Some(known) = self.states.get(&revision) {
            ensure!(known == state, "{} has another state at revision {revision} than others", machine.name);
        } else if revision.is_multiple_of(LOOK_EVERY) {
            if let Some(first) = violations(state).first() {
                bail!("the state of {} at revision {revision} is wrong: {first}", machine.name);
            }
            self.states.insert(revision, state.clone());
            if self.states.len() > REVISIONS_KEPT {
                self.states.pop_first();
            }
        }
        tracing::trace!(target: "cairn_sim::oracle", machine = %machine.name, revision, time = %state.time, "a new state");
        Ok(())
    }

    /// R4: log time never runs ahead of the time that passed for the machines: leases rest on that.
    fn check_time(&self, machines: &[Rc<Machine>], elapsed: Duration) -> anyhow::Result<()> {
        let slept: Duration = machines.iter().map(|machine| machine.skew.leapt()).sum();
        let passed = elapsed + slept + STEP_MAX;
        for (name, state) in &self.shown {
            let told = Duration::from_millis(state.time.0);
            ensure!(told <= passed, "log time is {told:?} on {name}, and no more than {passed:?} passed");
        }
        Ok(())
    }

    /// D: in the step in which the first node applies a commit, all copies that it counts are durable.
    fn check_new_versions(&mut self, machines: &[Rc<Machine>]) -> anyhow::Result<()> {
        for (name, epoch, version) in std::mem::take(&mut self.unseen) {
            let Some(record) = self.chronicle.version(&name, epoch, version) else { continue };
            let holder = |copy: &cairn_store::segment::Copy| {
                let node = self.chronicle.name_of(copy.node)?;
                machines.iter().find(|machine| machine.node_name().is_ok_and(|name| name == *node))
            };
            let wrong = durable::violations(&name, version, record, 0, |copy| match holder(copy) {
                Some(machine) if !machine.is_harmed(copy.id) => machine.disk.durable_digest(copy.id),
                // Taken away by a fault since.
                _ => Some(record.digest),
            });
            if let Some(wrong) = wrong.first() {
                bail!("{wrong}");
            }
        }
        Ok(())
    }
}
