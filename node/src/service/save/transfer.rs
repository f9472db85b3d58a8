//! The bytes of a save: adopted here, hashed once, pushed to every target, receipts gathered.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use cairn_client::api::{Code, Error, Replica, SaveRequest};
use cairn_client::wire::Push;
use cairn_store::digest::{BlockTable, Digest};
use cairn_store::disk::Toc;
use cairn_store::id::{CopyId, NodeId, SegmentId};
use cairn_store::meta::Command;
use cairn_store::plan::enough::{Standing, Verdict, enough};
use cairn_store::plan::place::{Wish, place};
use cairn_store::segment::{CopyState, Receipt, SIZE_MAX, Version};
use tokio::sync::{mpsc, watch};

use super::{Target, candidates};
use crate::core::Core;
use crate::data::digest::table_of;
use crate::data::push::{PushError, TableWatch, push};
use crate::env::ReadAt;
use crate::jobs::Meter;

/// What the tasks of one save report.
enum News {
    /// The owner's own copy.
    Own(Result<Receipt, Error>),
    /// A target's.
    Target(NodeId, Result<Receipt, PushError>),
}

/// A source that was opened once; its descriptor is held to the end (R13).
pub(super) struct Transfer {
    file: String,
    source: Arc<dyn ReadAt>,
}

impl Transfer {
    pub(super) async fn open(core: &Core, request: &SaveRequest) -> Result<Self, Error> {
        let (disk, file) = (core.env.disk.clone(), request.file.clone());
        let name = file.clone();
        let opened = core.env.blocking(move || disk.open_spool(&name)).await;
        let source: Arc<dyn ReadAt> = match opened {
            Ok(Ok(source)) => source.into(),
            Ok(Err(e)) | Err(e) => {
                return Err(Error::new(Code::Invalid, format!("the file {file:?} of the spool cannot be used: {e}"))
                    .hint("write a regular file into the node's spool first"));
            }
        };
        if source.size() > SIZE_MAX {
            return Err(Error::new(Code::Invalid, format!("a segment has at most {SIZE_MAX} bytes")));
        }
        if !core.has_room(source.size()).await {
            return Err(Error::new(Code::Unavailable, "this node's storage has no room for its own copy")
                .hint("free space, or remove segments with `cairn rm`"));
        }
        Ok(Self { file, source })
    }

    pub(super) fn size(&self) -> u64 {
        self.source.size()
    }

    /// Makes copies until the acknowledgement that was asked for is reached, or can no longer be.
    pub(super) async fn run(
        self,
        core: &Arc<Core>,
        request: &SaveRequest,
        target: &Target,
        mut wish: Wish,
        meter: &Arc<Meter>,
    ) -> Result<Stored, Error> {
        meter.expect(self.size().saturating_mul(request.replicas.into()));
        let (tell, mut news) = mpsc::channel(usize::from(request.replicas) + 1);
        let table = self.hash(core);
        self.keep_own(core, request, target, table.clone(), meter, tell.clone());

        let mut pending: BTreeSet<NodeId> = place(&candidates(&core.now().state), &wish).into_iter().collect();
        for node in &pending {
            self.push_to(core, *node, request, target, table.clone(), meter, tell.clone());
        }
        let mut receipts: BTreeMap<NodeId, Receipt> = BTreeMap::new();
        let mut reasons: Vec<String> = Vec::new();
        loop {
            let others = receipts.keys().filter(|node| **node != core.me()).count();
            let count = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
            let standing = Standing {
                own: receipts.contains_key(&core.me()),
                others: count(others),
                hopeful: count(pending.len()),
            };
            match enough(request.ack, request.replicas, standing) {
                Verdict::Enough => break,
                Verdict::Never => return Err(not_reached(request, standing, &reasons)),
                Verdict::Wait => {}
            }
            let Some(report) = news.recv().await else {
                return Err(not_reached(request, standing, &reasons));
            };
            match report {
                News::Own(own) => drop(receipts.insert(core.me(), own?)),
                News::Target(node, Ok(receipt)) => {
                    pending.remove(&node);
                    receipts.insert(node, receipt);
                }
                News::Target(node, Err(e)) => {
                    pending.remove(&node);
                    wish.without.insert(node);
                    tracing::warn!(name = %request.name, node = %core.name_of(node), error = %e, "a target failed");
                    reasons.push(format!("{}: {e}", core.name_of(node)));
                    if matches!(e, PushError::Source) {
                        continue;
                    }
                    // The next candidate takes its place.
                    let others = receipts.keys().filter(|node| **node != core.me());
                    wish.beside = pending.iter().chain(others).copied().collect();
                    wish.count = 1;
                    for node in place(&candidates(&core.now().state), &wish) {
                        pending.insert(node);
                        self.push_to(core, node, request, target, table.clone(), meter, tell.clone());
                    }
                }
            }
        }
        let table = match table.borrow().as_ref() {
            Some(Ok(table)) => table.clone(),
            _ => return Err(Error::new(Code::Internal, "a copy was made before its digest was known")),
        };
        Ok(Stored { table, receipts: receipts.into_values().collect(), pending: pending.len(), news })
    }

    /// One pass over the source, beside the pushes: the pages that it reads are those that they send.
    fn hash(&self, core: &Arc<Core>) -> TableWatch {
        let (tell, table) = watch::channel(None);
        let (core, source) = (core.clone(), self.source.clone());
        core.env.clone().spawn(async move {
            let hashed = table_of(&core.env, source).await;
            tell.send_replace(Some(hashed.map(Arc::new).map_err(|e| e.to_string())));
        });
        table
    }

    /// The owner's own copy: the spool's file becomes it, without being copied.
    fn keep_own(
        &self,
        core: &Arc<Core>,
        request: &SaveRequest,
        target: &Target,
        table: TableWatch,
        meter: &Arc<Meter>,
        tell: mpsc::Sender<News>,
    ) {
        let (core, file, source) = (core.clone(), self.file.clone(), self.source.clone());
        let meter = meter.clone();
        let copy = core.env.copy_id();
        let draft = Draft { copy, ..self.draft(&core, request, target) };
        core.env.clone().spawn(async move {
            let own = meter.while_ticking(&core.env, draft.keep(&core, file, source, table)).await;
            // The save may be over.
            let _ = tell.send(News::Own(own)).await;
        });
    }

    fn draft(&self, core: &Core, request: &SaveRequest, target: &Target) -> Draft {
        Draft {
            copy: core.env.copy_id(),
            segment: target.segment,
            name: request.name.clone(),
            version: target.head.next(),
            epoch: target.epoch,
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what a push needs")]
    fn push_to(
        &self,
        core: &Arc<Core>,
        node: NodeId,
        request: &SaveRequest,
        target: &Target,
        table: TableWatch,
        meter: &Arc<Meter>,
        tell: mpsc::Sender<News>,
    ) {
        let Draft { copy, segment, name, version, epoch } = self.draft(core, request, target);
        let order = Push { segment, name, version, epoch, save: true, copy, size: self.size() };
        let (core, source, meter) = (core.clone(), self.source.clone(), meter.clone());
        core.env.clone().spawn(async move {
            let pushed = push(&core, node, order, source, table, meter).await;
            let _ = tell.send(News::Target(node, pushed)).await;
        });
    }
}

fn not_reached(request: &SaveRequest, standing: Standing, reasons: &[String]) -> Error {
    let need = request.ack.needed(request.replicas);
    let mut message = format!(
        "durability not reached: {} has durable copies on {} other nodes, {need} are needed; nothing was committed",
        request.name, standing.others
    );
    if !reasons.is_empty() {
        message.push_str(&format!(" ({})", reasons.join("; ")));
    }
    Error::new(Code::Durability, message).hint("see `cairn node ls`; add nodes, or ask for fewer with --replicas")
}

/// The owner's copy on its way.
struct Draft {
    copy: CopyId,
    segment: SegmentId,
    name: cairn_store::name::Name,
    version: Version,
    epoch: cairn_store::segment::Epoch,
}

impl Draft {
    async fn keep(
        self,
        core: &Core,
        file: String,
        source: Arc<dyn ReadAt>,
        mut table: TableWatch,
    ) -> Result<Receipt, Error> {
        let (disk, copy) = (core.env.disk.clone(), self.copy);
        let adopted = core.env.blocking(move || disk.adopt(&file, source.as_ref(), copy)).await;
        adopted.and_then(|done| done).map_err(|e| own_failed(core, &e))?;
        let table = match table.wait_for(Option::is_some).await {
            Ok(ready) => ready.clone(),
            Err(_) => None,
        };
        let table = match table {
            Some(Ok(table)) => table,
            other => {
                let disk = core.env.disk.clone();
                // A half that stays is removed at the next start.
                let _ = core.env.blocking(move || disk.discard(copy)).await;
                let why = other.and_then(Result::err).unwrap_or_else(|| "the node is stopping".into());
                return Err(Error::new(Code::Internal, format!("the source cannot be saved: {why}"))
                    .hint("save a file that nobody writes to; nothing was committed"));
            }
        };
        core.publish(Toc {
            cluster: core.identity.cluster,
            node: core.me(),
            copy,
            segment: self.segment,
            name: self.name,
            version: self.version,
            epoch: self.epoch,
            digest: table.digest(),
            table: BlockTable::clone(&table),
            until: core.commit_window(),
        })
        .await
        .map_err(|e| own_failed(core, &e))
    }
}

fn own_failed(core: &Core, error: &io::Error) -> Error {
    match error.kind() {
        // The application's file was taken away or replaced meanwhile.
        io::ErrorKind::NotFound | io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            Error::new(Code::Internal, format!("the file of the spool cannot be saved: {error}"))
        }
        io::ErrorKind::StorageFull => Error::new(Code::Unavailable, "this node's disk is full")
            .hint("free space, or remove segments with `cairn rm`"),
        _ => {
            core.refuse_io(error);
            Error::new(Code::Internal, format!("this node's own copy failed: {error}"))
        }
    }
}

/// Enough copies, durable; some more may still come.
pub(super) struct Stored {
    pub(super) table: Arc<BlockTable>,
    pub(super) receipts: Vec<Receipt>,
    pending: usize,
    news: mpsc::Receiver<News>,
}

impl Stored {
    /// The other holders so far.
    pub(super) fn replicas(&self, core: &Core) -> Vec<Replica> {
        let view = core.view.borrow();
        let replica = |r: &Receipt| {
            let member = view.state.members.get(&r.node)?;
            Some(Replica { node: member.profile.name.clone(), state: CopyState::Durable })
        };
        self.receipts.iter().filter(|r| r.node != core.me()).filter_map(replica).collect()
    }

    /// Receipts that come after the commit become confirmations.
    pub(super) fn confirm_late(mut self, core: &Arc<Core>, segment: SegmentId, version: Version) {
        if self.pending == 0 {
            return;
        }
        let (core, digest) = (core.clone(), self.table.digest());
        core.env.clone().spawn(async move {
            while self.pending > 0 {
                match self.news.recv().await {
                    Some(News::Target(_, result)) => {
                        self.pending -= 1;
                        if let Ok(receipt) = result {
                            core.confirm(segment, version, digest, receipt).await;
                        }
                    }
                    Some(News::Own(_)) => {}
                    None => return,
                }
            }
        });
    }
}

impl Core {
    /// Tells the cluster of a new durable copy. A refusal leaves a stray, which is collected.
    pub async fn confirm(&self, segment: SegmentId, version: Version, digest: Digest, receipt: Receipt) -> bool {
        let deadline = self.env.clock.now() + CONFIRM_PATIENCE;
        let command = Command::Confirm { segment, version, digest, receipt };
        match self.propose(command, deadline).await {
            Ok(Ok(_)) => true,
            Ok(Err(rejection)) => {
                tracing::info!(copy = %receipt.copy, %rejection, "a copy was not taken as a holder's");
                false
            }
            Err(e) => {
                tracing::warn!(copy = %receipt.copy, error = %e, "a copy could not be confirmed");
                false
            }
        }
    }
}

/// How long a confirmation is tried.
const CONFIRM_PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);
