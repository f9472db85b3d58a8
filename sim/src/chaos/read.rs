//! Everything that a cluster has is read, once it is whole; and what clients were told of must be there.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use cairn_client::api::Code;
use cairn_store::meta::State;
use cairn_store::name::Name;
use cairn_store::segment::{Segment, Version, VersionRecord};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::desk::{CALM_PATIENCE, Desk};
use crate::expect::{Expected, Listed};
use crate::history::{Ask, Told};
use crate::invariants::acknowledged::Kept;
use crate::world::Machine;

/// Names that are read at once.
const READERS: usize = 6;
/// How long a load is tried of what nobody has any more.
const LOST_PATIENCE: Duration = Duration::from_secs(1);

/// A: every version that the cluster lists is loaded somewhere; and every name, whose owner and head are told.
pub(super) async fn everything(desk: &Desk, executors: &[Rc<Machine>]) -> anyhow::Result<Vec<Kept>> {
    let state = executors.first().and_then(|machine| machine.view()).context("no node runs")?.state;
    check_acknowledged(desk, &state)?;
    let asked: BTreeSet<Name> = desk.history.borrow().calls.iter().map(|call| call.name.clone()).collect();
    let reader = Reader { desk, state: &state, executors };
    let read: Vec<Vec<Kept>> =
        stream::iter(&asked).map(|name| reader.read(name)).buffered(READERS).try_collect().await?;
    Ok(read.concat())
}

/// Reads what a cluster that is whole has.
struct Reader<'a> {
    desk: &'a Desk,
    state: &'a State,
    executors: &'a [Rc<Machine>],
}

impl Reader<'_> {
    async fn load(
        &self,
        name: &Name,
        version: Option<Version>,
        patience: Duration,
    ) -> anyhow::Result<(&Machine, Told)> {
        let (desk, rng) = (self.desk, &self.desk.cluster.rng);
        let machine = self.executors.get(rng.index(self.executors.len())).context("no executor")?;
        let ask = Ask::Load { version, claim: false, stale: false };
        let told = desk.call_for(patience, machine, desk.cluster.new_request(), name, ask).await?;
        Ok((machine, told))
    }

    /// One name: its newest version, and then all.
    async fn read(&self, name: &Name) -> anyhow::Result<Vec<Kept>> {
        let Some(segment) = self.state.by_name(name) else {
            let (_, head) = self.load(name, None, CALM_PATIENCE).await?;
            ensure!(head == Told::Absent, "{name} is not there, and loads: {head:?}");
            return Ok(Vec::new());
        };
        // Without an intact copy a load only waits.
        if segment.versions.last_key_value().is_some_and(|(_, head)| self.is_intact(head)) {
            let (_, head) = self.load(name, None, CALM_PATIENCE).await?;
            ensure!(head.is_success(), "A: the newest version of {name} does not load: {head:?}");
        }
        let mut kept = Vec::new();
        for (version, record) in &segment.versions {
            let intact = self.is_intact(record);
            let patience = if intact { CALM_PATIENCE } else { LOST_PATIENCE };
            let (machine, told) = self.load(name, Some(*version), patience).await?;
            // A load may make a newer version whole, which lets go of this one.
            let now = machine.view().context("it does not run")?.state;
            let still = |segment: &Arc<Segment>| segment.versions.contains_key(version);
            if told == Told::Absent && !now.by_name(name).is_some_and(still) {
                continue;
            }
            kept.push(Kept {
                name: name.clone(),
                version: *version,
                digest: record.digest,
                intact,
                loaded: match told {
                    Told::Loaded { read, .. } => Ok(read),
                    Told::Refused(code) => Err(code),
                    Told::Absent => Err(Code::NotFound),
                    _ => Err(Code::Unavailable),
                },
            });
        }
        Ok(kept)
    }

    /// Whether a machine that runs must have a copy that the cluster counts: no fault took it away.
    fn is_intact(&self, record: &VersionRecord) -> bool {
        record.durable().any(|copy| {
            let name = self.state.members.get(&copy.node).map(|member| &member.profile.name);
            let machine = name.and_then(|name| self.desk.cluster.machine_of(name).ok());
            machine.is_some_and(|machine| !machine.is_lost() && !machine.is_harmed(copy.id))
        })
    }
}

/// A: what clients were told of is there.
fn check_acknowledged(desk: &Desk, state: &State) -> anyhow::Result<()> {
    let history = desk.history.borrow();
    for (name, calls) in history.by_name() {
        let listed = state.by_name(name).map(|segment| Listed {
            segment: segment.id,
            head: segment.head,
            versions: segment.versions.iter().map(|(version, record)| (*version, record.digest)).collect(),
        });
        let (_, wrong) = Expected::of(&calls, &history).due(name, listed.as_ref());
        if let Some(wrong) = wrong.first() {
            bail!("{wrong}");
        }
    }
    Ok(())
}
