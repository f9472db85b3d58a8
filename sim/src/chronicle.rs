//! What the cluster committed, change by change, put together from what every node tells its watchers.
//!
//! Nodes apply the same entries in the same order, so each change has one place, its revision; two nodes that tell it
//! differently have diverged. What is committed is known here in the very step in which the first node applied it.

use std::collections::BTreeMap;
use std::sync::Arc;

use cairn_node::raft::View;
use cairn_store::digest::Digest;
use cairn_store::id::NodeId;
use cairn_store::meta::{Change, Event};
use cairn_store::name::Name;
use cairn_store::node::NodeName;
use cairn_store::segment::{Epoch, Version, VersionRecord};

/// Which version of which registration: no epoch of a name is used twice.
type Key = (Name, Epoch, Version);

/// Everything that was committed.
#[derive(Debug, Default)]
pub struct Chronicle {
    events: BTreeMap<u64, Arc<[Event]>>,
    /// The newest revision that any node has applied.
    newest: u64,
    versions: BTreeMap<Key, Arc<VersionRecord>>,
    nodes: BTreeMap<NodeId, NodeName>,
}

impl Chronicle {
    /// Takes in what a node has applied since revision `seen`; tells the versions that are new.
    ///
    /// # Errors
    /// Another node told a change differently, or nobody told some of them.
    pub fn take(&mut self, node: &NodeName, view: &View, seen: u64) -> anyhow::Result<Vec<Key>> {
        let state = &view.state;
        for (id, member) in &state.members {
            self.nodes.entry(*id).or_insert_with(|| member.profile.name.clone());
        }
        let mut new = Vec::new();
        // Who comes from a snapshot tells no changes; those were told by others, who had applied them before.
        for entry in view.history.since(seen + 1).into_iter().flatten() {
            let Some(revision) = entry.first().map(|event| event.revision) else { continue };
            match self.events.get(&revision) {
                Some(known) if known == entry => {}
                Some(known) => anyhow::bail!("at revision {revision} {node} changed {entry:?}, and others {known:?}"),
                None => {
                    let versions = entry.iter().filter(|event| event.change == Change::Version);
                    new.extend(versions.filter_map(|event| Some((event.name.clone(), event.epoch, event.version?))));
                    self.events.insert(revision, entry.clone());
                }
            }
        }
        if view.history.since(seen + 1).is_none() && state.revision > self.newest {
            anyhow::bail!(
                "{node} is at revision {}, and nobody told what came after {}",
                state.revision,
                self.newest
            );
        }
        self.newest = self.newest.max(state.revision);
        // In the step in which it came to be, a version is rarely gone again.
        for key in &new {
            let (name, epoch, version) = key;
            let record = state.by_name(name).and_then(|segment| segment.versions.get(version));
            if let Some(record) = record.filter(|record| record.epoch == *epoch) {
                self.versions.insert(key.clone(), record.clone());
            }
        }
        Ok(new)
    }

    /// The newest revision that any node has applied.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// Every change, in order.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.values().flat_map(|entry| entry.iter())
    }

    /// A version as it was committed; none if it was gone before anybody looked.
    pub fn version(&self, name: &Name, epoch: Epoch, version: Version) -> Option<&Arc<VersionRecord>> {
        self.versions.get(&(name.clone(), epoch, version))
    }

    /// The digest of everything that was ever committed, and when.
    pub fn committed(&self) -> BTreeMap<Digest, u64> {
        let versions = self.events().filter(|event| event.change == Change::Version);
        let digest = |event: &Event| {
            let record = self.version(&event.name, event.epoch, event.version?)?;
            Some((record.digest, event.revision))
        };
        versions.filter_map(digest).collect()
    }

    /// A node's name.
    pub fn name_of(&self, node: NodeId) -> Option<&NodeName> {
        self.nodes.get(&node)
    }
}
