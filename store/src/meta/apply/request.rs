//! Requests of clients: each is applied once, and answered the same whenever it comes again (R6).

use crate::digest::Digest;
use crate::id::{NodeId, RequestId, SegmentId};
use crate::meta::command::{Command, Outcome, Rejection, Reply, Request};
use crate::meta::state::{Answer, Phase, REQUEST_WINDOW_MAX, REQUESTS_MAX, State};

/// The request of a client's command; none for the commands of workers, which are idempotent by themselves.
pub(super) fn of(command: &Command) -> Option<Request> {
    match command {
        Command::Register { request, .. }
        | Command::Commit { request, .. }
        | Command::Save { request, .. }
        | Command::Claim { request, .. }
        | Command::Lease { request, .. }
        | Command::Renew { request, .. }
        | Command::Release { request, .. }
        | Command::Unregister { request, .. }
        | Command::Pin { request, .. }
        | Command::Unpin { request, .. } => Some(*request),
        Command::Tick
        | Command::Found { .. }
        | Command::Join { .. }
        | Command::Describe { .. }
        | Command::Mark { .. }
        | Command::Drain { .. }
        | Command::Confirm { .. }
        | Command::Lose { .. }
        | Command::Expire { .. }
        | Command::Retire { .. }
        | Command::Disown { .. }
        | Command::Abandon { .. }
        | Command::Remove { .. }
        | Command::Restore { .. }
        | Command::Readmit { .. }
        | Command::Restored { .. }
        | Command::Resume
        | Command::Lapse { .. }
        | Command::Reach { .. }
        | Command::Deposited { .. }
        | Command::LoseObject { .. }
        | Command::Refile { .. } => None,
    }
}

/// What was asked, without what a retry plans anew: ids of segments and copies that were made for this attempt.
pub(super) fn fingerprint(command: &Command) -> u64 {
    let text = match command {
        Command::Register { name, owner, kind, .. } => format!("register {name} {owner} {kind:?}"),
        // The same save may be tried again when a node reaches the tier that did not before.
        Command::Commit { commit, .. } | Command::Save { commit, .. } => {
            commit_text(commit.segment, commit.owner, commit.digest, commit.size)
        }
        // A claim is tried again with the head and the epoch that were seen then.
        Command::Claim { segment, node, .. } => format!("claim {segment} {node}"),
        Command::Lease { segment, node, span, .. } => format!("lease {segment} {node} {span:?}"),
        Command::Renew { segment, epoch, .. } => format!("renew {segment} {epoch}"),
        Command::Release { segment, epoch, .. } => format!("release {segment} {epoch}"),
        Command::Unregister { segment, scope, .. } => format!("unregister {segment} {scope:?}"),
        Command::Pin { segment, version, .. } => format!("pin {segment} {version}"),
        Command::Unpin { segment, version, .. } => format!("unpin {segment} {version:?}"),
        _ => return 0,
    };
    short_hash(&text)
}

fn commit_text(segment: SegmentId, owner: NodeId, digest: Digest, size: u64) -> String {
    format!("commit {segment} {owner} {digest} {size}")
}

fn short_hash(text: &str) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(text.as_bytes()).as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

impl State {
    pub(super) fn answer_once(
        &mut self,
        request: Request,
        fingerprint: u64,
        execute: impl FnOnce(&mut Self) -> Reply,
    ) -> Reply {
        let Request { id, until } = request;
        if let Some(answer) = self.answers.get(&id) {
            return if answer.fingerprint == fingerprint {
                answer.reply.clone()
            } else {
                Err(Rejection::RequestMismatch)
            };
        }
        if until < self.time {
            return Err(Rejection::RequestExpired);
        }
        if until > self.time.after(REQUEST_WINDOW_MAX) {
            return Err(Rejection::OutOfBounds("the request's time".into()));
        }
        if self.answers.len() >= REQUESTS_MAX {
            return Err(Rejection::RequestsFull);
        }
        // Neither is remembered: it passes, and the same request may come again.
        if self.cluster.is_none() {
            return Err(Rejection::NotFounded);
        }
        // What is taken over must not be changed before all of it is in, and a name may be among what is still to come.
        if self.phase() == Some(Phase::Loading) {
            return Err(Rejection::Restoring);
        }
        let reply = execute(self);
        self.remember_answer(id, Answer { until, fingerprint, reply: reply.clone() });
        reply
    }

    /// Who committed, by the remembered answer to a commit: its fingerprint is of one owner.
    pub fn committer(&self, id: RequestId) -> Option<NodeId> {
        let answer = self.answers.get(&id)?;
        let Ok(Outcome::Committed { segment, digest, size, .. }) = answer.reply else { return None };
        let by = |node: &NodeId| short_hash(&commit_text(segment, *node, digest, size)) == answer.fingerprint;
        self.members.keys().copied().find(by)
    }

    /// The answer that is remembered for a request, if its time is not over.
    pub fn answer(&self, id: RequestId) -> Option<&Reply> {
        self.answers.get(&id).map(|answer| &answer.reply)
    }
}
