//! F: the same request id gives the same result.

use std::collections::BTreeMap;

use cairn_store::id::RequestId;
use cairn_store::node::NodeName;

use crate::history::{Ask, Call, History, Told};

/// Requests that were answered twice, differently.
pub fn violations(history: &History) -> Vec<String> {
    let mut done: BTreeMap<(RequestId, &NodeName), &Call> = BTreeMap::new();
    let mut wrong = Vec::new();
    for call in history.calls.iter().filter(|call| changes(&call.ask) && call.answer().is_success()) {
        let first = done.entry((call.request, asked_of(call))).or_insert(call);
        if first.answer() != call.answer() {
            let (one, other) = (first.answer(), call.answer());
            wrong.push(format!("F: request {} about {} gave {one:?}, then {other:?}", call.request, call.name));
        }
    }
    // A definite refusal after a success is another result too.
    for call in history.calls.iter().filter(|call| changes(&call.ask)) {
        if let (Some(first), Told::Refused(code)) = (done.get(&(call.request, asked_of(call))), call.answer())
            && first.asked < call.asked
            && !code_of_the_way(*code)
        {
            let (name, request) = (&call.name, call.request);
            wrong.push(format!("F: request {request} about {name} gave {:?}, then {code}", first.answer()));
        }
    }
    wrong
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
