//! Getting a verified copy into local storage: the one that lies here, or one from the best source that delivers.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use cairn_client::api::{Code, Error};
use cairn_store::crash_point;
use cairn_store::disk::Toc;
use cairn_store::id::{CopyId, NodeId};
use cairn_store::node::Role;
use cairn_store::plan::source::{Holder, rank};
use cairn_store::segment::{CopyState, Receipt, Standing, VersionRecord};

use super::Loading;
use crate::catalogue::Held;
use crate::core::Core;
use crate::data::QUARANTINED;
use crate::data::pull::{Incoming, PullError};
use crate::jobs::Meter;
use crate::work::scrub::{Verdict, verify};

/// How often the whole ranking is gone through: a source that was busy or restarting may deliver the next time.
const ROUNDS_MAX: u32 = 3;
/// The pause between two rounds.
const ROUND_PAUSE: Duration = Duration::from_millis(300);

/// A verified copy in local storage.
pub(super) struct Obtained {
    pub(super) copy: CopyId,
    /// Of a copy that is new here.
    pub(super) receipt: Option<Receipt>,
    pub(super) sources: Vec<(NodeId, u64)>,
    /// Whether a copy that lay here was found bad on the way.
    pub(super) replaces: bool,
}

impl Loading<'_> {
    pub(super) async fn obtain(&self, deadline: Duration, meter: &Arc<Meter>) -> Result<Obtained, Error> {
        let record = self.record;
        meter.expect(record.size);
        let (local, replaces) = self.local(record, meter).await;
        if let Some(Held { copy, until, .. }) = local {
            // One that no reference holds is as good as a new one while its time lasts.
            let receipt = Receipt { copy, node: self.core.me(), until };
            let receipt = Some(receipt).filter(|_| !record.refers_to(copy));
            let sources = vec![(self.core.me(), record.size)];
            return Ok(Obtained { copy, receipt, sources, replaces });
        }
        let begun = Incoming::begin(self.core, self.request.request, record.size, record.digest, meter.clone()).await;
        let incoming = begun.map_err(|e| disk_failed(self.core, &e))?;
        let obtained = match self.pull_from_any(&incoming, record, replaces, deadline).await {
            Ok(sources) => meter.while_ticking(&self.core.env, self.publish(&incoming, sources)).await,
            Err(e) => Err(e),
        };
        let obtained = obtained.map(|obtained| Obtained { replaces, ..obtained });
        if obtained.is_err() {
            incoming.discard(self.core).await;
        }
        obtained
    }

    /// The copy that lies here, if it verifies and stays; and whether one was found that does not verify.
    async fn local(&self, record: &VersionRecord, meter: &Arc<Meter>) -> (Option<Held>, bool) {
        let core = self.core;
        let (catalogue, segment, version) = (core.env.catalogue.clone(), self.segment.id, self.version);
        let found = core.env.blocking(move || catalogue.find(segment, version)).await;
        let Ok(found) = found.and_then(|found| found) else { return (None, false) };
        // The load keeps it from the collector, and renews its time.
        let stays = |held: &Held| self.state.standing(segment, version, held.copy) != Standing::Ended;
        let mut found: Vec<Held> = found.into_iter().filter(|h| h.digest == record.digest && stays(h)).collect();
        // A stray may share its bytes with a file that was given back to an application.
        found.sort_by_key(|held| !record.refers_to(held.copy));
        let mut bad = false;
        for held in found {
            match verify(core, held.copy, meter.clone()).await {
                Verdict::Good => return (Some(held), bad),
                verdict => {
                    bad |= verdict != Verdict::Unknown;
                    core.lost(held.copy, verdict).await;
                }
            }
        }
        (None, bad)
    }

    /// Goes through the sources, best first, from the block where the last one stopped.
    async fn pull_from_any(
        &self,
        incoming: &Incoming,
        record: &VersionRecord,
        bad_here: bool,
        deadline: Duration,
    ) -> Result<Vec<(NodeId, u64)>, Error> {
        let core = self.core;
        let mut given: Vec<(NodeId, u64)> = Vec::new();
        let mut reasons: Vec<String> = Vec::new();
        let holders = self.holders(record);
        for round in 0..ROUNDS_MAX {
            let mut passing = false;
            reasons.clear();
            reasons.extend(self.own_reason(record, bad_here));
            for source in &holders {
                let (bytes, result) = incoming.pull(core, source).await;
                if bytes > 0 {
                    given.push((source.node, bytes));
                }
                let error = match result {
                    Ok(()) => {
                        if bytes == 0 && given.is_empty() {
                            given.push((source.node, 0));
                        }
                        return Ok(given);
                    }
                    Err(PullError::Disk(e)) => return Err(disk_failed(core, &e)),
                    Err(error) => error,
                };
                tracing::warn!(
                    name = %self.segment.name, request = %self.request.request, node = %core.name_of(source.node),
                    copy = %source.copy, %error, "a source failed"
                );
                reasons.push(format!("{}: {error}", core.name_of(source.node)));
                if error.doubts_copy() {
                    core.ask_to_look(source.node, source.copy);
                } else {
                    passing = true;
                }
            }
            let last = round + 1 == ROUNDS_MAX || core.env.clock.now() >= deadline;
            if !passing || last {
                return Err(no_source(self, passing, &reasons));
            }
            core.env.clock.sleep(ROUND_PAUSE).await;
        }
        Err(no_source(self, true, &reasons))
    }

    /// Why this node's own copy is none of the sources, if it should be one.
    fn own_reason(&self, record: &VersionRecord, bad_here: bool) -> Option<String> {
        let own = record.copies.iter().find(|copy| copy.node == self.core.me())?;
        let why = match own.state {
            CopyState::Missing => "its copy is missing",
            CopyState::Corrupt => QUARANTINED,
            _ if bad_here => QUARANTINED,
            _ => return None,
        };
        Some(format!("{}: {why}", self.core.profile.name))
    }

    fn holders(&self, record: &VersionRecord) -> Vec<Holder> {
        let members = &self.state.members;
        let here = &self.core.profile.zone;
        let holder = |copy: &cairn_store::segment::Copy| {
            let member = members.get(&copy.node)?;
            Some(Holder {
                node: copy.node,
                copy: copy.id,
                durable: copy.state == CopyState::Durable,
                up: member.up,
                executor: member.profile.role == Role::Executor,
                near: member.profile.zone == *here,
            })
        };
        let others = record.copies.iter().filter(|c| c.node != self.core.me());
        let holders: Vec<Holder> = others.filter_map(holder).collect();
        rank(&holders, self.core.env.rng.next())
    }

    async fn publish(&self, incoming: &Incoming, sources: Vec<(NodeId, u64)>) -> Result<Obtained, Error> {
        let core = self.core;
        crash_point!("load.pulled");
        let table = incoming.sync(core).await.map_err(|e| disk_failed(core, &e))?;
        crash_point!("load.synced");
        let toc = Toc {
            cluster: core.identity.cluster,
            node: core.me(),
            copy: incoming.copy,
            segment: self.segment.id,
            name: self.segment.name.clone(),
            version: self.version,
            epoch: self.segment.epoch,
            digest: table.digest(),
            table: cairn_store::digest::BlockTable::clone(&table),
            until: core.commit_window(),
        };
        let receipt = core.publish(toc).await.map_err(|e| disk_failed(core, &e))?;
        crash_point!("load.published");
        Ok(Obtained { copy: incoming.copy, receipt: Some(receipt), sources, replaces: false })
    }
}

fn disk_failed(core: &Core, error: &io::Error) -> Error {
    core.storage_failed(error, "free space, or load on another node with --on")
}

/// Corrupt if every source answered and none had good bytes; unavailable if one may still have them.
fn no_source(loading: &Loading<'_>, passing: bool, reasons: &[String]) -> Error {
    let (name, version) = (&loading.segment.name, loading.version);
    let why = if reasons.is_empty() { "it has no holders".to_owned() } else { reasons.join("; ") };
    if passing {
        let message = format!("no holder of version {version} of {name} could deliver it: {why}");
        return Error::unavailable(message).hint("bring a holder back: `cairn show` lists them");
    }
    Error::new(Code::Corrupt, format!("no copy of version {version} of {name} verifies: {why}")).hint(format!(
        "try another version: `cairn history {name}`; bad copies are kept in quarantine/ on their nodes"
    ))
}
