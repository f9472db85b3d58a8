//! Members: who belongs to the cluster.

use std::sync::Arc;

use crate::id::{ClusterId, Incarnation, NodeId};
use crate::meta::command::{Outcome, Rejection, Reply};
use crate::meta::state::{NODES_MAX, REMOVED_MAX, State};
use crate::node::{Member, PROFILE_TEXT_BYTES_MAX, Profile};

impl State {
    pub(super) fn found(&mut self, cluster: ClusterId, incarnation: Incarnation, profile: &Profile) -> Reply {
        match self.cluster {
            None => {
                self.cluster = Some(cluster);
                self.next_node = 1;
                self.join(incarnation, profile)
            }
            // The founder may crash and ask again.
            Some(known) if known == cluster => self.join(incarnation, profile),
            Some(_) => Err(Rejection::AlreadyFounded),
        }
    }

    pub(super) fn join(&mut self, incarnation: Incarnation, profile: &Profile) -> Reply {
        let cluster = self.cluster.ok_or(Rejection::NotFounded)?;
        if let Some(member) = self.members.values().find(|m| m.incarnation == incarnation) {
            return Ok(Outcome::Joined { node: member.id, cluster });
        }
        // Its folder says that it is the node that was removed.
        if let Some((node, _)) = self.removed.iter().find(|(_, life)| **life == incarnation) {
            return Err(Rejection::NodeRemoved(*node));
        }
        self.check_profile(profile, None)?;
        if self.members.len() >= NODES_MAX as usize {
            return Err(Rejection::TooManyNodes(NODES_MAX));
        }
        let id = NodeId(self.next_node);
        self.next_node += 1;
        // Down until the leader hears it: a node that has joined and was never started gets no copies.
        let first = id == NodeId(1);
        if !first {
            self.down.insert(id, self.time);
        }
        let member = Member { id, incarnation, profile: profile.clone(), up: first, draining: false };
        self.members.insert(id, Arc::new(member));
        Ok(Outcome::Joined { node: id, cluster })
    }

    pub(super) fn describe(&mut self, node: NodeId, incarnation: Incarnation, profile: &Profile) -> Reply {
        let member = self.member(node)?;
        if member.incarnation != incarnation {
            return Err(Rejection::NoSuchNode(node));
        }
        if member.profile.role != profile.role {
            return Err(Rejection::OutOfBounds("a change of a member's role".into()));
        }
        self.check_profile(profile, Some(node))?;
        self.change_member(node, |member| member.profile = profile.clone())
    }

    pub(super) fn mark(&mut self, node: NodeId, up: bool) -> Reply {
        self.change_member(node, |member| member.up = up)?;
        if up {
            self.down.remove(&node);
        } else if !self.down.contains_key(&node) {
            self.down.insert(node, self.time);
        }
        Ok(Outcome::Done)
    }

    /// What this state would be if a member were being emptied from now on.
    ///
    /// # Errors
    /// As the command would be refused.
    pub fn foretell_drain(&self, node: NodeId) -> Result<Self, Rejection> {
        let mut state = self.clone();
        state.drain(node, true)?;
        Ok(state)
    }

    /// What this state would be if these members were marked down.
    pub fn foretell_down(&self, nodes: impl IntoIterator<Item = NodeId>) -> Self {
        let mut state = self.clone();
        for node in nodes {
            // Of who is no member nothing is foretold.
            let _ = state.mark(node, false);
        }
        state
    }

    pub(super) fn drain(&mut self, node: NodeId, draining: bool) -> Reply {
        self.member(node)?;
        // What it brought along may not be known yet; nor would its copies be made again elsewhere.
        if draining && self.is_recovering() {
            return Err(Rejection::Recovering);
        }
        // Copies must have somewhere to go.
        if draining && !self.members.values().any(|m| m.id != node && !m.draining) {
            return Err(Rejection::LastNode);
        }
        self.change_member(node, |member| member.draining = draining)
    }

    /// Whoever is empty has nothing that could be the last of its kind: so a removal loses nothing, whatever was known
    /// when it was asked for. And somebody stays: the last node is never emptied.
    pub(super) fn remove(&mut self, node: NodeId, incarnation: Incarnation) -> Reply {
        if self.removed.get(&node) == Some(&incarnation) {
            return Ok(Outcome::Done);
        }
        let member = self.member(node)?;
        if member.incarnation != incarnation {
            return Err(Rejection::NoSuchNode(node));
        }
        if !member.draining {
            return Err(Rejection::NotDraining(node));
        }
        let copies = self.usage_of(node).copies;
        let owned = u64::try_from(self.owned_by(node).count()).unwrap_or(u64::MAX);
        if (copies, owned) != (0, 0) {
            return Err(Rejection::NotEmptied { copies, owned });
        }
        self.members.remove(&node);
        self.down.remove(&node);
        self.tiers.remove(&node);
        self.removed.insert(node, incarnation);
        if self.removed.len() > REMOVED_MAX
            && let Some(first) = self.removed.keys().next().copied()
        {
            self.removed.remove(&first);
        }
        Ok(Outcome::Done)
    }

    fn change_member(&mut self, node: NodeId, change: impl FnOnce(&mut Member)) -> Reply {
        let mut member = Member::clone(self.member(node)?);
        change(&mut member);
        self.members.insert(node, Arc::new(member));
        Ok(Outcome::Done)
    }

    pub(super) fn member(&self, node: NodeId) -> Result<&Arc<Member>, Rejection> {
        self.members.get(&node).ok_or(Rejection::NoSuchNode(node))
    }

    fn check_profile(&self, profile: &Profile, except: Option<NodeId>) -> Result<(), Rejection> {
        let texts = [&profile.zone, &profile.rpc, &profile.data, &profile.http];
        if texts.iter().any(|text| text.len() > PROFILE_TEXT_BYTES_MAX) {
            return Err(Rejection::OutOfBounds("the length of a zone or an address".into()));
        }
        let taken = |m: &&Arc<Member>| m.profile.name == profile.name && Some(m.id) != except;
        match self.members.values().find(taken) {
            Some(_) => Err(Rejection::NodeNameTaken(profile.name.to_string())),
            None => Ok(()),
        }
    }
}
