//! Getting a verified copy into local storage: the one that lies here, or one from the best source that delivers. For a
//! load, and for a repair.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use cairn_client::api::{Code, Error};
use cairn_store::archive::key::{Part, Stem};
use cairn_store::crash_point;
use cairn_store::disk::Toc;
use cairn_store::id::{CopyId, NodeId, RequestId, TierId};
use cairn_store::meta::{Finding, Rejection, State};
use cairn_store::node::Role;
use cairn_store::plan::source::{Holder, rank};
use cairn_store::segment::{CopyState, Receipt, Segment, Standing, Version, VersionRecord};
use cairn_store::time::LogTime;

use crate::catalogue::Held;
use crate::core::Core;
use crate::data::QUARANTINED;
use crate::data::pull::{Incoming, PullError};
use crate::env::PayloadLimits;
use crate::errand::Errand;
use crate::jobs::Meter;
use crate::storage::Renewal;
use crate::tier::is_missing;
use crate::work::verify::{Verdict, verify};

/// How often the whole ranking is gone through: a source that was busy or restarting may deliver the next time.
const ROUNDS_MAX: u32 = 3;
/// The pause between two rounds.
const ROUND_PAUSE: Duration = Duration::from_millis(300);

/// How long it is tried to learn the log time, for a receipt that ran out. The bytes are here, so it may fail.
const RENEW_PATIENCE: Duration = Duration::from_secs(5);

/// A version that is wanted here.
pub struct Fetch<'a> {
    /// The node that wants it.
    pub core: &'a Arc<Core>,
    /// For whom, as every transfer and every log line says.
    pub request: RequestId,
    /// What was known when it was asked for.
    pub state: &'a State,
    /// Its segment, in that state.
    pub segment: &'a Segment,
    /// Its number.
    pub version: Version,
    /// What it is.
    pub record: &'a VersionRecord,
    /// Bounds of each transfer.
    pub limits: PayloadLimits,
    /// Whether the copy must be one that counts, or can: one that lies here and was taken for lost will not do.
    pub counted: bool,
    /// Where it may come from.
    pub from: From,
}

/// Where a version may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// From here, from any holder, and else from the global tier.
    Anywhere,
    /// Only from the global tier.
    Tier,
}

/// A verified copy in local storage.
#[derive(Debug)]
pub struct Obtained {
    /// The copy.
    pub copy: CopyId,
    /// Of a copy that nothing refers to yet.
    pub receipt: Option<Receipt>,
    /// Who gave how many bytes; none is the global tier.
    pub sources: Vec<Given>,
    /// Whether a copy that lay here was found bad on the way.
    pub replaces: bool,
}

/// Who gave how many bytes; none is the global tier.
pub type Given = (Option<NodeId>, u64);

impl Fetch<'_> {
    /// Brings it here, from whoever has it. The version should be kept meanwhile ([`crate::storage::Storage::keep`]).
    ///
    /// # Errors
    /// Nobody has good bytes, or nobody could give them in time; this node's disk is full or failed.
    pub async fn obtain(&self, deadline: Duration, meter: &Arc<Meter>) -> Result<Obtained, Error> {
        let record = self.record;
        meter.expect(record.size);
        let (local, replaces) = match self.from {
            From::Anywhere => self.local(record, meter).await,
            From::Tier => (None, false),
        };
        if let Some(Held { copy, until, .. }) = local {
            // One that no reference holds is as good as a new one while its time lasts.
            let receipt = Receipt { copy, node: self.core.me(), until };
            let receipt = Some(receipt).filter(|_| !record.refers_to(copy));
            let sources = vec![(Some(self.core.me()), record.size)];
            return Ok(Obtained { copy, receipt, sources, replaces });
        }
        let begun = Incoming::begin(self.core, self.request, record.size, record.digest, meter.clone()).await;
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

    /// Tells the cluster of a copy that is new here. Hours of log time may have passed on the way: then with a new word
    /// for it. A refusal, or a cluster that cannot be told, is not an error: the copy is one that nothing refers to.
    ///
    /// # Errors
    /// The copy is gone again.
    pub async fn confirm(&self, receipt: Receipt) -> Result<Receipt, Error> {
        let (core, digest) = (self.core, self.record.digest);
        let confirm = |receipt| core.confirm(self.segment.id, self.version, digest, receipt);
        if confirm(receipt).await == Err(Rejection::ReceiptExpired)
            && let Ok(view) = core.read(core.env.clock.now() + RENEW_PATIENCE).await
        {
            let receipt = self.renewed(receipt, view.state.time).await?;
            let _ = confirm(receipt).await;
            return Ok(receipt);
        }
        Ok(receipt)
    }

    /// A new word for a copy that nothing refers to yet, at this log time.
    ///
    /// # Errors
    /// The copy is gone again.
    pub async fn renewed(&self, receipt: Receipt, time: LogTime) -> Result<Receipt, Error> {
        match self.core.renew(receipt.copy, time).await {
            Renewal::Renewed(receipt) => Ok(receipt),
            Renewal::NotNow if receipt.until >= time => Ok(receipt),
            // Another load may have confirmed it.
            Renewal::Gone if self.is_referenced(receipt.copy) => Ok(receipt),
            Renewal::Gone | Renewal::NotNow => {
                let name = &self.segment.name;
                let message =
                    format!("the copy of {name} that was made here is gone again: it was let go of meanwhile");
                Err(Error::unavailable(message).hint("load it again"))
            }
        }
    }

    /// Whether the cluster refers to a copy, as far as this node knows now.
    pub fn is_referenced(&self, copy: CopyId) -> bool {
        let state = self.core.now().state;
        state.standing(self.segment.id, self.version, copy) == Standing::Referenced
    }

    /// Whether this node's own newer prefix shows that the version is gone.
    pub fn is_gone(&self) -> bool {
        let view = self.core.view.borrow();
        let now = view.state.segments.get(&self.segment.id);
        now.is_none_or(|segment| !segment.versions.contains_key(&self.version))
    }

    /// The copy that lies here, if it verifies and stays; and whether one was found that does not verify.
    async fn local(&self, record: &VersionRecord, meter: &Arc<Meter>) -> (Option<Held>, bool) {
        let core = self.core;
        let (catalogue, segment, version) = (core.env.catalogue.clone(), self.segment.id, self.version);
        let found = core.env.blocking(move || catalogue.find(segment, version)).await;
        let Ok(found) = found.and_then(|found| found) else { return (None, false) };
        // The load keeps it from the collector, and renews its time.
        let stays = |held: &Held| match self.state.standing(segment, version, held.copy) {
            Standing::Referenced | Standing::Open => true,
            Standing::Lost => !self.counted,
            Standing::Ended => false,
        };
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
    ) -> Result<Vec<Given>, Error> {
        let core = self.core;
        let mut given: Vec<Given> = Vec::new();
        let mut reasons: Vec<String> = Vec::new();
        let holders = if self.from == From::Tier { Vec::new() } else { self.holders(record) };
        for round in 0..ROUNDS_MAX {
            let mut passing = false;
            reasons.clear();
            reasons.extend(self.own_reason(record, bad_here));
            for source in &holders {
                let (bytes, result) = incoming.pull(core, source, self.limits).await;
                if bytes > 0 {
                    given.push((Some(source.node), bytes));
                }
                let error = match result {
                    Ok(()) => {
                        if bytes == 0 && given.is_empty() {
                            given.push((Some(source.node), 0));
                        }
                        return Ok(given);
                    }
                    Err(PullError::Disk(e)) => return Err(disk_failed(core, &e)),
                    Err(error) => error,
                };
                tracing::warn!(
                    name = %self.segment.name, request = %self.request, node = %core.name_of(source.node),
                    copy = %source.copy, %error, "a source failed"
                );
                reasons.push(format!("{}: {error}", core.name_of(source.node)));
                if error.doubts_copy() {
                    core.ask_to_look(source.node, source.copy);
                } else {
                    passing = true;
                }
            }
            match self.recall(incoming, record, &mut given).await? {
                Recalled::All => return Ok(given),
                Recalled::Nothing => {}
                Recalled::Failed { why, passes } => {
                    reasons.push(why);
                    passing |= passes;
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

    /// What is lacking, from the global tier: by this node if it reaches it, else by a member that does, which then holds a copy.
    ///
    /// # Errors
    /// This node's own disk.
    async fn recall(
        &self,
        incoming: &Incoming,
        record: &VersionRecord,
        given: &mut Vec<Given>,
    ) -> Result<Recalled, Error> {
        let (core, segment, version) = (self.core, self.segment.id, self.version);
        let forced = self.from == From::Tier;
        // The newest word: it may have been put there since.
        let state = core.now().state;
        let Some(object) = state.object_of(segment, version).or_else(|| self.state.object_of(segment, version))
        else {
            let message = format!("version {version} of {} is not in the global tier", self.segment.name);
            let error =
                Error::new(Code::NotFound, message).hint("see `cairn show`; without --from any holder delivers it");
            return if forced { Err(error) } else { Ok(Recalled::Nothing) };
        };
        let here = core.tier.reached();
        let (objects, tier) = match here {
            Ok((objects, tier)) if tier == object.tier => (objects, tier),
            _ if forced => {
                let why = match core.tier.reached() {
                    Ok(_) => "this node reaches another global tier".to_owned(),
                    Err(error) => error.to_string(),
                };
                let hint = "ask a node that reaches it, with --on NODE: see `cairn global status`";
                return Err(Error::new(Code::Unavailable, why).hint(hint));
            }
            _ => return self.relay(incoming, object.tier, given).await,
        };
        let stem = Stem { cluster: object.cluster, segment, version, digest: record.digest, object: object.id };
        let _turn = incoming.meter().while_queued(&core.env, core.tier.recalls.acquire()).await;
        let (bytes, result) = incoming.recall(core, &*objects, &stem, self.limits).await;
        if bytes > 0 || result.is_ok() {
            given.push((None, bytes));
        }
        let error = match result {
            Ok(()) => return Ok(Recalled::All),
            Err(PullError::Disk(e)) => return Err(disk_failed(core, &e)),
            Err(error) => error,
        };
        tracing::warn!(name = %self.segment.name, request = %self.request, %error, "the global tier failed");
        let finding = match &error {
            PullError::Mismatch(_) => Some(Finding::Corrupt),
            // Not if it is the whole store.
            error if error.doubts_copy() => {
                let mut gone = false;
                for part in [Part::Bytes, Part::Table] {
                    gone = gone || is_missing(core, &*objects, tier, &stem.key(part).to_string()).await;
                }
                Some(Finding::Missing).filter(|_| gone)
            }
            _ => None,
        };
        match finding {
            Some(finding) => core.lose_object(&stem, finding).await,
            None => core.tier.doubted.notify_one(),
        }
        Ok(Recalled::Failed { why: format!("the global tier: {error}"), passes: finding.is_none() })
    }

    /// Has a member that reaches the tier bring a copy to itself, and takes it from there.
    async fn relay(&self, incoming: &Incoming, tier: TierId, given: &mut Vec<Given>) -> Result<Recalled, Error> {
        let (core, segment, version) = (self.core, self.segment.id, self.version);
        let state = core.now().state;
        let reaches = |node: &NodeId| state.tiers.get(node).is_some_and(|reach| reach.tier() == Some(tier));
        let able = state.members.values().filter(|member| member.up && member.id != core.me() && reaches(&member.id));
        // Another one in each round: one may fail, or do the same for somebody else.
        let tie = core.env.rng.next();
        let drawn = |node: NodeId| (node.0 ^ tie).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let Some(member) = able.min_by_key(|member| drawn(member.id)) else {
            let why = "no node that is up reaches the global tier that has it".to_owned();
            return Ok(Recalled::Failed { why, passes: true });
        };
        let brought = core.send_on_boxed(member.id, Errand::Fetch { segment, version });
        if let Err(error) = incoming.meter().while_queued(&core.env, brought).await {
            let why = format!("{} could not bring it from the global tier: {}", member.profile.name, error.message);
            return Ok(Recalled::Failed { why, passes: error.code != Code::Corrupt });
        }
        let state = core.now().state;
        let record = state.segments.get(&segment).and_then(|segment| segment.versions.get(&version));
        let copy = record.and_then(|record| record.durable().find(|copy| copy.node == member.id));
        let Some(copy) = copy else {
            let why = format!("{} has brought it, and is not known for that yet", member.profile.name);
            return Ok(Recalled::Failed { why, passes: true });
        };
        let executor = member.profile.role == Role::Executor;
        let source = Holder { node: copy.node, copy: copy.id, durable: true, up: true, executor, near: false };
        let (bytes, result) = incoming.pull(core, &source, self.limits).await;
        given.push((Some(source.node), bytes));
        match result {
            Ok(()) => Ok(Recalled::All),
            Err(PullError::Disk(e)) => Err(disk_failed(core, &e)),
            Err(error) => Ok(Recalled::Failed { why: format!("{}: {error}", member.profile.name), passes: true }),
        }
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

    async fn publish(&self, incoming: &Incoming, sources: Vec<Given>) -> Result<Obtained, Error> {
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

/// What the global tier gave.
enum Recalled {
    /// All that was lacking.
    All,
    /// It has nothing of it.
    Nothing,
    /// Less, and why; whether that may pass.
    Failed { why: String, passes: bool },
}

fn disk_failed(core: &Core, error: &io::Error) -> Error {
    core.storage_failed(error, "free space, or load on another node with --on")
}

/// Corrupt if every source answered and none had good bytes; unavailable if one may still have them.
fn no_source(fetch: &Fetch<'_>, passing: bool, reasons: &[String]) -> Error {
    let (name, version) = (&fetch.segment.name, fetch.version);
    let why = if reasons.is_empty() { "it has no holders".to_owned() } else { reasons.join("; ") };
    if fetch.from == From::Tier {
        let code = if passing { Code::Unavailable } else { Code::Corrupt };
        let message = format!("version {version} of {name} does not come from the global tier: {why}");
        let error = Error { retryable: passing, ..Error::new(code, message) };
        return error.hint("see `cairn show` and `cairn global status`; without --from any holder may deliver it");
    }
    if fetch.state.is_recovering() && reasons.is_empty() {
        let message = format!("no copy of version {version} of {name} was found yet");
        return Error::unavailable(message).hint("the cluster recovers: see `cairn cluster recovery`");
    }
    if passing {
        let message = format!("no holder of version {version} of {name} could deliver it: {why}");
        return Error::unavailable(message).hint("bring a holder back: `cairn show` lists them");
    }
    Error::new(Code::Corrupt, format!("no copy of version {version} of {name} verifies: {why}")).hint(format!(
        "try another version: `cairn history {name}`; bad copies are kept in quarantine/ on their nodes"
    ))
}
