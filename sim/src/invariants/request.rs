//! F: the same request id gives the same result.

use std::collections::BTreeMap;
use std::time::Duration;

use cairn_store::id::RequestId;
use cairn_store::node::NodeName;

use crate::history::{Ask, Call, History, Told};

/// How long an answer is remembered at least, in log time: as long as a client waits, and this (`node`'s margin) beyond.
const ANSWER_KEPT: Duration = Duration::from_secs(30);

/// Requests that were answered twice, differently.
pub fn violations(history: &History) -> Vec<String> {
    let mut done: BTreeMap<(RequestId, &NodeName), &Call> = BTreeMap::new();
    let mut wrong = Vec::new();
    for call in history.calls.iter().filter(|call| changes(&call.ask) && call.answer().is_success()) {
        let first = done.entry((call.request, asked_of(call))).or_insert(call);
        if !is_same(first.answer(), call.answer()) && is_kept(first, call) {
            let (one, other) = (first.answer(), call.answer());
            let (request, ask, name) = (call.request, &call.ask, &call.name);
            wrong.push(format!("F: request {request} ({ask:?} of {name}) gave {one:?}, then {other:?}"));
        }
    }
    // A definite refusal after a success is another result too.
    for call in history.calls.iter().filter(|call| changes(&call.ask)) {
        if let (Some(first), Told::Refused(code)) = (done.get(&(call.request, asked_of(call))), call.answer())
            && first.asked < call.asked
            && is_kept(first, call)
            && !code_of_the_way(*code)
        {
            let (request, ask, name) = (call.request, &call.ask, &call.name);
            wrong.push(format!("F: request {request} ({ask:?} of {name}) gave {:?}, then {code}", first.answer()));
        }
    }
    wrong
}

/// Whether the first answer is certainly remembered when the second is given.
fn is_kept(first: &Call, again: &Call) -> bool {
    let passed = |call: &Call| call.told.as_ref().map(|(at, _)| at.at + at.leapt);
    match (passed(first), passed(again)) {
        (Some(first), Some(again)) => again.saturating_sub(first) <= ANSWER_KEPT,
        _ => true,
    }
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

/// Who is meant by a request: a claim means another thing on every node.
fn asked_of(call: &Call) -> &NodeName {
    &call.node
}

/// What did not come to a decision.
fn code_of_the_way(code: cairn_client::api::Code) -> bool {
    matches!(code, cairn_client::api::Code::Unavailable)
}

/// Reads may give another answer each time.
fn changes(ask: &Ask) -> bool {
    !matches!(ask, Ask::Load { claim: false, .. })
}
