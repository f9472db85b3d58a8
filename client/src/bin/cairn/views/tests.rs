use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use cairn_store::archive::Policy;
use cairn_store::digest::Digest;
use cairn_store::id::{ClusterId, CopyId, Incarnation, NodeId, SegmentId};
use cairn_store::name::Name;
use cairn_store::node::Role;
use cairn_store::segment::{Ack, Epoch, Kind, Version};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::output::View;

const ID: &str = "00000000-0000-0000-0000-000000000001";

fn name() -> Name {
    "db/main".parse().unwrap()
}

fn node(name: &str) -> NodeName {
    name.parse().unwrap()
}

fn hex() -> String {
    "0a".repeat(32)
}

fn summary() -> api::SegmentSummary {
    api::SegmentSummary {
        name: name(),
        kind: Kind::File,
        owner: Some(node("n1")),
        epoch: Epoch(1),
        head: Some(Version(3)),
        size: Some(5),
        digest: Some(Digest([10; 32])),
        modified: WallTime(0),
        under_replicated: false,
    }
}

fn replica() -> api::Replica {
    api::Replica { node: node("n2"), state: CopyState::Durable }
}

fn detail() -> api::SegmentDetail {
    api::SegmentDetail {
        summary: summary(),
        segment: SegmentId(Uuid::from_u128(1)),
        versions: vec![api::VersionDetail {
            version: Version(3),
            size: 5,
            digest: Digest([10; 32]),
            created: WallTime(1_767_225_600_123),
            pinned: false,
            holders: vec![replica()],
            object: Some(api::ObjectDetail { key: "k".into(), state: CopyState::Durable, published: true }),
        }],
        replicas_wanted: Some(2),
        waiting_for: None,
        labels: BTreeMap::from([("a".into(), "b".into())]),
        lease: None,
        archive: Some(Policy::Every(5)),
        revision: 9,
    }
}

fn json(view: &impl View) -> Value {
    serde_json::to_value(view).unwrap()
}

#[test]
fn a_save_prints_every_key() {
    let saved = api::Saved {
        name: name(),
        segment: SegmentId(Uuid::from_u128(1)),
        kind: Kind::File,
        version: Version(3),
        epoch: Epoch(1),
        size: 5,
        digest: Digest([10; 32]),
        owner: Some(node("n1")),
        replicas: vec![replica()],
        ack: Ack::All,
        bytes_sent: 10,
        archived: false,
    };
    let view = Saved::new(&saved, Duration::from_millis(7));
    let expected = json!({
        "name": "db/main", "segment": ID, "kind": "file", "version": 3, "epoch": 1, "size": 5, "digest": hex(),
        "owner": "n1", "replicas": [{"node": "n2", "state": "durable"}], "ack": "all", "bytes_sent": 10,
        "archived": false, "elapsed_ms": 7,
    });
    assert_eq!(json(&view), expected);
    assert!(view.table().starts_with("name"));
}

#[test]
fn a_load_prints_every_key() {
    let loaded = api::Loaded {
        name: name(),
        kind: Kind::File,
        version: Version(3),
        epoch: Epoch(2),
        size: 5,
        digest: Digest([10; 32]),
        owner: None,
        claimed: false,
        stale: true,
        sources: vec![api::Source { node: Some(node("n2")), bytes: 5 }],
        node: node("n3"),
        incarnation: Incarnation(Uuid::from_u128(3)),
        data: "127.0.0.1:7421".into(),
        copy: CopyId(Uuid::from_u128(4)),
        path: PathBuf::from("/n3/spool/x"),
    };
    let view = Loaded::new(&loaded, Duration::from_millis(7));
    let expected = json!({
        "name": "db/main", "kind": "file", "version": 3, "epoch": 2, "size": 5, "digest": hex(), "owner": null,
        "claimed": false, "stale": true, "sources": [{"node": "n2", "bytes": 5}], "path": "/n3/spool/x",
        "elapsed_ms": 7,
    });
    assert_eq!(json(&view), expected);
    assert!(view.table().contains("it may be old"));
}

#[test]
fn lists_print_one_document_or_one_object_a_line() {
    let empty = api::SegmentSummary { owner: None, head: None, size: None, digest: None, ..summary() };
    let segments = [summary(), empty];
    let view = Segments::new(&segments);
    let first = json!({
        "name": "db/main", "kind": "file", "owner": "n1", "epoch": 1, "head": 3, "size": 5, "digest": hex(),
        "modified": "1970-01-01T00:00:00.000Z", "under_replicated": false,
    });
    let second = json!({
        "name": "db/main", "kind": "file", "owner": null, "epoch": 1, "head": null, "size": null, "digest": null,
        "modified": "1970-01-01T00:00:00.000Z", "under_replicated": false,
    });
    assert_eq!(json(&view), json!({"segments": [first, second]}));
    let lines: Vec<Value> = view.lines().unwrap().iter().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines, [first, second]);
    assert_eq!(view.table().lines().count(), 3);
    assert!(Segments::new(&[]).lines().unwrap().is_empty());
}

#[test]
fn show_prints_every_key_and_history_its_versions() {
    let detail = detail();
    let version = json!({
        "version": 3, "size": 5, "digest": hex(), "created": "2026-01-01T00:00:00.123Z", "pinned": false,
        "holders": [{"node": "n2", "state": "durable"}],
        "global": {"key": "k", "state": "durable", "published": true},
    });
    let expected = json!({
        "name": "db/main", "segment": ID, "kind": "file", "owner": "n1", "epoch": 1, "lease": null, "head": 3,
        "versions": [version], "holders": [{"node": "n2", "state": "durable"}], "replicas_wanted": 2,
        "under_replicated": false, "waiting_for": null, "labels": {"a": "b"}, "archive": "every:5",
        "revision": 9,
    });
    assert_eq!(json(&Detail::new(&detail)), expected);
    assert_eq!(json(&History::new(&detail)), expected);
    let line: Value = serde_json::from_str(&History::new(&detail).lines().unwrap()[0]).unwrap();
    assert_eq!(line, version);
    assert_eq!(Detail::new(&detail).lines().unwrap().len(), 1);
    let leased = api::SegmentDetail { lease: Some(Duration::from_millis(1500)), ..detail };
    assert_eq!(json(&Detail::new(&leased))["lease"], json!({"owner": "n1", "remaining_ms": 1500}));
    assert!(Detail::new(&leased).table().contains("for 1s 500ms"));
}

#[test]
fn ownership_and_removal_print_every_key() {
    let (name, owner) = (name(), node("n1"));
    let claimed = api::Claimed { name: name.clone(), owner, epoch: Epoch(4), head: None };
    assert_eq!(
        json(&Claimed::new(&claimed, None)),
        json!({"name": "db/main", "owner": "n1", "epoch": 4, "head": null, "lease_ms": null})
    );
    assert_eq!(json(&Claimed::new(&claimed, Some(Duration::from_secs(5))))["lease_ms"], 5000);
    let renewed = Renewed::new(&name, Epoch(4), Duration::from_millis(2500));
    assert_eq!(json(&renewed), json!({"name": "db/main", "epoch": 4, "lease_ms": 2500}));
    assert_eq!(renewed.table(), "the lease of db/main in epoch 4 lasts 2s 500ms from when it was asked");
    let released = Released { name: &name, owner: None, epoch: Epoch(4) };
    assert_eq!(json(&released), json!({"name": "db/main", "owner": null, "epoch": 4}));
    let removed = Removed { name: &name, version: None, removed: true };
    assert_eq!(json(&removed), json!({"name": "db/main", "version": null, "removed": true}));
    let pinned = Pinned { name: &name, version: Some(Version(3)), pinned: true };
    assert_eq!(json(&pinned), json!({"name": "db/main", "version": 3, "pinned": true}));
    assert_eq!(pinned.table(), "version 3 of db/main is pinned");
    assert_eq!(Pinned { pinned: false, ..pinned }.table(), "version 3 of db/main is not pinned");
    let none = Pinned { name: &name, version: None, pinned: false };
    assert_eq!(json(&none), json!({"name": "db/main", "version": null, "pinned": false}));
    assert_eq!(none.table(), "no version of db/main is pinned");
}

#[test]
fn nodes_and_the_cluster_print_every_key() {
    let info = api::NodeInfo {
        id: NodeId(1),
        name: node("n1"),
        role: Role::Storage,
        zone: "z".into(),
        state: api::NodeState::Draining,
        voter: true,
        leader: false,
        endpoint: "h:1".into(),
        data_endpoint: "h:2".into(),
        copies: 3,
        bytes: 4,
        capacity: 5,
        last_seen_ms: None,
    };
    let expected = json!({"nodes": [{
        "id": 1, "name": "n1", "role": "storage", "zone": "z", "state": "draining", "voter": true, "leader": false,
        "endpoint": "h:1", "data_endpoint": "h:2", "copies": 3, "bytes": 4, "capacity": 5, "last_seen_ms": null,
    }]});
    let infos = [info];
    assert_eq!(json(&Nodes::new(&infos)), expected);
    assert_eq!(json(&Node::new(&infos[0])), expected["nodes"][0]);
    assert_eq!(Node::new(&infos[0]).table().lines().count(), 13);
    let peer = |name, round_trip| api::PeerInfo { node: node(name), endpoint: "h:1".into(), round_trip };
    let peers = [peer("n1", Some(Duration::from_micros(1260))), peer("n2", None)];
    let view = Peers::new(&peers);
    let expected = json!({"peers": [
        {"node": "n1", "endpoint": "h:1", "reachable": true, "rtt_ms": 1},
        {"node": "n2", "endpoint": "h:1", "reachable": false, "rtt_ms": null},
    ]});
    assert_eq!(json(&view), expected);
    assert!(view.lines().unwrap().len() == 2 && view.table().contains("1.3 ms"), "{}", view.table());
    let status = api::ClusterStatus {
        cluster: ClusterId(Uuid::from_u128(1)),
        leader: None,
        term: 2,
        nodes: 3,
        voters: 3,
        segments: 4,
        bytes: 5,
        under_replicated: 6,
        quorum_margin: -1,
    };
    let expected = json!({
        "cluster": ID, "leader": null, "term": 2, "nodes": 3, "voters": 3, "segments": 4, "bytes": 5,
        "under_replicated": 6, "quorum_margin": -1,
    });
    assert_eq!(json(&Status::new(&status)), expected);
    let repair = |kind, state, node, why| api::Repair {
        name: name(),
        version: Version(3),
        kind,
        state,
        node,
        size: 10,
        live: 1,
        wanted: 3,
        why,
    };
    let made = repair(api::RepairKind::Copy, api::RepairState::Running, Some(node("n2")), None);
    let stuck = repair(api::RepairKind::Copy, api::RepairState::Stuck, None, Some("no room".into()));
    let repairs = api::Repairs { repairs: vec![made, stuck], lacking: 2, bytes: 40 };
    let view = Repairs::new(&repairs);
    let common = |state: &str, node: Value, why: Value| {
        json!({
            "name": "db/main", "version": 3, "action": "copy", "state": state, "node": node, "size": 10, "live": 1,
            "wanted": 3, "why": why,
        })
    };
    let listed = [common("running", json!("n2"), json!(null)), common("stuck", json!(null), json!("no room"))];
    assert_eq!(json(&view), json!({"repairs": listed, "versions_lacking": 2, "bytes_lacking": 40}));
    assert!(view.lines().unwrap().len() == 2 && view.table().contains("1 of 3"), "{}", view.table());
    assert_eq!(json(&Health::new(vec![])), json!({"healthy": true, "reasons": []}));
    assert_eq!(json(&Health::new(vec!["n2 is down".into()])), json!({"healthy": false, "reasons": ["n2 is down"]}));
}

#[test]
fn what_leaves_prints_every_key() {
    let block = |version, stuck| api::Block { name: name(), version, size: 5, stuck, reason: "no room".into() };
    let mut drain = api::Drain {
        node: node("n2"),
        draining: true,
        copies: 1,
        bytes: 5,
        owned: 2,
        blocks: vec![block(Some(Version(3)), true), block(None, false)],
    };
    let blocking = json!([
        {"name": "db/main", "version": 3, "size": 5, "stuck": true, "reason": "no room"},
        {"name": "db/main", "version": null, "size": 5, "stuck": false, "reason": "no room"},
    ]);
    let expected = json!({
        "node": "n2", "draining": true, "drained": false, "copies": 1, "bytes": 5, "owned": 2, "blocking": blocking,
    });
    assert_eq!(json(&Drain::new(&drain, false)), expected);
    let table = Drain::new(&drain, false).table();
    assert!(table.contains("1 copy (5 B) and 2 names are left") && table.contains("no room"), "{table}");
    assert!(Drain::new(&drain, true).table().contains("would be emptied of"));
    drain = api::Drain { copies: 0, bytes: 0, owned: 0, blocks: vec![], ..drain };
    assert_eq!(json(&Drain::new(&drain, false))["drained"], true);

    let loss = api::Loss { name: name(), version: Version(3), size: 5 };
    let removal = api::Removal {
        node: node("n2"),
        id: NodeId(2),
        copies: 3,
        bytes: 15,
        owned: 1,
        thin: 2,
        lost: 1,
        losses: vec![loss],
        voters: 1,
        refusal: Some(api::Error::new(api::Code::Conflict, "not now")),
    };
    let expected = json!({
        "node": "n2", "removed": false, "copies": 3, "bytes": 15, "owned": 1, "under_replicated": 2, "lost": 1,
        "losses": [{"name": "db/main", "version": 3, "size": 5}], "voters": 1, "refused": "not now",
    });
    assert_eq!(json(&Removal::new(&removal, false)), expected);
    let table = Removal::new(&removal, false).table();
    assert!(table.contains("1 name would have no owner") && table.contains("1 version would be lost"), "{table}");
    assert!(table.ends_with(ONE_VOTER), "{table}");
    let others = api::Removal { voters: 3, ..removal.clone() };
    assert!(!Removal::new(&others, false).table().contains(ONE_VOTER));
    assert!(Removal::new(&removal, true).table().contains("n2 was removed, with 3 copies (15 B)"));

    let (n2, reasons) = (node("n2"), vec!["no quorum".to_owned()]);
    assert_eq!(json(&Check::new(&n2, &reasons)), json!({"node": "n2", "ok": false, "reasons": ["no quorum"]}));
    assert_eq!(json(&Check::new(&n2, &[])), json!({"node": "n2", "ok": true, "reasons": []}));
}

#[test]
fn news_has_every_key_and_a_gap_too() {
    let event = api::Event {
        revision: 7,
        at: WallTime(1_767_225_600_123),
        change: cairn_store::meta::Change::Version,
        name: name(),
        version: Some(Version(3)),
        epoch: Epoch(1),
        owner: Some(node("n1")),
    };
    let told = |news| serde_json::to_string(&News::new(&news)).unwrap();
    assert_eq!(
        told(cairn_client::watch::News::Event(event)),
        r#"{"revision":7,"type":"version","name":"db/main","version":3,"epoch":1,"owner":"n1","at":"2026-01-01T00:00:00.123Z"}"#
    );
    assert_eq!(
        told(cairn_client::watch::News::Relist(9)),
        r#"{"revision":9,"type":"relist","name":null,"version":null,"epoch":null,"owner":null,"at":null}"#
    );
}
