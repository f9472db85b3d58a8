//! What became of a request before: a retry gets the same answer (R6), and a refusal is the last word.

use cairn_client::api::{Code, Error, Replica, Saved};
use cairn_store::archive::Object;
use cairn_store::digest::Digest;
use cairn_store::id::{NodeId, SegmentId};
use cairn_store::meta::{Command, Commit, Outcome, Rejection, State};
use cairn_store::segment::{Ack, Epoch, Segment, Version};
use uuid::Uuid;

use super::{Save, WAIT_MAX, until};

impl Save {
    /// The result of this request if it was committed, whichever node did it and whatever became of the version since.
    pub(super) fn committed(&self, state: &State) -> Option<Saved> {
        let commit = self.step("commit");
        let name_of = |node: NodeId| state.members.get(&node).map(|m| m.profile.name.clone());
        let listed = state.by_name(&self.request.name).and_then(|segment| self.listed(state, segment));
        listed.or_else(|| match state.answer(commit)? {
            Ok(Outcome::Committed { segment, version, epoch, digest, size }) => Some(Saved {
                name: self.request.name.clone(),
                segment: *segment,
                kind: self.request.kind,
                version: *version,
                epoch: *epoch,
                size: *size,
                digest: *digest,
                // Another node may have been asked before, at the same address, and be removed by now.
                owner: state.committer(commit).and_then(name_of),
                replicas: Vec::new(),
                ack: self.request.ack,
                bytes_sent: 0,
                archived: is_published(state, *segment, *version),
            }),
            _ => None,
        })
    }

    /// The refusal of an earlier try: nothing is moved again for what would be refused again.
    pub(super) fn refused(&self, state: &State) -> Option<Error> {
        let name = &self.request.name;
        match state.answer(self.step("commit"))?.as_ref().err()? {
            // What `rule_out` leaves, and why it was refused is not known any more; or its node was removed meanwhile, which
            // may have been another one at this address. Not as if the name were not there.
            Rejection::NoSuchSegment | Rejection::NoSuchNode(_) => {
                let message = format!("a save of {name} with this request id was refused before");
                Some(Error::new(Code::Conflict, message).hint("save with a new request id"))
            }
            rejection => self.core.answer(name, Err(rejection.clone())).err(),
        }
    }

    fn listed(&self, state: &State, segment: &Segment) -> Option<Saved> {
        let commit = self.step("commit");
        let (version, record) = segment.versions.iter().find(|(_, v)| v.request == commit)?;
        let name_of = |node: NodeId| state.members.get(&node).map(|m| m.profile.name.clone());
        let others = record.copies.iter().filter(|c| c.node != record.owner);
        Some(Saved {
            name: segment.name.clone(),
            segment: segment.id,
            kind: segment.kind,
            version: *version,
            epoch: record.epoch,
            size: record.size,
            digest: record.digest,
            owner: name_of(record.owner),
            replicas: others.filter_map(|c| Some(Replica { node: name_of(c.node)?, state: c.state })).collect(),
            ack: self.request.ack,
            bytes_sent: 0,
            archived: is_published(state, segment.id, *version),
        })
    }

    /// This request was refused for good, so it must not be committed later: the commit of an earlier try may still be
    /// on its way to the log.
    ///
    /// A commit of no copies takes the place of its answer: it is refused, and refusals are remembered. If the other
    /// one came first, that is the result.
    pub(super) async fn rule_out(&self, error: Error) -> Result<Saved, Error> {
        let (core, deadline) = (&self.core, self.deadline());
        let nothing = Commit {
            segment: SegmentId(Uuid::nil()),
            owner: core.me(),
            epoch: Epoch::default(),
            after: Version::NONE,
            size: 0,
            digest: Digest::of(&[]),
            receipts: Vec::new(),
            wanted: 0,
            ack: Ack::All,
            keep: 1,
            labels: Default::default(),
        };
        // An earlier try may have waited longer than this one: its commit must not outlive what takes its place.
        let request = until(core, self.step("commit"), deadline + WAIT_MAX);
        let ruled_out = core.propose(Command::Commit { request, commit: nothing }, deadline).await;
        match ruled_out {
            // Refused as it should be, or there is an answer of an earlier try.
            Ok(Ok(_) | Err(Rejection::NoSuchSegment | Rejection::RequestMismatch)) => match core.read(deadline).await
            {
                Ok(view) => self.committed(&view.state).ok_or(error),
                Err(_) => Err(error.unknown()),
            },
            // Nothing is remembered of it.
            Ok(Err(_)) | Err(_) => Err(error.unknown()),
        }
    }
}

fn is_published(state: &State, segment: SegmentId, version: Version) -> bool {
    state.object_of(segment, version).is_some_and(Object::is_whole)
}
