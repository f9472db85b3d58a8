//! Ownership without bytes, pins, and removal of segments.

use std::time::Duration;

use cairn_client::api::{
    ClaimRequest, Claimed, Code, Error, PinRequest, ReleaseRequest, RemoveRequest, RenewRequest, UnpinRequest,
};
use cairn_store::crash_point;
use cairn_store::id::{NodeId, RequestId, SegmentId};
use cairn_store::meta::{Command, Outcome, Rejection, Reply, Request, Scope, State};
use cairn_store::name::Name;
use cairn_store::node::Role;
use cairn_store::segment::{Epoch, Kind, Segment, Version};

use super::Service;
use super::answer::{no_such_name, unexpected};
use super::save::until;

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
        // On another node it is another claim: at an address there may be another node by now.
        let step = |what: &str| until(core, request.request.step(&format!("{what} {name} {}", core.me())), deadline);
        let claim = |request_of_step, segment: &Segment| {
            let epoch = request.if_epoch.unwrap_or(segment.epoch);
            claim_of(request_of_step, segment, epoch, core.me(), request.lease)
        };
        let (first, second) = (step("claim"), step("claim what was read"));
        // What this node has applied is nearly always the newest, and a claim on anything older is refused: so one round
        // is enough.
        crash_point!("claim.begin");
        if let Some(segment) = core.now().state.by_name(name) {
            let reply = core.propose_and_see(claim(first, segment), deadline).await?;
            if !reply.as_ref().is_err_and(outdated) {
                return self.claimed(name, reply);
            }
        }
        let state = core.read(deadline).await?.state;
        // The answer to the first step is remembered, refusals too; and an earlier try may have done either.
        let answers = [second.id, first.id].map(|step| state.answer(step));
        if let Some(reply) = answers.into_iter().flatten().find(|reply| !reply.as_ref().is_err_and(outdated)) {
            return self.claimed(name, reply.clone());
        }
        let state = match request.create {
            Some(kind) if state.by_name(name).is_none() => self.register(&request, kind, deadline).await?,
            _ => state,
        };
        let segment = state.by_name(name).ok_or_else(|| no_such_name(name))?;
        // Only what was refused is asked under another id: else a retry would take the first step, and claim once more.
        if state.answer(first.id).is_none() {
            let reply = core.propose_and_see(claim(first, segment), deadline).await?;
            if !reply.as_ref().is_err_and(outdated) {
                return self.claimed(name, reply);
            }
        }
        // The second step is the last word: a retry comes to it too.
        let state = core.read(deadline).await?.state;
        let segment = state.by_name(name).ok_or_else(|| no_such_name(name))?;
        self.claimed(name, core.propose_and_see(claim(second, segment), deadline).await?)
    }

    /// Takes a name that has no version, to be claimed at once; or sees that somebody else has taken it.
    async fn register(&self, request: &ClaimRequest, kind: Kind, deadline: Duration) -> Result<State, Error> {
        let (core, name) = (&self.core, &request.name);
        let command = Command::Register {
            request: until(core, request.request.step(&format!("register {name} {}", core.me())), deadline),
            name: name.clone(),
            segment: SegmentId(core.env.uuid()),
            owner: core.me(),
            kind,
        };
        match core.propose_and_see(command, deadline).await? {
            Err(Rejection::NameTaken { .. }) => {}
            reply => {
                core.answer(name, reply)?;
            }
        }
        Ok(core.read(deadline).await?.state)
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

    pub(super) async fn renew_lease(&self, request: RenewRequest) -> Result<Duration, Error> {
        let RenewRequest { request: id, wait, name, epoch } = request;
        let what = format!("renew {epoch}");
        let renew = |request, segment| Command::Renew { request, segment, epoch };
        match self.change(&name, id, &what, wait, renew).await? {
            Outcome::Renewed { span } => Ok(span),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) async fn release_segment(&self, request: ReleaseRequest) -> Result<(), Error> {
        let ReleaseRequest { request: id, wait, name, epoch } = request;
        let what = format!("release {epoch}");
        self.change(&name, id, &what, wait, |request, segment| Command::Release { request, segment, epoch })
            .await
            .map(drop)
    }

    pub(super) async fn remove_segment(&self, request: RemoveRequest) -> Result<(), Error> {
        let RemoveRequest { request: id, wait, name, version, dry_run } = request;
        let scope = version.map_or(Scope::Segment, Scope::Version);
        if dry_run {
            let state = self.core.read(self.deadline(wait)).await?.state;
            let segment = state.by_name(&name).ok_or_else(|| no_such_name(&name))?;
            let foretold = state.can_unregister(segment.id, scope);
            return self.core.answer(&name, foretold.map(|()| Outcome::Done)).map(drop);
        }
        let what = format!("remove {scope:?}");
        self.change(&name, id, &what, wait, |request, segment| Command::Unregister { request, segment, scope })
            .await
            .map(drop)
    }

    pub(super) async fn pin_version(&self, request: PinRequest) -> Result<(), Error> {
        let PinRequest { request: id, wait, name, version } = request;
        let what = format!("pin {version}");
        self.change(&name, id, &what, wait, |request, segment| Command::Pin { request, segment, version })
            .await
            .map(drop)
    }

    pub(super) async fn unpin_versions(&self, request: UnpinRequest) -> Result<(), Error> {
        let UnpinRequest { request: id, wait, name, version } = request;
        let what = format!("unpin {version:?}");
        self.change(&name, id, &what, wait, |request, segment| Command::Unpin { request, segment, version })
            .await
            .map(drop)
    }

    /// Looks a name up, and has the cluster apply a command about its segment.
    ///
    /// A retry is answered as before, whatever the name stands for by now: another registration of it, or none.
    async fn change(
        &self,
        name: &Name,
        request: RequestId,
        what: &str,
        wait: Duration,
        command: impl FnOnce(Request, SegmentId) -> Command,
    ) -> Result<Outcome, Error> {
        let (core, deadline) = (&self.core, self.deadline(wait));
        let step = request.step(&format!("{what} {name}"));
        let state = core.read(deadline).await?.state;
        let reply = match state.answer(step) {
            Some(reply) => reply.clone(),
            None => {
                let segment = state.by_name(name).ok_or_else(|| no_such_name(name))?.id;
                core.propose(command(until(core, step, deadline), segment), deadline).await?
            }
        };
        core.answer(name, reply)
    }
}

/// The command by which a node becomes the owner of what it saw (R3).
pub(super) fn claim_of(
    request: Request,
    seen: &Segment,
    epoch: Epoch,
    node: NodeId,
    lease: Option<Duration>,
) -> Command {
    let Segment { id: segment, head, .. } = *seen;
    match lease {
        None => Command::Claim { request, segment, epoch, head, node },
        Some(span) => Command::Lease { request, segment, epoch, head, node, span },
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
