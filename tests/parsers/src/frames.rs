//! The frames of the data plane: greetings, pushes, pulls, and the head of a snapshot between members.

use std::time::Duration;

use bincode::Options;
use cairn_client::wire::{
    self, AskBackup, BODY_BYTES_MAX, BackupAnswer, BackupOf, Body, Greeting, HEADER_BYTES, Header, Kind, Offer, Pull,
    PullAnswer, Push, PushAnswer, PushDone, Refusal, RefusalCode, Sealed, Welcome,
};
use cairn_node::raft::types::{Types, Vote};
use cairn_store::digest::Digest;
use cairn_store::id::{ClusterId, CopyId, Incarnation, NodeId, RequestId, SegmentId};
use cairn_store::record;
use cairn_store::segment::{Epoch, Receipt, Version};
use cairn_store::time::LogTime;
use futures::executor::block_on;
use openraft::raft::SnapshotResponse;
use openraft::type_config::alias::SnapshotMetaOf;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::{crc, named, same_again};

/// A stream of frames, as it is and with its checksums mended.
pub fn run(bytes: &[u8]) {
    stream(bytes);
    stream(&crc::frames(bytes));
}

fn stream(bytes: &[u8]) {
    if let Some(header) = bytes.first_chunk::<HEADER_BYTES>()
        && let Ok(header) = Header::decode(header)
    {
        assert!(header.length <= BODY_BYTES_MAX, "the bound of a frame is kept");
    }
    let mut rest = bytes;
    while let Ok((kind, body)) = block_on(wire::receive_bytes(&mut rest)) {
        match kind {
            1 => decoded::<Greeting>(&body),
            2 => decoded::<Welcome>(&body),
            3 => decoded::<Push>(&body),
            4 => decoded::<PushAnswer>(&body),
            5 => decoded::<Sealed>(&body),
            6 => decoded::<PushDone>(&body),
            7 => decoded::<Pull>(&body),
            8 => decoded::<PullAnswer>(&body),
            // What members send each other is decoded where the snapshot goes on.
            9 => head::<(Vote, SnapshotMetaOf<Types>)>(&body),
            11 => head::<Result<SnapshotResponse<Types>, String>>(&body),
            12 => decoded::<AskBackup>(&body),
            13 => decoded::<BackupAnswer>(&body),
            _ => {}
        }
    }
}

fn decoded<B: Body>(body: &[u8]) {
    let Ok(value) = wire::decode::<B>(body) else { return };
    let mut sent = Vec::new();
    block_on(wire::send(&mut sent, &value)).expect("what was received can be sent");
    let again: B = block_on(wire::receive(&mut sent.as_slice())).expect("what was sent is received");
    let mut twice = Vec::new();
    block_on(wire::send(&mut twice, &again)).expect("and sent again");
    assert!(sent == twice, "it means something else");
}

fn head<T: Serialize + DeserializeOwned>(body: &[u8]) {
    if let Ok(value) = record::bincode_options().deserialize::<T>(body) {
        same_again(record::bincode_options, &value);
    }
}

/// One frame of each kind.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let (copy, segment) = (CopyId(Uuid::from_u128(2)), SegmentId(Uuid::from_u128(1)));
    let request = RequestId(Uuid::from_u128(3));
    let node = (NodeId(1), Incarnation(Uuid::from_u128(4)));
    let refusal = || Refusal { code: RefusalCode::Full, message: "no room".into() };
    let push = Push {
        request,
        segment,
        name: "app/state".parse().unwrap(),
        version: Version(1),
        epoch: Epoch(1),
        save: true,
        copy,
        size: 70_000,
    };
    let receipt = Receipt { copy, node: node.0, until: LogTime(3_600_000) };
    let sealed = Sealed { digest: Digest::of(b"x"), table: 32, time: LogTime(7) };
    let offer = Offer { size: 9, digest: Digest::of(b"x"), table: 32 };
    let meta = SnapshotMetaOf::<Types>::default();
    let head = record::bincode_options().serialize(&(Vote::new_committed(3, 1), meta)).unwrap();
    let conversation = [
        sent(&Greeting::Node { cluster: ClusterId(Uuid::from_u128(5)), from: node, to: node }),
        sent(&push),
        sent(&sealed),
        sent(&PushAnswer(Err(refusal()))),
    ];
    named([
        ("client", sent(&Greeting::Client)),
        ("conversation", conversation.concat()),
        ("ask-backup", sent(&AskBackup { wait: Duration::from_secs(30), of: BackupOf::Stored(None) })),
        ("backup-answer", [sent(&BackupAnswer(Ok(()))), sent(&BackupAnswer(Err(refusal())))].concat()),
        ("welcome", sent(&Welcome(Ok(())))),
        ("refused", sent(&Welcome(Err(refusal())))),
        ("push", sent(&push)),
        ("sealed", sent(&sealed)),
        ("pushed", sent(&PushDone(Ok(receipt)))),
        ("not-pushed", sent(&PushDone(Err(refusal())))),
        ("pull", sent(&Pull { request, copy, from_block: 7 })),
        ("offer", sent(&PullAnswer(Ok(offer)))),
        ("snapshot", wire::encode(Kind::Snapshot, &head).unwrap()),
        ("piece", wire::encode(Kind::SnapshotPiece, b"bytes").unwrap()),
        ("installed", wire::encode(Kind::SnapshotDone, &installed()).unwrap()),
    ])
}

fn installed() -> Vec<u8> {
    let done: Result<SnapshotResponse<Types>, String> = Ok(SnapshotResponse::new(Vote::new(3, 1)));
    record::bincode_options().serialize(&done).unwrap()
}

fn sent(body: &impl Body) -> Vec<u8> {
    let mut bytes = Vec::new();
    block_on(wire::send(&mut bytes, body)).unwrap();
    bytes
}
