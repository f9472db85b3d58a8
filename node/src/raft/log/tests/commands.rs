//! Every command as the log writes it, frozen: entries of an older release are applied by each newer one.

use std::collections::BTreeMap;
use std::sync::Arc;

use cairn_store::archive::{Archive, Object, ObjectReceipt, Policy, Reach};
use cairn_store::digest::Digest;
use cairn_store::id::{ClusterId, CopyId, Incarnation, NodeId, RequestId, SegmentId, TierId};
use cairn_store::meta::{Commit, Finding, Request, Scope, Source};
use cairn_store::node::{Profile, Role};
use cairn_store::segment::{Ack, CopyState, Epoch, Kind, Receipt, Segment, Version, VersionRecord};
use codeq::{Decode, Encode};
use uuid::Uuid;

use super::*;

/// `UPDATE_FIXTURE=1` writes it again: only for what a release has never written.
#[test]
fn every_command_has_the_bytes_of_its_version() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/log-commands-v1.bin");
    let payloads: Vec<_> = (0..).zip(commands()).map(|(number, command)| payload(number, command)).collect();
    let mut written = Vec::new();
    for payload in &payloads {
        Payload::encode_entry(payload).unwrap().encode(&mut written).unwrap();
    }
    if std::env::var_os("UPDATE_FIXTURE").is_some() {
        fs::write(&path, &written).unwrap();
    }
    let kept = fs::read(&path).unwrap();
    let mut rest = kept.as_slice();
    for payload in payloads {
        assert_eq!(Payload::decode(&mut rest).unwrap().decode_entry().unwrap(), payload);
    }
    assert!(rest.is_empty() && kept == written, "bytes on disk changed: that needs a new version");
}

fn payload(number: u64, command: Command) -> payload::EntryPayload {
    let stamp = Stamp { clock: LogTime(1000 * number), term: 1 + number };
    EntryPayload::Normal(AppEntry(Entry { stamp, at: WallTime(1_700_000_000_000 + number), command }))
}

/// One of each, and of what can be in it.
fn commands() -> Vec<Command> {
    let uuid = Uuid::from_u128;
    let (incarnation, segment, copy) = (Incarnation(uuid(2)), SegmentId(uuid(3)), CopyId(uuid(4)));
    let request = || Request { id: RequestId(uuid(5)), until: LogTime(60_000) };
    let profile = |role| Profile {
        name: "n1".parse().unwrap(),
        role,
        zone: "zone".into(),
        rpc: "10.0.0.1:7420".into(),
        data: "10.0.0.1:7421".into(),
        http: "127.0.0.1:7422".into(),
        capacity: 1 << 40,
    };
    let receipt = Receipt { copy, node: NodeId(2), until: LogTime(3_600_000) };
    let commit = |ack| Commit {
        segment,
        owner: NodeId(1),
        epoch: Epoch(2),
        after: Version(6),
        size: 70_000,
        digest: Digest::of(b"bytes"),
        receipts: vec![receipt],
        wanted: 2,
        ack,
        keep: 300,
        labels: BTreeMap::from([("app".into(), "postgres".into())]),
    };
    let register = |kind| Command::Register {
        request: request(),
        name: "db/main".parse().unwrap(),
        segment,
        owner: NodeId(1),
        kind,
    };
    let unregister = |scope| Command::Unregister { request: request(), segment, scope };
    let lose = |finding| Command::Lose { segment, version: Version(7), copy, finding };
    let source = Source { cluster: ClusterId(uuid(9)), revision: 70_000 };
    let record = VersionRecord {
        size: 70_000,
        digest: Digest::of(b"bytes"),
        created: WallTime(1_700_000_000_000),
        epoch: Epoch(2),
        owner: NodeId(1),
        request: request().id,
        wanted: 2,
        copies: Vec::new(),
        ended: Vec::new(),
        pinned: true,
    };
    let readmitted = Segment {
        id: segment,
        name: "db/main".parse().unwrap(),
        kind: Kind::Tree,
        owner: None,
        epoch: Epoch(3),
        head: Version(7),
        versions: BTreeMap::from([(Version(7), Arc::new(record))]),
        keep: 300,
        labels: BTreeMap::from([("app".into(), "postgres".into())]),
        registered: (request().id, LogTime(5), Epoch(1)),
        claimed: None,
        modified: WallTime(1_700_000_000_001),
        revision: 600,
    };
    let tier = TierId(uuid(11));
    let receipt_there = ObjectReceipt { object: copy, tier, until: LogTime(3_600_000) };
    let object = Some(receipt_there);
    let kept = Object { id: copy, tier, cluster: ClusterId(uuid(9)), published: true, state: CopyState::Durable };
    let archive = Archive { policy: None, objects: [(Version(7), kept)].into(), ended: BTreeMap::new() };
    let all = vec![
        Command::Tick,
        Command::Found { cluster: ClusterId(uuid(1)), incarnation, profile: profile(Role::Executor) },
        Command::Join { incarnation, profile: profile(Role::Storage) },
        Command::Describe { node: NodeId(2), incarnation, profile: profile(Role::Executor) },
        Command::Mark { node: NodeId(2), up: true },
        Command::Drain { node: NodeId(2), draining: false },
        register(Kind::File),
        register(Kind::Tree),
        Command::Commit { request: request(), commit: commit(Ack::All) },
        Command::Commit { request: request(), commit: commit(Ack::Quorum) },
        Command::Commit { request: request(), commit: commit(Ack::One) },
        Command::Commit { request: request(), commit: commit(Ack::Local) },
        Command::Confirm { segment, version: Version(7), digest: Digest::of(b"bytes"), receipt },
        lose(Finding::Corrupt),
        lose(Finding::Missing),
        Command::Claim { request: request(), segment, epoch: Epoch(2), head: Version(7), node: NodeId(3) },
        Command::Release { request: request(), segment, epoch: Epoch(3) },
        unregister(Scope::Segment),
        unregister(Scope::IfEmpty),
        unregister(Scope::Version(Version(7))),
        Command::Expire { segment },
        Command::Pin { request: request(), segment, version: Version(7) },
        Command::Unpin { request: request(), segment, version: None },
        Command::Unpin { request: request(), segment, version: Some(Version(7)) },
        Command::Retire { segment, version: Version(7), copy, stay: vec![CopyId(uuid(6)), CopyId(uuid(7))] },
        Command::Disown { segment, node: NodeId(2) },
        Command::Abandon { segment, version: Version(7), copy, force: true },
        Command::Remove { node: NodeId(2), incarnation },
        Command::Restore { source, ancestors: vec![ClusterId(uuid(10))], floor: Epoch(2 << 32) },
        Command::Readmit { source, segments: vec![readmitted] },
        Command::Restored { source },
        Command::Resume,
        Command::Lease {
            request: request(),
            segment,
            epoch: Epoch(2),
            head: Version(7),
            node: NodeId(3),
            span: Duration::from_millis(2500),
        },
        Command::Renew { request: request(), segment, epoch: Epoch(3) },
        Command::Lapse { segment },
        Command::Save { request: request(), commit: commit(Ack::Global), policy: Some(Policy::Every(300)), object },
        Command::Save { request: request(), commit: commit(Ack::All), policy: Some(Policy::Never), object: None },
        Command::Save {
            request: request(),
            commit: commit(Ack::All),
            policy: Some(Policy::Background),
            object: None,
        },
        Command::Save { request: request(), commit: commit(Ack::All), policy: Some(Policy::Always), object: None },
        Command::Reach { node: NodeId(2), incarnation, reach: None },
        Command::Reach { node: NodeId(2), incarnation, reach: Some(Reach::Down(None)) },
        Command::Reach { node: NodeId(2), incarnation, reach: Some(Reach::Down(Some(tier))) },
        Command::Reach { node: NodeId(2), incarnation, reach: Some(Reach::Up(tier)) },
        Command::Deposited { segment, version: Version(7), digest: Digest::of(b"bytes"), receipt: receipt_there },
        Command::LoseObject { segment, version: Version(7), object: copy, finding: Finding::Corrupt },
        Command::Refile { source, archives: vec![(segment, archive)] },
    ];
    let mut numbers: Vec<_> = all.iter().map(number).collect();
    numbers.dedup();
    assert_eq!(numbers, (0..numbers.len()).collect::<Vec<_>>(), "each once or more, in order");
    all
}

/// A new command does not compile here until it is added above.
fn number(command: &Command) -> usize {
    match command {
        Command::Tick => 0,
        Command::Found { .. } => 1,
        Command::Join { .. } => 2,
        Command::Describe { .. } => 3,
        Command::Mark { .. } => 4,
        Command::Drain { .. } => 5,
        Command::Register { .. } => 6,
        Command::Commit { .. } => 7,
        Command::Confirm { .. } => 8,
        Command::Lose { .. } => 9,
        Command::Claim { .. } => 10,
        Command::Release { .. } => 11,
        Command::Unregister { .. } => 12,
        Command::Expire { .. } => 13,
        Command::Pin { .. } => 14,
        Command::Unpin { .. } => 15,
        Command::Retire { .. } => 16,
        Command::Disown { .. } => 17,
        Command::Abandon { .. } => 18,
        Command::Remove { .. } => 19,
        Command::Restore { .. } => 20,
        Command::Readmit { .. } => 21,
        Command::Restored { .. } => 22,
        Command::Resume => 23,
        Command::Lease { .. } => 24,
        Command::Renew { .. } => 25,
        Command::Lapse { .. } => 26,
        Command::Save { .. } => 27,
        Command::Reach { .. } => 28,
        Command::Deposited { .. } => 29,
        Command::LoseObject { .. } => 30,
        Command::Refile { .. } => 31,
    }
}
