//! A save that waits for the global tier: its bytes are there before it is committed, and its manifest before it is acknowledged.

use std::sync::Arc;

use cairn_client::api::{Error, Saved};
use cairn_store::archive::{Object, ObjectReceipt, Policy};
use cairn_store::id::{NodeId, SegmentId};
use cairn_store::meta::{Command, Commit, Request, State};
use cairn_store::segment::{Ack, Version};

use super::Save;
use super::transfer::Transfer;
use crate::core::Core;
use crate::errand::{Errand, Report};
use crate::tier::TierError;
use crate::tier::archive::archive;
use crate::tier::deposit::deposit;

impl Save {
    /// Has the bytes put into the tier: by this node if it reaches it, else by a holder that does.
    ///
    /// # Errors
    /// Nobody could: nothing is committed.
    pub(super) async fn deposit(&self, transfer: &mut Transfer) -> Result<Option<ObjectReceipt>, Error> {
        let Self { core, request, meter } = self;
        if request.ack != Ack::Global {
            return Ok(None);
        }
        core.tier.looked_for(&core.env).await;
        let not_reached = |error: TierError| error.not_reached(&request.name);
        let holder = transfer.archivist().await?.ok_or_else(|| {
            let why = "no node that is up and has a copy reaches it";
            not_reached(core.tier.reached().err().unwrap_or_else(|| TierError::Unreached(why.into())))
        })?;
        tracing::info!(name = %request.name, request = %request.request, by = %core.name_of(holder.node), "goes into the global tier");
        if holder.node == core.me() {
            let _turn = meter.while_queued(&core.env, core.tier.waited.acquire()).await;
            let done = deposit(core, holder.copy, core.limits.payload(), meter).await;
            done.as_ref().err().into_iter().for_each(|error| core.tier.note_failure(error));
            return done.map(Some).map_err(not_reached);
        }
        let errand = core.send_on(holder.node, Errand::Deposit { copy: holder.copy });
        match meter.while_queued(&core.env, errand).await {
            Ok(Report::Deposited(receipt)) => Ok(Some(receipt)),
            Ok(other) => Err(not_reached(TierError::Unreached(format!("{other:?}")))),
            Err(error) => Err(not_reached(TierError::Unreached(error.message))),
        }
    }

    /// The command that commits, with what it says of the tier.
    pub(super) fn command(
        &self,
        request: Request,
        commit: Commit,
        object: Option<ObjectReceipt>,
        state: &State,
    ) -> Command {
        let known: Option<Policy> = state.archive(commit.segment).and_then(|archive| archive.policy);
        let policy = self.request.archive.filter(|wanted| Some(*wanted) != known);
        match (policy, object) {
            (None, None) => Command::Commit { request, commit },
            (policy, object) => Command::Save { request, commit, policy, object },
        }
    }

    /// What was committed, once the tier says so too, if that was waited for.
    ///
    /// # Errors
    /// The tier does not: the version is there, and the same request may find it archived later.
    pub(super) async fn archived(&self, saved: Saved) -> Result<Saved, Error> {
        if self.request.ack != Ack::Global {
            return Ok(saved);
        }
        let Self { core, request, meter } = self;
        let state = core.read(self.deadline()).await.map_err(Error::unknown)?.state;
        if is_archived(&state, saved.segment, saved.version) {
            return Ok(Saved { archived: true, ..saved });
        }
        let done = match archivist(core, &state, saved.segment, saved.version) {
            Some(node) if node == core.me() => {
                let limits = core.limits.payload();
                archive(core, saved.segment, saved.version, limits, meter).await.map_err(|e| e.to_string())
            }
            Some(node) => {
                let errand = Errand::Archive { segment: saved.segment, version: saved.version };
                let done = meter.while_queued(&core.env, core.send_on(node, errand)).await;
                done.map(drop).map_err(|error| error.message)
            }
            None => Err("no node that is up and has a copy reaches it".into()),
        };
        match done {
            Ok(()) => Ok(Saved { archived: true, ..saved }),
            Err(why) => {
                let Saved { name, version, .. } = &saved;
                let what =
                    format!("version {version} of {} is saved, and not published in the global tier: {why}", name);
                let hint =
                    format!("the same --request-id goes on with it ({}); see `cairn global status`", request.request);
                Err(Error::unavailable(what).hint(hint).unknown())
            }
        }
    }
}

/// Whether the tier has the version and says so; or the version is gone, and needs nothing.
fn is_archived(state: &State, segment: SegmentId, version: Version) -> bool {
    let known = state.segments.get(&segment).and_then(|segment| segment.versions.get(&version));
    known.is_none() || state.object_of(segment, version).is_some_and(Object::is_whole)
}

/// Who finishes what a save began: this node, or a holder that is up and reaches the tier, or anybody who does.
fn archivist(core: &Arc<Core>, state: &State, segment: SegmentId, version: Version) -> Option<NodeId> {
    let record = state.segments.get(&segment)?.versions.get(&version)?;
    let reaches = |node: &NodeId| state.stays(*node) && core.reaches_tier(state, *node);
    let holders = record.durable().map(|copy| copy.node);
    let all = [core.me()].into_iter().chain(holders).chain(state.tiers.keys().copied());
    all.into_iter().find(reaches)
}
