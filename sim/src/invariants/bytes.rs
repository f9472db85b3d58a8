//! C: wrong bytes are never served: verified, or an error.

use std::collections::BTreeMap;

use cairn_store::digest::Digest;
use cairn_store::name::Name;

use crate::history::{Ask, History, Told};

/// Loads that gave something else than was saved.
pub fn violations(history: &History) -> Vec<String> {
    let mut saved: BTreeMap<&Name, Vec<Digest>> = BTreeMap::new();
    for call in &history.calls {
        if let Ask::Save { digest, .. } = &call.ask {
            saved.entry(&call.name).or_default().push(*digest);
        }
    }
    let mut wrong = Vec::new();
    for call in &history.calls {
        let name = &call.name;
        let Told::Loaded { version, digest, read, .. } = call.answer() else { continue };
        if digest != read {
            wrong.push(format!("C: a load of version {version} of {name} gave {read}, and said {digest}"));
        }
        if !saved.get(name).is_some_and(|saved| saved.contains(digest)) {
            wrong.push(format!("C: version {version} of {name} is {digest}, which nobody saved"));
        }
    }
    wrong
}
