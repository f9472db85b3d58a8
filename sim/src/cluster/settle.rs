//! The beginning and the end of every scenario: a cluster that is whole.

use std::collections::BTreeSet;

use anyhow::{Context as _, bail, ensure};
use cairn_store::digest::Digest;
use cairn_store::disk::Disk as _;
use cairn_store::node::Role;
use cairn_store::plan::voters::VOTERS_MAX;
use cairn_store::segment::CopyState;

use super::Cluster;
use crate::invariants::archived;

impl Cluster {
    /// Waits until every machine that is on is a member and up, voters vote, and all see the same leader.
    pub async fn ready(&self) -> anyhow::Result<()> {
        let machines: Vec<_> = self.machines.iter().filter(|machine| machine.is_on()).collect();
        let all = machines.len();
        let odd = if all % 2 == 1 { all } else { all.saturating_sub(1) };
        let voters = odd.clamp(1, VOTERS_MAX);
        self.until("a whole cluster", || {
            let leaders: BTreeSet<Option<String>> = machines.iter().map(|m| m.leader()).collect();
            let same = leaders.len() == 1 && leaders.iter().all(Option::is_some);
            let whole = |m: &&std::rc::Rc<super::Machine>| {
                let Some(view) = m.view() else { return false };
                let members = &view.state.members;
                let up = members.len() == all && members.values().all(|m| m.up);
                up && view.membership.voter_ids().count() == voters
            };
            (same && machines.iter().all(whole)).then_some(())
        })
        .await
    }

    /// Ends all faults, waits until the cluster is whole again, and checks every promise: each name loads bit for
    /// bit on some executor, each copy that the cluster counts as durable lies on its disk and is right, and so does each
    /// object in the global tier.
    pub async fn settle(&self) -> anyhow::Result<()> {
        self.heal().await;
        self.objects.mend();
        let off: Vec<&str> = self.machines.iter().filter(|m| !m.is_on()).map(|m| m.name.as_str()).collect();
        self.start(&off).await;
        self.ready().await?;
        let names = self.promises.borrow().names();
        for name in names {
            let executors = self.executors_without(&[]);
            let node = executors.get(self.rng.index(executors.len())).context("no executor")?;
            self.load(node, name.as_str(), false).await?;
        }
        self.until("the same state everywhere", || {
            let revisions: BTreeSet<Option<u64>> =
                self.machines.iter().map(|m| m.view().map(|view| view.state.revision)).collect();
            (revisions.len() == 1).then_some(())
        })
        .await?;
        self.check_copies()?;
        self.check_objects()
    }

    fn check_objects(&self) -> anyhow::Result<()> {
        let state = self.machines.first().and_then(|m| m.view()).context("no node runs")?.state;
        let archives = state.archives.iter().map(|(id, archive)| (*id, &**archive));
        let (read, harmed) = (|key: &str| self.objects.bytes(key), |key: &str| self.objects.is_harmed(key));
        match archived::violations(&state, archives, read, harmed).first() {
            Some(wrong) => bail!("{wrong}"),
            None => Ok(()),
        }
    }

    fn check_copies(&self) -> anyhow::Result<()> {
        let view = self.machines.first().and_then(|m| m.view()).context("no node runs")?;
        for segment in view.state.segments.values() {
            for (version, record) in &segment.versions {
                for copy in record.copies.iter().filter(|c| c.state == CopyState::Durable) {
                    let member = view.state.members.get(&copy.node).context("a copy on a stranger")?;
                    let disk = &self.machine_of(&member.profile.name)?.disk;
                    let what = || format!("version {version} of {} on {}", segment.name, member.profile.name);
                    disk.read_toc(copy.id).with_context(what)?;
                    let bytes = disk.read(&disk.path(copy.id)).with_context(what)?;
                    ensure!(Digest::of(&bytes) == record.digest, "{}: its bytes are wrong", what());
                }
            }
        }
        // A storage-only node owns nothing.
        let storage = |m: &std::sync::Arc<cairn_store::node::Member>| m.profile.role == Role::Storage;
        let owner = |id| view.state.members.get(&id).is_some_and(storage);
        ensure!(!view.state.segments.values().any(|s| s.owner.is_some_and(owner)), "a storage-only node owns");
        Ok(())
    }
}
