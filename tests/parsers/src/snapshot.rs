//! A snapshot of the replicated state: a file of this node's, or what another member sends.

use bincode::Options;
use cairn_node::raft::View;
use cairn_node::raft::machine::PLACE_KIND;
use cairn_node::raft::types::{LogId, Types};
use cairn_store::meta::State;
use cairn_store::meta::snapshot::Loader;
use cairn_store::record::{self, HEADER_BYTES};
use openraft::type_config::alias::StoredMembershipOf;

use crate::{crc, named};

/// The v1 fixture of the store's own tests: every kind of record.
const STATE_V1: &[u8] = include_bytes!("../../../store/fixtures/snapshot-v1.bin");

/// The file's bytes, as they are and with every checksum mended; its records alone too.
pub fn run(bytes: &[u8]) {
    read(bytes);
    read(&crc::records(bytes));
}

fn read(bytes: &[u8]) {
    let whole = View::read(&mut &bytes[..]).map(|view| view.state);
    if let Ok(state) = &whole {
        same(state);
    }
    // As a member receives it: in pieces, without the record that says where it stands.
    let pieces = pieces(bytes);
    if let Ok(state) = State::read(&mut &bytes[..]) {
        same(&state);
        assert_eq!(pieces.as_ref(), Some(&state), "in pieces it is the same");
    } else {
        assert_eq!(pieces, None, "in pieces it is no better");
    }
}

fn pieces(bytes: &[u8]) -> Option<State> {
    let mut loader = Loader::default();
    let length = bytes.first().map_or(1, |byte| usize::from(*byte) + HEADER_BYTES / 2);
    for piece in bytes.chunks(length) {
        loader.add(piece).ok()?;
    }
    loader.finish().ok()
}

/// What was read is written, and that reads as the same.
fn same(state: &State) {
    let written: Vec<u8> = state.records().flat_map(|record| record.expect("it can be written")).collect();
    let again = State::read(&mut &written[..]).expect("what was written is whole");
    assert_eq!(&again, state);
}

/// An empty state, and one with everything in it; each with its place in the log, and without.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let empty: Vec<u8> = State::default().records().flat_map(Result::unwrap).collect();
    let place = |applied: Option<LogId>| {
        let body = (applied, StoredMembershipOf::<Types>::default());
        record::encode(PLACE_KIND, &body).unwrap()
    };
    let applied = record::bincode_options().serialize(&Some((3_u64, 7_u64))).unwrap();
    let applied = record::bincode_options().deserialize(&applied).unwrap();
    named([
        ("empty", empty.clone()),
        ("state", STATE_V1.to_vec()),
        ("empty-file", [place(None), empty].concat()),
        ("file", [place(applied), STATE_V1.to_vec()].concat()),
    ])
}
