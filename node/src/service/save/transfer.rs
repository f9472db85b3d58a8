//! The copies of a save on their way: hashed once, kept here, pushed to every target; receipts gathered, targets that
//! fail replaced.
//!
//! Everything that was begun ends with the [`Transfer`]: its tasks notice that nobody listens any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cairn_client::api::{Code, Error, Replica, SaveRequest};
use cairn_client::wire::{Push, RefusalCode};
use cairn_store::digest::BlockTable;
use cairn_store::id::NodeId;
use cairn_store::meta::State;
use cairn_store::plan::enough::{Standing, Verdict, enough};
use cairn_store::plan::place::{Wish, able, place, unable};
use cairn_store::segment::{Ack, CopyState, Receipt, Version};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use super::own::keep_own;
use super::{Target, candidates, who_cannot};
use crate::core::Core;
use crate::data::digest::table_of;
use crate::data::push::{PushError, TableWatch, push};
use crate::env::ReadAt;
use crate::jobs::Meter;
use crate::raft::rpc;
use crate::storage::{RENEW_BEFORE, Renewal};

/// How often that is looked at.
const RENEW_EVERY: Duration = Duration::from_secs(300);

/// How often a busy target is asked before another one is looked for.
const BUSY_TRIES: u32 = 4;
/// The pause before it is asked again, besides the time that it takes to say no.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// A file of the spool, opened once; its descriptor is held to the end (R13).
#[derive(Clone)]
pub(super) struct Source {
    pub(super) file: String,
    pub(super) opened: Arc<dyn ReadAt>,
}

/// What all copies of one save have in common.
#[derive(Clone)]
pub(super) struct Order {
    pub(super) core: Arc<Core>,
    pub(super) request: Arc<SaveRequest>,
    pub(super) target: Target,
    pub(super) source: Source,
    pub(super) table: TableWatch,
    pub(super) meter: Arc<Meter>,
}

impl Order {
    /// Begins to hash the source.
    pub(super) fn new(
        core: &Arc<Core>,
        request: &Arc<SaveRequest>,
        target: Target,
        source: Source,
        meter: &Arc<Meter>,
    ) -> Self {
        meter.expect(source.opened.size().saturating_mul(request.replicas.into()));
        let table = hash(core, source.opened.clone(), meter.clone());
        Self { core: core.clone(), request: request.clone(), target, source, table, meter: meter.clone() }
    }
}

/// What the tasks of one save report.
enum News {
    /// The owner's own copy.
    Own(Result<Receipt, Error>),
    /// A target's.
    Target(NodeId, Result<Receipt, PushError>),
}

/// The copies of one save.
pub(super) struct Transfer {
    order: Order,
    wish: Wish,
    /// Targets that have not reported yet.
    pending: BTreeSet<NodeId>,
    receipts: BTreeMap<NodeId, Receipt>,
    /// Why targets failed.
    reasons: Vec<String>,
    /// Whether one of them only had too much to do.
    busy: bool,
    tell: mpsc::Sender<News>,
    news: mpsc::Receiver<News>,
    _place: OwnedSemaphorePermit,
}

impl Transfer {
    /// Begins to make all of them. `place` is the save's own, and is held to the end.
    pub(super) fn begin(order: Order, wish: Wish, place: OwnedSemaphorePermit) -> Self {
        let (tell, news) = mpsc::channel(usize::from(order.request.replicas) + 1);
        let (pending, receipts, reasons) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
        let mut transfer = Self { order, wish, pending, receipts, reasons, tell, news, busy: false, _place: place };
        transfer.keep_own();
        transfer.push_to_more();
        transfer
    }

    /// Waits until the acknowledgement that was asked for is reached with receipts that last, or can no longer be.
    pub(super) async fn until_enough(&mut self) -> Result<Arc<BlockTable>, Error> {
        let request = self.order.request.clone();
        loop {
            let standing = self.standing();
            match enough(request.ack, request.replicas, standing) {
                Verdict::Enough if self.renew().await? => break,
                Verdict::Enough => continue,
                Verdict::Never => return Err(self.not_reached()),
                Verdict::Wait => {}
            }
            let env = self.order.core.env.clone();
            match env.timeout(RENEW_EVERY, self.news.recv()).await {
                Some(Some(news)) => drop(self.take(news)?),
                Some(None) => return Err(self.not_reached()),
                None => drop(self.renew().await?),
            }
        }
        match self.order.table.borrow().as_ref() {
            Some(Ok(table)) => Ok(table.clone()),
            _ => Err(Error::new(Code::Internal, "a copy was made before its digest was known")),
        }
    }

    /// The holders' words so far.
    pub(super) fn receipts(&self) -> Vec<Receipt> {
        self.receipts.values().copied().collect()
    }

    /// The other holders so far.
    pub(super) fn replicas(&self) -> Vec<Replica> {
        let core = &self.order.core;
        let view = core.view.borrow();
        let replica = |node: &NodeId| {
            let member = view.state.members.get(node)?;
            Some(Replica { node: member.profile.name.clone(), state: CopyState::Durable })
        };
        self.receipts.keys().filter(|node| **node != core.me()).filter_map(replica).collect()
    }

    /// A copy from which the bytes can get into the global tier, once there is one: this node's own if it reaches the tier; none
    /// if there will be none.
    pub(super) async fn archivist(&mut self) -> Result<Option<Receipt>, Error> {
        loop {
            let (core, me) = (self.order.core.clone(), self.order.core.me());
            let state = core.now().state;
            let reaches = |node: &NodeId| core.reaches_tier(&state, *node);
            let own = self.receipts.get(&me).filter(|own| reaches(&own.node));
            let found = own.or_else(|| self.receipts.values().find(|receipt| reaches(&receipt.node)));
            if let Some(found) = found {
                return Ok(Some(*found));
            }
            if !self.pending.iter().any(reaches) {
                return Ok(None);
            }
            let Some(news) = self.news.recv().await else { return Ok(None) };
            self.take(news)?;
        }
    }

    /// Whether a copy must go to a node that reaches the global tier, because none does or will that has one.
    fn lacks_archivist(&self, state: &State) -> bool {
        let core = &self.order.core;
        let reaches = |node: &NodeId| core.reaches_tier(state, *node);
        self.order.request.ack == Ack::Global
            && !reaches(&core.me())
            && !self.pending.iter().any(reaches)
            && !self.others().any(|node| reaches(&node))
    }

    /// Goes on after the commit until all copies that were wanted are there: late receipts become confirmations (R9).
    pub(super) fn go_on(mut self, version: Version) {
        if self.pending.is_empty() {
            return;
        }
        let core = self.order.core.clone();
        let pushed = core.pushed.hold(self.order.target.segment, version);
        core.env.clone().spawn(async move {
            let _pushed = pushed;
            while !self.pending.is_empty() {
                let Some(news) = self.news.recv().await else { return };
                let (Ok(Some(receipt)), Some(Ok(table))) = (self.take(news), self.order.table.borrow().clone())
                else {
                    continue;
                };
                // Without it the copy is a stray.
                let _ = core.confirm(self.order.target.segment, version, table.digest(), receipt).await;
            }
        });
    }

    /// What a report changes. Only the owner's own copy cannot be replaced.
    fn take(&mut self, news: News) -> Result<Option<Receipt>, Error> {
        match news {
            News::Own(own) => {
                let receipt = own?;
                self.receipts.insert(receipt.node, receipt);
                Ok(None)
            }
            News::Target(node, Ok(receipt)) => {
                self.pending.remove(&node);
                self.receipts.insert(node, receipt);
                Ok(Some(receipt))
            }
            // Nobody will take it any more.
            News::Target(node, Err(PushError::Refused(refusal))) if refusal.code == RefusalCode::StaleEpoch => {
                self.pending.remove(&node);
                let name = &self.order.request.name;
                Err(Error::new(Code::Conflict, format!("{name} was taken over during the save"))
                    .hint(format!("see `cairn show {name}`; load the newest version before you go on")))
            }
            News::Target(node, Err(error)) => {
                self.pending.remove(&node);
                self.busy |= error.is_busy();
                let another = !matches!(error, PushError::Source);
                self.give_up(node, &error.to_string());
                if another {
                    self.push_to_more();
                }
                Ok(None)
            }
        }
    }

    fn give_up(&mut self, node: NodeId, why: &str) {
        let (core, request) = (&self.order.core, &self.order.request);
        let target = core.name_of(node);
        tracing::warn!(name = %request.name, request = %request.request, %target, why, "a target failed");
        self.reasons.push(format!("{target}: {why}"));
        self.wish.without.insert(node);
    }

    fn standing(&self) -> Standing {
        let me = self.order.core.me();
        let count = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
        Standing {
            own: self.receipts.contains_key(&me),
            others: count(self.others().count()),
            hopeful: count(self.pending.len()),
        }
    }

    /// The other nodes that hold a durable copy.
    fn others(&self) -> impl Iterator<Item = NodeId> {
        let me = self.order.core.me();
        self.receipts.keys().copied().filter(move |node| *node != me)
    }

    /// Asks for new words where the old ones run out soon (R1). False if a holder was lost by that.
    async fn renew(&mut self) -> Result<bool, Error> {
        let core = self.order.core.clone();
        let time = core.now().state.time;
        let soon = time.after(RENEW_BEFORE);
        let old: Vec<Receipt> = self.receipts.values().copied().filter(|receipt| receipt.until < soon).collect();
        let mut kept = true;
        for Receipt { copy, node, until } in old {
            let renewed = if node == core.me() {
                core.renew(copy, time).await
            } else {
                let ask = |peer: rpc::PeerClient| async move { peer.renew(rpc::context(), copy, time).await };
                core.links.ask(node, core.limits.idle, ask).await.unwrap_or(Renewal::NotNow)
            };
            match renewed {
                Renewal::Renewed(receipt) => drop(self.receipts.insert(node, receipt)),
                // The old word stands for a while; it is asked again.
                Renewal::NotNow if until >= time => {}
                Renewal::Gone | Renewal::NotNow if node == core.me() => {
                    let lost = "durability not reached: this node's own copy was lost during the save; nothing was committed";
                    return Err(Error::new(Code::Durability, lost).hint("save again"));
                }
                Renewal::Gone | Renewal::NotNow => {
                    self.receipts.remove(&node);
                    self.give_up(node, "its copy was lost during the save");
                    self.push_to_more();
                    kept = false;
                }
            }
        }
        Ok(kept)
    }

    fn keep_own(&self) {
        let (order, tell) = (self.order.clone(), self.tell.clone());
        self.order.core.env.spawn(async move {
            let own = order.meter.clone();
            let own = own.while_ticking(&order.core.env.clone(), keep_own(order)).await;
            // The save may be over.
            let _ = tell.send(News::Own(own)).await;
        });
    }

    /// Pushes to as many targets as are lacking, if there are candidates.
    fn push_to_more(&mut self) {
        let core = self.order.core.clone();
        let state = core.now().state;
        if self.lacks_archivist(&state) {
            let reaches = |node: &NodeId| core.reaches_tier(&state, *node);
            let others = state.members.keys().copied().filter(|node| !reaches(node));
            let without = self.wish.without.iter().copied().chain(others).collect();
            let wish = Wish { count: 1, without, beside: self.others().collect(), ..self.wish.clone() };
            for node in place(&candidates(&state), &wish) {
                self.pending.insert(node);
                self.push_to(node);
            }
        }
        self.wish.beside = self.pending.iter().copied().chain(self.others()).collect();
        self.wish.count = usize::from(self.order.request.replicas).saturating_sub(self.wish.beside.len());
        for node in place(&candidates(&state), &self.wish) {
            self.pending.insert(node);
            self.push_to(node);
        }
    }

    fn push_to(&self, node: NodeId) {
        let (order, tell) = (self.order.clone(), self.tell.clone());
        let core = order.core.clone();
        core.env.clone().spawn(async move {
            let Order { core, request, target, source, table, meter } = order;
            let what = Push {
                request: request.request,
                segment: target.segment,
                name: request.name.clone(),
                version: target.head.next(),
                epoch: target.epoch,
                save: true,
                copy: core.env.copy_id(),
                size: source.opened.size(),
            };
            let pushed = tokio::select! {
                biased;
                pushed = push_patiently(&core, node, what, source.opened, table, meter) => pushed,
                // The leader's word comes sooner than a silent connection's time-out.
                () = core.until_down(node) => Err(PushError::Down),
                // The save is over.
                () = tell.closed() => return,
            };
            let _ = tell.send(News::Target(node, pushed)).await;
        });
    }

    fn not_reached(&self) -> Error {
        if let Some(Err(why)) = self.order.table.borrow().as_ref() {
            return source_failed(why);
        }
        let (request, others) = (&self.order.request, self.others().count());
        let need = request.ack.needed(request.replicas);
        let nodes = candidates(&self.order.core.now().state);
        let able = able(&nodes, &self.wish);
        let mut message = format!(
            "durability not reached: {} has durable copies on {others} other nodes, {need} are needed, and {able} could \
             take one{}; nothing was committed",
            request.name,
            who_cannot(&unable(&nodes, &self.wish))
        );
        if !self.reasons.is_empty() {
            message.push_str(&format!(" ({})", self.reasons.join("; ")));
        }
        if self.busy {
            return Error::unavailable(message).hint("nodes are busy with other transfers: try again later");
        }
        Error::new(Code::Durability, message).hint("see `cairn node ls`; add nodes, or ask for fewer with --replicas")
    }
}

/// Asks a target again that has too much to do: it has no less room for that.
async fn push_patiently(
    core: &Core,
    node: NodeId,
    what: Push,
    source: Arc<dyn ReadAt>,
    table: TableWatch,
    meter: Arc<Meter>,
) -> Result<Receipt, PushError> {
    for _ in 1..BUSY_TRIES {
        match push(core, node, what.clone(), source.clone(), table.clone(), meter.clone()).await {
            Err(error) if error.is_busy() => {
                meter.tick(1);
                core.env.clock.sleep(BUSY_PAUSE).await;
            }
            done => return done,
        }
    }
    push(core, node, what, source, table, meter).await
}

/// One pass over the source, beside the pushes: the pages that it reads are those that they send.
fn hash(core: &Arc<Core>, source: Arc<dyn ReadAt>, meter: Arc<Meter>) -> TableWatch {
    let (tell, table) = watch::channel(None);
    let env = core.env.clone();
    core.env.spawn(async move {
        let hashed = table_of(&env, source, meter).await;
        tell.send_replace(Some(hashed.map(Arc::new).map_err(|e| e.to_string())));
    });
    table
}

/// The source itself is to blame: no other target will do.
pub(super) fn source_failed(why: &str) -> Error {
    Error::new(Code::Internal, format!("the source cannot be saved: {why}"))
        .hint("save a file that nobody writes to; nothing was committed")
}
