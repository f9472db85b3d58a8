//! Short ids: `S1`, `c1`, `r1`, `i1`, `k1` and `t1` stand for fixed UUIDs, `n1` for a node.

use uuid::Uuid;

use crate::id::{ClusterId, CopyId, Incarnation, NodeId, RequestId, SegmentId, TierId};

pub(super) fn segment(number: u64) -> SegmentId {
    SegmentId(uuid('S', number))
}

pub(super) fn copy(number: u64) -> CopyId {
    CopyId(uuid('c', number))
}

pub(super) fn request(number: u64) -> RequestId {
    RequestId(uuid('r', number))
}

pub(super) fn incarnation(number: u64) -> Incarnation {
    Incarnation(uuid('i', number))
}

pub(super) fn cluster(number: u64) -> ClusterId {
    ClusterId(uuid('k', number))
}

pub(super) fn tier(number: u64) -> TierId {
    TierId(uuid('t', number))
}

pub(super) fn node(number: u64) -> NodeId {
    NodeId(number)
}

/// The number behind the letter.
pub(super) fn number(letter: char, text: &str) -> u64 {
    let number = text.strip_prefix(letter).and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("{text:?} should be {letter}1, {letter}2…"))
}

/// The short form of an id.
pub(super) fn short(id: Uuid) -> String {
    let (letter, number) = id.as_u64_pair();
    let letter = u32::try_from(letter).ok().and_then(char::from_u32).unwrap_or('?');
    format!("{letter}{number}")
}

fn uuid(letter: char, number: u64) -> Uuid {
    Uuid::from_u64_pair(u64::from(u32::from(letter)), number)
}
