//! The owner's own copy: the spool's file becomes it, without being copied where the file system can.

use std::io;

use cairn_client::api::Error;
use cairn_store::crash_point;
use cairn_store::digest::BlockTable;
use cairn_store::disk::Toc;
use cairn_store::id::CopyId;
use cairn_store::segment::Receipt;

use super::transfer::{Order, source_failed};
use crate::core::Core;

/// Makes it exist, once the digest is known.
pub(super) async fn keep_own(order: Order) -> Result<Receipt, Error> {
    let core = order.core.clone();
    let copy = core.env.copy_id();
    let kept = keep(order, copy).await;
    if kept.is_err() {
        core.discard(copy).await;
    }
    kept
}

async fn keep(order: Order, copy: CopyId) -> Result<Receipt, Error> {
    let Order { core, request, target, source, mut table, .. } = order;
    let disk = core.env.disk.clone();
    let adopted = core.env.blocking(move || disk.adopt(&source.file, source.opened.as_ref(), copy)).await;
    adopted.and_then(|done| done).map_err(|e| failed(&core, &e))?;
    crash_point!("own.adopted");
    let table = match table.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(Ok(table))) => table.clone(),
        Ok(Some(Err(why))) => return Err(source_failed(why)),
        _ => return Err(Error::unavailable("the node is stopping")),
    };
    let toc = Toc {
        cluster: core.identity.cluster,
        node: core.me(),
        copy,
        segment: target.segment,
        name: request.name.clone(),
        version: target.head.next(),
        epoch: target.epoch,
        digest: table.digest(),
        table: BlockTable::clone(&table),
        until: core.commit_window(),
    };
    let receipt = core.publish(toc).await.map_err(|e| failed(&core, &e))?;
    crash_point!("own.published");
    Ok(receipt)
}

fn failed(core: &Core, error: &io::Error) -> Error {
    match error.kind() {
        // The application's file was taken away, replaced or cut off meanwhile.
        io::ErrorKind::NotFound
        | io::ErrorKind::InvalidInput
        | io::ErrorKind::InvalidData
        | io::ErrorKind::UnexpectedEof => source_failed(&error.to_string()),
        _ => core.storage_failed(error, "free space, or remove segments with `cairn rm`"),
    }
}
