//! What must hold after every step, on every machine.

use std::collections::BTreeMap;
use std::rc::Rc;

use anyhow::{bail, ensure};
use cairn_store::meta::State;
use cairn_store::meta::invariant::violations;

use super::Machine;

/// How many revisions back states are compared. Nodes are rarely further apart.
const REVISIONS_KEPT: usize = 4096;

/// Sees every state that any node shows, and who leads.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    /// Who led in each term: log time rests on there being one (R4).
    leaders: BTreeMap<u64, String>,
    /// The first state seen at each revision.
    states: BTreeMap<u64, State>,
    /// What each machine showed last.
    shown: BTreeMap<String, u64>,
}

impl Oracle {
    /// Looks at all machines.
    pub(super) fn look(&mut self, machines: &[Rc<Machine>]) -> anyhow::Result<()> {
        for machine in machines {
            if let Some(term) = machine.leads() {
                let leader = self.leaders.entry(term).or_insert_with(|| machine.name.clone());
                ensure!(*leader == machine.name, "{leader} and {} lead in term {term}", machine.name);
            }
            let Some(view) = machine.view() else { continue };
            let revision = view.state.revision;
            if self.shown.insert(machine.name.clone(), revision) != Some(revision) {
                self.judge(&machine.name, view.state)?;
            }
        }
        Ok(())
    }

    fn judge(&mut self, name: &str, state: State) -> anyhow::Result<()> {
        if let Some(first) = violations(&state).first() {
            bail!("the state of {name} at revision {} is wrong: {first}", state.revision);
        }
        let revision = state.revision;
        match self.states.get(&revision) {
            Some(known) if *known != state => bail!("{name} has another state at revision {revision} than others"),
            Some(_) => {}
            None => {
                tracing::trace!(target: "cairn_sim::oracle", revision, time = %state.time, "a new state");
                self.states.insert(revision, state);
            }
        }
        while self.states.len() > REVISIONS_KEPT {
            self.states.pop_first();
        }
        Ok(())
    }
}
