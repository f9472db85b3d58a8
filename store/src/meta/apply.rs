//! Applying an entry: one function a command. Each checks everything first and changes the state last.

mod archive;
mod copy;
mod member;
mod owner;
mod pin;
mod request;
mod restore;
mod version;

use crate::meta::apply::archive::Filing;
use crate::meta::apply::owner::Seen;
use crate::meta::command::{Command, Entry, Rejection, Reply};
use crate::meta::state::State;
use crate::time::WallTime;

/// Where an entry stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The term of the leader that appended it.
    pub term: u64,
    /// Its index.
    pub index: u64,
}

impl State {
    /// Applies one committed entry. Deterministic; never fails otherwise than by its reply.
    pub fn apply(&mut self, at: Position, entry: &Entry) -> Reply {
        self.revision = at.index;
        // A stamp counts only in the term in which it was made: a deposed leader's clock must not rule (R4).
        if entry.stamp.term == at.term {
            self.time = self.time.max(entry.stamp.clock);
        }
        self.forget();
        match request::of(&entry.command) {
            None => self.execute(&entry.command, entry.at),
            Some(request) => {
                let fingerprint = request::fingerprint(&entry.command);
                self.answer_once(request, fingerprint, |state| state.execute(&entry.command, entry.at))
            }
        }
    }

    /// An entry of Raft's own went by: a blank, or a membership.
    pub fn skip(&mut self, at: Position) {
        self.revision = at.index;
    }

    fn execute(&mut self, command: &Command, now: WallTime) -> Reply {
        if self.cluster.is_none() && !matches!(command, Command::Found { .. } | Command::Tick) {
            return Err(Rejection::NotFounded);
        }
        match command {
            Command::Tick => Ok(crate::meta::Outcome::Done),
            Command::Found { cluster, incarnation, profile } => self.found(*cluster, *incarnation, profile),
            Command::Join { incarnation, profile } => self.join(*incarnation, profile),
            Command::Describe { node, incarnation, profile } => self.describe(*node, *incarnation, profile),
            Command::Mark { node, up } => self.mark(*node, *up),
            Command::Drain { node, draining } => self.drain(*node, *draining),
            Command::Register { request, name, segment, owner, kind } => {
                self.register(request, name, *segment, *owner, *kind, now)
            }
            Command::Commit { request, commit } => self.commit(request, commit, Filing::default(), now),
            Command::Save { request, commit, policy, object } => {
                self.commit(request, commit, Filing { policy: *policy, object: *object }, now)
            }
            Command::Confirm { segment, version, digest, receipt } => {
                self.confirm(*segment, *version, *digest, receipt)
            }
            Command::Lose { segment, version, copy, finding } => self.lose(*segment, *version, *copy, *finding),
            Command::Claim { request, segment, epoch, head, node } => {
                self.claim(request, Seen { segment: *segment, epoch: *epoch, head: *head }, *node, None, now)
            }
            Command::Lease { request, segment, epoch, head, node, span } => {
                self.claim(request, Seen { segment: *segment, epoch: *epoch, head: *head }, *node, Some(*span), now)
            }
            Command::Renew { segment, epoch, .. } => self.renew(*segment, *epoch),
            Command::Lapse { segment } => self.lapse(*segment),
            Command::Release { segment, epoch, .. } => self.release(*segment, *epoch, now),
            Command::Unregister { segment, scope, .. } => self.unregister(*segment, *scope),
            Command::Expire { segment } => self.expire(*segment),
            Command::Pin { segment, version, .. } => self.pin(*segment, *version),
            Command::Unpin { segment, version, .. } => self.unpin(*segment, *version),
            Command::Retire { segment, version, copy, stay } => self.retire(*segment, *version, *copy, stay),
            Command::Disown { segment, node } => self.disown(*segment, *node, now),
            Command::Abandon { segment, version, copy, force } => self.abandon(*segment, *version, *copy, *force),
            Command::Remove { node, incarnation } => self.remove(*node, *incarnation),
            Command::Restore { source, ancestors, floor } => self.restore(*source, ancestors, *floor),
            Command::Readmit { source, segments } => self.readmit(*source, segments),
            Command::Restored { source } => self.restored(*source),
            Command::Resume => self.resume(),
            Command::Reach { node, incarnation, reach } => self.reach(*node, *incarnation, *reach),
            Command::Deposited { segment, version, digest, receipt } => {
                self.deposited(*segment, *version, *digest, receipt)
            }
            Command::LoseObject { segment, version, object, finding } => {
                self.lose_object(*segment, *version, *object, *finding)
            }
            Command::Refile { source, archives } => self.refile(*source, archives),
        }
    }
}
