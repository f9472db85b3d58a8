//! Ownership without bytes, pins, and removal.

use std::time::Duration;

use cairn_client::api::{
    ClaimRequest, Claimed, Code, Error, PinRequest, ReleaseRequest, RemoveRequest, UnpinRequest,
};
use cairn_store::crash_point;
use cairn_store::id::{RequestId, SegmentId};
use cairn_store::meta::{Command, Outcome, Rejection, Reply, Request, Scope};
use cairn_store::name::Name;
use cairn_store::node::Role;
use cairn_store::segment::Version;

use super::Service;
use super::answer::{no_such_name, no_such_node, unexpected};
use super::save::until;
use crate::raft::rpc::BareClaim;

impl Service {
    pub(super) async fn claim_here(&self, request: ClaimRequest) -> Result<Claimed, Error> {
        let (core, name) = (&self.core, &request.name);
        if core.profile.role == Role::Storage {
            let message = format!("{} is a storage-only node: it owns nothing", core.profile.name);
            return Err(
                Error::new(Code::Conflict, message).hint("claim through an executor node; see `cairn node ls`")
            );
        }
        let deadline = self.deadline(request.wait);
        let step = |what| until(core, request.request.step(what), deadline);
        // What a leader has applied is nearly always the newest, and a claim on anything older is refused: so one round
        // is enough.
        crash_point!("claim.begin");
        let claim = BareClaim { request: step("claim"), name: name.clone(), node: core.me() };
        if let Some(reply) = core.claim(claim, deadline).await?
            && !reply.as_ref().is_err_and(outdated)
        {
            return self.claimed(name, reply);
        }
        let state = core.read(deadline).await?.state;
        let segment = state.by_name(name).ok_or_else(|| no_such_name(name))?;
        let (epoch, head) = (segment.epoch, segment.head);
        // The answer to the first step is remembered, refusals too.
        let request = step("claim what was read");
        let command = Command::Claim { request, segment: segment.id, epoch, head, node: core.me() };
        self.claimed(name, core.propose(command, deadline).await?)
    }

    fn claimed(&self, name: &Name, reply: Reply) -> Result<Claimed, Error> {
        crash_point!("claim.done");
        match self.core.answer(name, reply)? {
            Outcome::Claimed { epoch, head } => {
                let head = Some(head).filter(|head| *head != Version::NONE);
                Ok(Claimed { name: name.clone(), owner: self.core.profile.name.clone(), epoch, head })
            }
            other => Err(unexpected(&other)),
        }
    }

    pub(super) async fn release_segment(&self, request: ReleaseRequest) -> Result<(), Error> {
        let ReleaseRequest { request: id, wait, name, epoch } = request;
        let release = |request, segment| Command::Release { request, segment, epoch };
        self.change(&name, id.step("release"), wait, release).await
    }

    pub(super) async fn remove_segment(&self, request: RemoveRequest) -> Result<(), Error> {
        let (core, name) = (&self.core, &request.name);
        let deadline = self.deadline(request.wait);
        let state = core.read(deadline).await?.state;
        let step = until(core, request.request.step("remove"), deadline);
        let Some(segment) = state.by_name(name) else {
            // A retry whose first try was applied finds nothing, and is done.
            return match state.answer(step.id) {
                Some(Ok(_)) => Ok(()),
                _ => Err(no_such_name(name)),
            };
        };
        let scope = request.version.map_or(Scope::Segment, Scope::Version);
        if request.dry_run {
            let foretold = state.can_unregister(segment.id, scope);
            return core.answer(name, foretold.map(|()| Outcome::Done)).map(drop);
        }
        let command = Command::Unregister { request: step, segment: segment.id, scope };
        core.answer(name, core.propose(command, deadline).await?).map(drop)
    }

    pub(super) async fn pin_version(&self, request: PinRequest) -> Result<(), Error> {
        let PinRequest { request: id, wait, name, version } = request;
        self.change(&name, id.step("pin"), wait, |request, segment| Command::Pin { request, segment, version }).await
    }

    pub(super) async fn unpin_versions(&self, request: UnpinRequest) -> Result<(), Error> {
        let UnpinRequest { request: id, wait, name, version } = request;
        let unpin = |request, segment| Command::Unpin { request, segment, version };
        self.change(&name, id.step("unpin"), wait, unpin).await
    }

    /// Looks a name up, and has the cluster apply a command about its segment.
    async fn change(
        &self,
        name: &Name,
        step: RequestId,
        wait: Duration,
        command: impl FnOnce(Request, SegmentId) -> Command,
    ) -> Result<(), Error> {
        let (core, deadline) = (&self.core, self.deadline(wait));
        let state = core.read(deadline).await?.state;
        let segment = state.by_name(name).ok_or_else(|| no_such_name(name))?.id;
        let command = command(until(core, step, deadline), segment);
        core.answer(name, core.propose(command, deadline).await?).map(drop)
    }

    pub(super) async fn drain_node(
        &self,
        node: cairn_store::node::NodeName,
        draining: bool,
        wait: Duration,
    ) -> Result<(), Error> {
        let deadline = self.deadline(wait);
        let state = self.core.read(deadline).await?.state;
        let member = state.node_named(&node).ok_or_else(|| no_such_node(&node))?;
        let command = Command::Drain { node: member.id, draining };
        let reply = self.core.propose(command, deadline).await?;
        reply.map(drop).map_err(|rejection| Error::new(Code::Conflict, rejection.to_string()))
    }
}

/// Whether a command was refused because what it was made of is not the newest any more.
fn outdated(rejection: &Rejection) -> bool {
    // The last: an earlier try meant a registration that is gone.
    matches!(
        rejection,
        Rejection::StaleEpoch { .. }
            | Rejection::HeadMoved { .. }
            | Rejection::NoSuchSegment
            | Rejection::RequestMismatch
    )
}
