//! Members that are removed: in the middle of all faults, and in the end those that will not come back.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use cairn_client::api::Code;
use cairn_store::meta::State;
use cairn_store::node::NodeName;
use tokio::time::{Instant, sleep, timeout};

use super::desk::{Desk, PATIENCE};
use crate::rng::SplitMix;
use crate::world::{Action, Machine};

/// How long somebody goes on with a removal among faults.
const REMOVAL_MAX: Duration = Duration::from_secs(12);
/// How long one that was removed may go on: it may be cut off from all who would tell it.
const PARTING_MAX: Duration = Duration::from_secs(20);
/// How often that is looked at.
const GLANCE: Duration = Duration::from_millis(100);

/// A member, and how it is removed.
pub(super) struct Removal<'a> {
    pub(super) desk: &'a Desk,
    /// Whose node goes.
    pub(super) machine: &'a Machine,
    /// Who is asked for it.
    pub(super) at: &'a Machine,
    /// How long it is emptied before, if it is.
    pub(super) span: Duration,
    pub(super) rng: &'a SplitMix,
}

impl Removal<'_> {
    /// Has it removed, emptied before or not, while somebody asks for the same once more, or for the opposite. Tells whether it came
    /// to that: it may be refused, and it may take too long. Then the machine is another node.
    pub(super) async fn carry_out(self) -> anyhow::Result<bool> {
        let Self { desk, machine, at, span, rng } = self;
        let node = machine.node_name()?;
        let member = at.view().and_then(|view| view.state.node_named(&node).cloned());
        let Some(id) = member.map(|member| member.id) else { return Ok(false) };
        let client = desk.cluster.client_for(&at.name, PATIENCE)?;
        let drain = desk.begin_drain(&node);
        if rng.below(2) == 0 {
            // One that was not answered may be carried out yet; and the removal does it as well.
            let _ = client.drain(&node, true).await;
            sleep(span).await;
        }
        let asked = timeout(REMOVAL_MAX, client.remove_node(id, false));
        let meanwhile = timeout(REMOVAL_MAX, async {
            match rng.below(4) {
                0 => client.remove_node(id, false).await,
                1 => {
                    sleep(span / 4).await;
                    client.drain(&node, false).await
                }
                _ => Ok(()),
            }
        });
        let (asked, meanwhile) = futures::join!(asked, meanwhile);
        tracing::info!(%node, ?asked, ?meanwhile, "a removal among faults ended");
        if !is_removed(desk, machine) {
            // What is on its way may still be carried out.
            sleep(PATIENCE).await;
            let ended = timeout(REMOVAL_MAX, client.drain(&node, false)).await;
            // Whatever was not answered may come yet.
            if asked.is_ok() && meanwhile.is_ok() && matches!(ended, Ok(Ok(()))) {
                desk.end_drain(drain);
            }
        }
        if !is_removed(desk, machine) {
            return Ok(false);
        }
        desk.tally.call("remove a node done".into());
        let give_up = Instant::now() + PARTING_MAX;
        while machine.is_on() && Instant::now() < give_up {
            sleep(GLANCE).await;
        }
        // One that is still cut off has to end once all has healed.
        if !machine.is_on() {
            renew(desk, machine).await;
        }
        Ok(true)
    }
}

/// Whether any node that runs knows that a machine's node was removed.
fn is_removed(desk: &Desk, machine: &Machine) -> bool {
    let knows = |state: State| state.removed.values().any(|life| *life == machine.incarnation());
    desk.cluster.machines().iter().filter_map(|machine| machine.view()).any(|view| knows(view.state))
}

/// A machine that is off gets empty disks, and joins as a new node.
async fn renew(desk: &Desk, machine: &Machine) {
    desk.cluster.act(Action::Wipe(machine.name.clone())).await;
    desk.cluster.start(&[&machine.name]).await;
}

/// Machines whose nodes were removed, and have ended by themselves, go on as others. Who does not end is not whole; but one that
/// was removed before anybody told it of the others has nobody to ask, and is ended by its operator.
pub(super) async fn renew_removed(desk: &Desk) {
    for machine in desk.cluster.machines().iter().filter(|machine| !machine.is_lost()) {
        if (!machine.is_on() || machine.knows_nobody()) && is_removed(desk, machine) {
            desk.cluster.crash(&[&machine.name]).await;
            renew(desk, machine).await;
        }
    }
}

/// Members that are not among these nodes are removed, with the last copies that they had. R14: no such life ever joins again.
pub(super) async fn remove_absent(desk: &Desk, at: &Machine, here: &BTreeSet<NodeName>) -> anyhow::Result<()> {
    let client = desk.cluster.client(&at.name)?;
    let state = at.view().context("it does not run")?.state;
    for member in state.members.values().filter(|member| !here.contains(&member.profile.name)) {
        let name = &member.profile.name;
        desk.begin_drain(name);
        let foretold = client.check_remove_node(name, true).await?;
        ensure!(foretold.refusal.is_none(), "G: {name} cannot be removed: {:?}", foretold.refusal);
        client.remove_node(member.id, true).await.with_context(|| format!("G: {name} is not removed"))?;
        match client.join(member.incarnation, member.profile.clone()).await {
            Err(error) if error.code == Code::Conflict => {}
            other => bail!("I: {name} was removed, and asked to join again: {other:?}"),
        }
        desk.tally.call("remove a node done".into());
    }
    let view = at.view().context("it does not run")?;
    let voting: Vec<_> = view.membership.membership().nodes().map(|(id, _)| *id).collect();
    let members: Vec<_> = view.state.members.keys().map(|id| id.0).collect();
    ensure!(voting == members, "G: Raft counts on {voting:?}, and members are {members:?}");
    Ok(())
}
