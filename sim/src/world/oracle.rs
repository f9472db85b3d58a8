//! What must hold after every step, on every machine.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, ensure};
use cairn_node::raft::View;
use cairn_node::raft::types::Vote;
use cairn_store::archive::Archive;
use cairn_store::archive::key::Key;
use cairn_store::id::{CopyId, Incarnation, NodeId, SegmentId};
use cairn_store::meta::event::between;
use cairn_store::meta::invariant::{broken, broken_since, violations};
use cairn_store::meta::{Event, State, Watched};
use cairn_store::name::Name;
use cairn_store::segment::{Epoch, Version};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use super::Machine;
use crate::chronicle::Chronicle;
use crate::invariants::ids::Ids;
use crate::invariants::{archived, deleted, durable};
use crate::objects::Store;

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
    /// The vote that each node showed last: it survives crashes, so it never goes back, and never changes within a term.
    votes: BTreeMap<Incarnation, Vote>,
    /// The first state seen at each revision.
    states: BTreeMap<u64, State>,
    /// What each machine showed last.
    shown: BTreeMap<String, State>,
    /// Versions whose copies are to be looked at.
    unseen: Vec<(Name, Epoch, Version)>,
    /// What the newest state that was shown had in the global tier, and its revision.
    filed: (u64, OrdMap<SegmentId, Arc<Archive>>),
}

impl Oracle {
    /// Looks at all machines, when the world is so old.
    pub(super) fn look(
        &mut self,
        machines: &[Rc<Machine>],
        objects: &Store,
        elapsed: Duration,
    ) -> anyhow::Result<()> {
        for machine in machines {
            self.check_vote(machine)?;
            if let Some(term) = machine.leads() {
                let leader = self.leaders.entry(term).or_insert_with(|| machine.name.clone());
                ensure!(*leader == machine.name, "{leader} and {} lead in term {term}", machine.name);
            }
            if let Some(view) = machine.take_parting() {
                let seen = self.shown.remove(&machine.name);
                self.judge(machines, machine, &view, seen)?;
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
                self.judge(machines, machine, &view, seen)?;
            }
        }
        self.check_time(machines, elapsed)?;
        self.check_objects(objects)?;
        self.check_new_versions(machines)
    }

    fn judge(
        &mut self,
        machines: &[Rc<Machine>],
        machine: &Machine,
        view: &View,
        seen: Option<State>,
    ) -> anyhow::Result<()> {
        let state = &view.state;
        let revision = state.revision;
        if let Some(seen) = &seen {
            let was = seen.revision;
            ensure!(revision >= was, "{} went back from revision {was} to {revision}", machine.name);
            let one_step = revision == was + 1;
            let wrong = if one_step { broken(seen, state) } else { broken_since(seen, state) };
            let given_up = deleted::given_up(seen, state, |node, copy| self.is_harmed(machines, node, copy));
            if let Some(wrong) = wrong.iter().chain(&given_up).next() {
                bail!("what {} did after revision {was} to {revision} is wrong: {wrong}", machine.name);
            }
            if one_step {
                self.check_told(machine, view, seen)?;
            }
        }
        let since = seen.map_or_else(|| self.chronicle.newest().min(revision), |seen| seen.revision);
        self.unseen.extend(self.chronicle.take(&machine.node_name()?, view, since)?);
        self.ids.see(state.members.values().map(|member| (member.id, member.incarnation)));
        if let Some(wrong) = self.ids.violations().first() {
            bail!("{wrong}");
        }
        if let Some(known) = self.states.get(&revision) {
            if known != state {
                let what = difference(known, state);
                bail!("{} has another state at revision {revision} than others: {what}", machine.name);
            }
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

    fn check_vote(&mut self, machine: &Machine) -> anyhow::Result<()> {
        let Some(vote) = machine.vote() else { return Ok(()) };
        if let Some(before) = self.votes.insert(machine.incarnation(), vote) {
            // Votes for two nodes in one term are neither less nor more than each other.
            ensure!(vote >= before, "{} voted {before}, and now {vote}", machine.name);
        }
        Ok(())
    }

    /// R15: a node's watchers are told what its state shows.
    fn check_told(&self, machine: &Machine, view: &View, seen: &State) -> anyhow::Result<()> {
        let Some(told) = view.history.since(view.state.revision) else { return Ok(()) };
        let told: Vec<&Event> = told.flat_map(|entry| entry.iter()).collect();
        let at = told.first().map(|event| event.at).unwrap_or_default();
        let changed = between(&Watched::of(seen), &view.state, at);
        let (name, revision) = (&machine.name, view.state.revision);
        ensure!(told.into_iter().eq(&changed), "{name} tells other changes of revision {revision} than it made");
        Ok(())
    }

    /// Whether a copy is, or was, where a fault touched it.
    fn is_harmed(&self, machines: &[Rc<Machine>], node: NodeId, copy: CopyId) -> bool {
        self.machine_of(machines, node).is_none_or(|machine| machine.is_harmed(copy))
    }

    /// The machine on which this node runs; none if its disks were replaced.
    fn machine_of<'a>(&self, machines: &'a [Rc<Machine>], node: NodeId) -> Option<&'a Rc<Machine>> {
        let node = self.chronicle.name_of(node)?;
        machines.iter().find(|machine| machine.node_name().is_ok_and(|name| name == *node))
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

    /// E, of the global tier: what nodes remove there is nothing that counts, and what begins to count is there.
    fn check_objects(&mut self, objects: &Store) -> anyhow::Result<()> {
        let Some(state) = self.shown.values().max_by_key(|state| state.revision) else { return Ok(()) };
        for key in objects.take_removed() {
            let Ok(Key::Object(stem, _)) = key.parse() else { continue };
            let counts = state
                .object_of(stem.segment, stem.version)
                .is_some_and(|known| (known.id, known.cluster) == (stem.object, stem.cluster));
            ensure!(!counts, "E: {key} was removed from the global tier, and the cluster refers to it");
        }
        // A node that starts again may show what it knew at its last snapshot.
        if state.revision <= self.filed.0 {
            return Ok(());
        }
        let changed = self.filed.1.diff(&state.archives).filter_map(|item| match item {
            DiffItem::Add(id, archive) | DiffItem::Update { new: (id, archive), .. } => Some((*id, &**archive)),
            DiffItem::Remove(..) => None,
        });
        let changed: Vec<(SegmentId, &Archive)> = changed.collect();
        let (read, harmed) = (|key: &str| objects.bytes(key), |key: &str| objects.is_harmed(key));
        let wrong = archived::violations(state, changed.iter().copied(), read, harmed);
        let accused = archived::accused(state, changed.iter().copied(), read, harmed);
        if let Some(wrong) = wrong.iter().chain(&accused).next() {
            bail!("{wrong}, since revision {}", state.revision);
        }
        self.filed = (state.revision, state.archives.clone());
        Ok(())
    }

    /// D: in the step in which the first node applies a commit, all copies that it counts are durable.
    fn check_new_versions(&mut self, machines: &[Rc<Machine>]) -> anyhow::Result<()> {
        for (name, epoch, version) in std::mem::take(&mut self.unseen) {
            let Some(record) = self.chronicle.version(&name, epoch, version) else { continue };
            let wrong =
                durable::violations(&name, version, record, 0, |copy| match self.machine_of(machines, copy.node) {
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

/// Where two states that differ do so first.
fn difference(one: &State, other: &State) -> String {
    macro_rules! first {
        ($($part:ident)*) => {
            $(if one.$part != other.$part {
                let mut diff = one.$part.diff(&other.$part);
                return format!("{}: {:?}", stringify!($part), diff.next());
            })*
        };
    }
    first!(members down removed segments leases archives tiers names epochs gone answers usage open);
    format!("at {:?} and {:?}, or in what is derived", one.time, other.time)
}
