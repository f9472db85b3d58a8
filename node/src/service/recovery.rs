//! A cluster that begins with what another one knew: the steps of taking it over, how far that is, and its end.

use std::time::Duration;

use cairn_client::api::{Adopted, Adoption, Code, Error, LEFTOVERS_MAX, Loss, Recovery, RestoreRequest};
use cairn_store::id::NodeId;
use cairn_store::meta::{Command, Rejection, State};
use futures::StreamExt;

use super::Service;
use crate::raft::rpc;

/// How long a member may take to say what it brought along.
const PATIENCE: Duration = Duration::from_secs(2);
/// So many are asked at once.
const ASKED_AT_ONCE: usize = 32;

impl Service {
    pub(super) async fn take_over(&self, request: RestoreRequest) -> Result<(), Error> {
        let reply = self.core.propose_and_see(request.step.into(), self.deadline(request.wait)).await?;
        reply.map(drop).map_err(|rejection| refused(&rejection))
    }

    pub(super) async fn how_recovered(&self, wait: Duration) -> Result<Option<Recovery>, Error> {
        let core = &self.core;
        let state = core.read(self.deadline(wait)).await?.state;
        let Some(origin) = state.origin.clone() else { return Ok(None) };
        let members: Vec<NodeId> = state.members.keys().copied().collect();
        let asked = members.into_iter().map(|node| async move {
            let ask = |peer: rpc::PeerClient| async move { peer.adopted(rpc::context()).await };
            let said = if node == core.me() {
                Some(core.heritage.tell())
            } else {
                core.links.ask(node, PATIENCE, ask).await.ok()
            };
            (node, said)
        });
        let said: Vec<(NodeId, Option<Adopted>)> =
            futures::stream::iter(asked).buffered(ASKED_AT_ONCE).collect().await;
        let told = state.clone();
        let (missing, first_missing, thin) = self.blocking(move || misses(&told)).await?;
        let each = LEFTOVERS_MAX / said.len().max(1);
        let nodes = said.into_iter().filter_map(|(node, mut said)| {
            let node = state.members.get(&node)?.profile.name.clone();
            said.iter_mut().for_each(|said| said.leftovers.truncate(each));
            Some(Adoption { node, said })
        });
        Ok(Some(Recovery {
            source: origin.source,
            ancestors: origin.ancestors.iter().copied().collect(),
            phase: origin.phase,
            missing,
            first_missing,
            thin,
            nodes: nodes.collect(),
        }))
    }

    pub(super) async fn end_recovery(&self, wait: Duration) -> Result<(), Error> {
        let reply = self.core.propose_and_see(Command::Resume, self.deadline(wait)).await?;
        reply.map(drop).map_err(|rejection| refused(&rejection))
    }
}

/// The versions without a good copy, on nodes or in the global tier, the first of them, and how many have too few.
fn misses(state: &State) -> (u64, Vec<Loss>, u64) {
    let (mut missing, mut first, mut thin) = (0, Vec::new(), 0);
    for segment in state.segments.values() {
        for (version, record) in &segment.versions {
            if record.durable().next().is_none() && !state.is_archived(segment.id, *version) {
                missing += 1;
                if first.len() < LEFTOVERS_MAX {
                    first.push(Loss { name: segment.name.clone(), version: *version, size: record.size });
                }
            } else if state.missing_copies(segment, record) > 0 {
                thin += 1;
            }
        }
    }
    (missing, first, thin)
}

fn refused(rejection: &Rejection) -> Error {
    match rejection {
        Rejection::HasSegments => Error::new(Code::Conflict, rejection.to_string())
            .hint("restore into a new cluster: `cairnd init` makes one"),
        Rejection::OtherSource(_) => {
            Error::new(Code::Conflict, rejection.to_string()).hint("go on with that backup: a cluster begins once")
        }
        Rejection::Restoring => Error::new(Code::Conflict, "the backup is not all in yet")
            .hint("`cairn meta restore` with the same file goes on with it"),
        Rejection::NotRecovering => Error::new(Code::Conflict, rejection.to_string())
            .hint("`cairn meta restore` begins with a backup; see `cairn cluster recovery`"),
        Rejection::NotFounded => Error::unavailable(rejection.to_string()),
        Rejection::OutOfBounds(_) | Rejection::NameTaken { .. } => {
            Error::new(Code::Corrupt, format!("the backup makes no sense: {rejection}")).hint("use another backup")
        }
        other => Error::new(Code::Internal, other.to_string()),
    }
}
