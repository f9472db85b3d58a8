//! F: the same request id gives the same result.

use std::collections::BTreeMap;

use cairn_client::api::Code;
use cairn_store::id::RequestId;
use cairn_store::node::NodeName;

use crate::history::{Ask, Call, History, Told};

/// Requests that were answered twice, differently.
pub fn violations(history: &History) -> Vec<String> {
    let mut done: BTreeMap<(RequestId, &NodeName), &Call> = BTreeMap::new();
    let mut wrong = Vec::new();
    for call in history.calls.iter().filter(|call| changes(&call.ask) && call.answer().is_success()) {
        let first = done.entry((call.request, call.answered_by())).or_insert(call);
        if !is_same(first.answer(), call.answer()) && is_kept(first, call) {
            let (one, other) = (first.answer(), call.answer());
            let (request, ask, name) = (call.request, &call.ask, &call.name);
            wrong.push(format!("F: request {request} ({ask:?} of {name}) gave {one:?}, then {other:?}"));
        }
    }
    // A definite refusal after a success is another result too.
    for call in history.calls.iter().filter(|call| changes(&call.ask)) {
        let told = call.answer();
        let is_other = match told {
            Told::Refused(code) => *code != Code::Unavailable,
            // What was taken over may be gone when it is loaded again.
            Told::Absent => !matches!(call.ask, Ask::Load { .. }),
            _ => false,
        };
        if let Some(first) = done.get(&(call.request, call.answered_by()))
            && first.asked < call.asked
            && is_kept(first, call)
            && is_other
        {
            let (request, ask, name) = (call.request, &call.ask, &call.name);
            wrong.push(format!("F: request {request} ({ask:?} of {name}) gave {:?}, then {told:?}", first.answer()));
        }
    }
    // And so is a success after one.
    let mut refused: BTreeMap<(RequestId, &NodeName), &Call> = BTreeMap::new();
    for call in history.calls.iter().filter(|call| changes(&call.ask)) {
        let this = (call.request, call.answered_by());
        match call.answer() {
            Told::Refused(Code::Conflict) => drop(refused.entry(this).or_insert(call)),
            told if told.is_success() => {
                if let Some(first) = refused.get(&this).filter(|first| is_kept(first, call)) {
                    let (request, ask, name) = (call.request, &call.ask, &call.name);
                    wrong.push(format!(
                        "F: request {request} ({ask:?} of {name}) gave {:?}, then {told:?}",
                        first.answer()
                    ));
                }
            }
            _ => {}
        }
    }
    wrong
}

/// Whether the first answer is certainly remembered when the second is given. It counts from when it was asked: a leap of the clocks
/// may come to log time only after the answer was given (1907).
fn is_kept(first: &Call, again: &Call) -> bool {
    again.told.as_ref().is_none_or(|(told, _)| first.asked.is_remembered_at(*told))
}

/// Whether two answers tell the same. A load that takes over, asked again, may give what its node saved since.
fn is_same(one: &Told, other: &Told) -> bool {
    match (one, other) {
        (Told::Loaded { epoch, owner, .. }, Told::Loaded { epoch: again, owner: still, .. }) => {
            (epoch, owner) == (again, still)
        }
        (one, other) => one == other,
    }
}

/// Reads may give another answer each time.
fn changes(ask: &Ask) -> bool {
    !matches!(ask, Ask::Load { claim: false, .. })
}
