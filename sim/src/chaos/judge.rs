//! The evidence is held against the invariants.

use anyhow::bail;

use super::desk::Desk;
use crate::history::{Ask, History, Told};
use crate::invariants::acknowledged::{self, Kept};
use crate::invariants::{bytes, durable, owner, request};
use crate::linear::{model, revisions};

/// All that is wrong, or nothing.
pub(super) fn judge(desk: &Desk, kept: &[Kept]) -> anyhow::Result<()> {
    let history = desk.history.borrow();
    let oracle = desk.cluster.oracle.borrow();
    let mut wrong = acknowledged::violations(kept);
    wrong.extend(owner::violations(&history));
    wrong.extend(bytes::violations(&history));
    wrong.extend(request::violations(&history));
    wrong.extend(as_durable_as_acknowledged(&history, &oracle.chronicle));
    wrong.extend(revisions::violations(&history, &oracle.chronicle));
    let searched = model::search(&history);
    desk.tally.searched(searched.names, searched.left_out);
    wrong.extend(searched.wrong);
    match wrong.first() {
        Some(first) => bail!("{first} ({} in all)", wrong.len()),
        None => Ok(()),
    }
}

/// D: a save was acknowledged with as many copies as it asked for. That they were durable was seen when it was committed.
fn as_durable_as_acknowledged(history: &History, chronicle: &crate::chronicle::Chronicle) -> Vec<String> {
    let mut wrong = Vec::new();
    for call in &history.calls {
        if let (Ask::Save { replicas, ack, .. }, Told::Saved { version, epoch, .. }) = (&call.ask, call.answer())
            && let Some(record) = chronicle.version(&call.name, *epoch, *version)
        {
            let as_listed = |_: &cairn_store::segment::Copy| Some(record.digest);
            wrong.extend(durable::violations(&call.name, *version, record, ack.needed(*replicas), as_listed));
        }
    }
    wrong
}
